//! Bad input: each kind of it has its answer, which names the member at fault, and changes nothing.

mod bodies;
mod bulk_marks;
mod cursors;
mod limits;
mod parameters;
mod routes;
mod times;

use reqwest::RequestBuilder;
use sqlx::PgConnection;

use crate::support::{Answer, Service};

/// What a refusal says: its status, its slug, and which member it names (none where there is none to name).
#[derive(Clone, Copy, Debug)]
struct Refusal(u16, &'static str, &'static [&'static str]);

/// The body, or a parameter of this name, cannot be parsed.
const fn malformed(pointers: &'static [&'static str]) -> Refusal {
    Refusal(400, "malformed-request", pointers)
}

/// It can, and says something that is not accepted.
const fn invalid(pointers: &'static [&'static str]) -> Refusal {
    Refusal(422, "invalid-request", pointers)
}

const EPOCH_LOST: Refusal = Refusal(410, "epoch-lost", &[]);
const TOO_LARGE: Refusal = Refusal(413, "payload-too-large", &[]);
const NOT_JSON: Refusal = Refusal(415, "unsupported-media-type", &[]);
const NOT_FOUND: Refusal = Refusal(404, "not-found", &[]);

/// A service whose log must stay as it is. Collects what is wrong, so that one run shows all of it.
struct Refusing {
    service: Service,
    sql: PgConnection,
    /// A notification of Alice's.
    id: String,
    wrong: Vec<String>,
}

impl Refusing {
    async fn start() -> Self {
        let service = Service::start().await;
        let id = service.create("alice").await;
        Self { sql: service.sql().await, service, id, wrong: Vec::new() }
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.service.request("POST", path).header("x-api-key", self.service.root_key())
    }

    /// A command on Alice's notification.
    fn command(&self, word: &str) -> RequestBuilder {
        self.post(&format!("/v1/notifications/{}/{word}", self.id))
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.service.request("GET", path).header("x-api-key", self.service.root_key())
    }

    /// The request must be refused like this.
    async fn refuse(&mut self, what: &str, request: RequestBuilder, expected: Refusal) {
        let before = self.service.stored(&mut self.sql).await;
        let answer = self.service.send(request).await;
        self.check(what, &answer, expected);
        let after = self.service.stored(&mut self.sql).await;
        if before != after {
            self.wrong.push(format!("{what}: the log is not what it was: {before:?}, {after:?}"));
        }
    }

    fn check(&mut self, what: &str, answer: &Answer, expected: Refusal) {
        let Refusal(status, slug, pointers) = expected;
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        let named: Vec<&str> = errors.iter().filter_map(|error| error["pointer"].as_str()).collect();
        let right = answer.status == status
            && answer.header("content-type") == Some("application/problem+json")
            && (&body["status"], &body["type"]) == (&status.into(), &slug.into())
            && ["title", "detail"]
                .iter()
                .all(|member| body[member].as_str().is_some_and(|text| !text.is_empty()))
            && named == pointers
            && errors.iter().all(|error| error["detail"].as_str().is_some_and(|text| !text.is_empty()));
        if !right {
            let got = (answer.status, answer.header("content-type"), &answer.body);
            self.wrong.push(format!("{what}: expected {expected:?}, got {got:?}"));
        }
    }

    /// Everything was refused as it should be, and the service is as well as before.
    async fn finish(self) {
        assert!(self.wrong.is_empty(), "\n{}\n", self.wrong.join("\n"));
        self.service.create("alice").await;
        assert_eq!(self.service.counts("alice").await, (2, 2));
    }
}
