//! The HTTP API as a service's backend uses it: with the root key, reading its own writes.

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::Door;

/// The body of a notification that any user may get.
pub fn note(user: &str) -> Value {
    json!({"user_id": user, "content": {"title": "Hello", "body": "How are you?"}})
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A member of the body that is a text.
    #[track_caller]
    pub fn text(&self, member: &str) -> String {
        self.json()[member].as_str().unwrap_or_else(|| panic!("{member} of {self:?}")).to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// The `type` of a problem that is one in every respect.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], status, "{self:?}");
        let words =
            ["title", "detail"].iter().all(|word| problem[word].as_str().is_some_and(|w| !w.is_empty()));
        assert!(words, "{self:?}");
        self.text("type")
    }

    /// The members a problem names.
    #[track_caller]
    pub fn pointers(&self) -> Vec<String> {
        let errors = self.json()["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
    }
}

impl Door {
    /// A request without credentials.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), self.url(path))
    }

    /// Sends a request; what it did is what the reads after it wait for.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap()
    }

    /// The same of a service that may be killed meanwhile.
    pub async fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let answer = Answer { status, headers, body: response.text().await? };
        if let Some(cursor) = answer.header("tidings-cursor") {
            let mut done = self.done.lock().unwrap();
            if done.as_deref().is_none_or(|before| position(before) < position(cursor)) {
                *done = Some(cursor.to_owned());
            }
        }
        Ok(answer)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path).header("x-api-key", self.root_key())).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.posting(path, body)).await
    }

    pub async fn post_keyed(&self, path: &str, body: &Value, key: &str) -> Answer {
        self.send(self.posting(path, body).header("idempotency-key", key)).await
    }

    /// A command of a service that is ready to send.
    pub fn posting(&self, path: &str, body: &Value) -> RequestBuilder {
        let request = self.request("POST", path).header("x-api-key", self.root_key());
        if body.is_null() { request } else { request.json(body) }
    }

    /// A request of an end user.
    pub fn as_user(&self, token: &str, method: &str, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(token)
    }

    /// Creates a notification and gives its id.
    pub async fn create(&self, user: &str) -> String {
        self.create_with(&note(user)).await
    }

    pub async fn create_with(&self, body: &Value) -> String {
        self.post("/v1/notifications", body).await.expect(201).text("id")
    }

    /// A command that needs no body; gives its cursor.
    pub async fn mark(&self, id: &str, word: &str) -> String {
        self.post(&format!("/v1/notifications/{id}/{word}"), &Value::Null).await.expect(200).text("cursor")
    }

    /// A user's inbox with everything done so far; `query` may be empty.
    pub async fn inbox(&self, user: &str, query: &str) -> Value {
        self.read(&format!("/v1/users/{user}/inbox?{query}")).await.expect(200).json()
    }

    /// Unread and unseen, with everything done so far.
    pub async fn counts(&self, user: &str) -> (i64, i64) {
        let counts = self.read(&format!("/v1/users/{user}/inbox/counts")).await.expect(200).json();
        (counts["unread"].as_i64().unwrap(), counts["unseen"].as_i64().unwrap())
    }

    /// A read of a service that waits for what was done so far.
    pub async fn read(&self, path: &str) -> Answer {
        let mut request = self.request("GET", path).header("x-api-key", self.root_key());
        if let Some(cursor) = self.done() {
            request = request.header("tidings-min-cursor", cursor);
        }
        self.send(request).await
    }

    pub async fn events(&self, query: &str) -> Vec<Value> {
        let page = self.get(&format!("/v1/events?limit=1000&{query}")).await.expect(200).json();
        page["events"].as_array().unwrap().clone()
    }

    /// The cursor of the last thing done.
    pub fn done(&self) -> Option<String> {
        self.done.lock().unwrap().clone()
    }

    /// The end of the log.
    pub async fn head(&self) -> String {
        self.get("/v1/events?type=none").await.expect(200).text("next")
    }
}

/// The position in a cursor. Clients must not look into one; a test that checks order may.
pub fn position(cursor: &str) -> i64 {
    cursor.split_once('.').unwrap().1.parse().unwrap()
}
