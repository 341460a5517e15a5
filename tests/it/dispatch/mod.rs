//! Deliveries outside: what is called, how often and when, and what the log says of it. The endpoint is a real one.

mod crashes;
mod lanes;
mod mail;
mod outcomes;
mod wishes;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{Door, Endpoint, PATIENCE, Service, note};

/// Endpoints of tests are near, and a tenant that allows little time between attempts.
pub const NEAR: (&str, &str) = ("TIDINGS_OUTGOING_ALLOW_PRIVATE", "127.0.0.0/8");

/// A service that may call endpoints here, up to four times.
pub async fn service() -> Service {
    service_with(&[]).await
}

pub async fn service_with(settings: &[(&str, &str)]) -> Service {
    let service = Service::start_with(&[settings, &[NEAR]].concat()).await;
    let webhook = json!({
        "providers": [{"name": "main", "webhook": {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}],
        "timeout": "1s",
        "retry": {"schedule": "exponential", "attempts_max": 4, "base": "50ms", "cap": "200ms"},
    });
    put(&service, "/v1/channels/webhook", &webhook).await;
    service
}

/// Says where a user's webhooks go.
pub async fn reach(service: &Door, user: &str, endpoint: &Endpoint) {
    let profile = json!({"addresses": {"webhook": endpoint.url()}});
    put(service, &format!("/v1/users/{user}"), &profile).await;
}

pub async fn put(service: &Door, path: &str, body: &Value) {
    let request = service.request("PUT", path).header("x-api-key", service.root_key()).json(body);
    service.send(request).await.expect(200);
}

/// A notification that is delivered by webhook only.
pub fn by_webhook(user: &str) -> Value {
    planned(user, json!([{"channel": "webhook"}]))
}

pub fn planned(user: &str, plan: Value) -> Value {
    let mut body = note(user);
    body["plan"] = plan;
    body
}

/// The events of a notification, once the last of them is this one.
pub async fn story(service: &Door, id: &str, last: &str) -> Vec<Value> {
    let told = async {
        loop {
            let events = service.events(&format!("aggregate_id={id}")).await;
            if events.last().is_some_and(|event| event["type"] == last) {
                return events;
            }
            tokio::task::yield_now().await;
        }
    };
    match tokio::time::timeout(PATIENCE, told).await {
        Ok(events) => events,
        Err(_) => panic!("no {last}: {:#?}", names(&service.events(&format!("aggregate_id={id}")).await)),
    }
}

/// What happened, with the number of the attempt where there is one.
pub fn names(events: &[Value]) -> Vec<String> {
    let name = |event: &Value| {
        let (name, attempt) = (event["type"].as_str().unwrap(), &event["data"]["attempt"]);
        if attempt.is_null() { name.to_owned() } else { format!("{name} {attempt}") }
    };
    events.iter().map(name).collect()
}

pub async fn delivery(service: &Door, id: &str) -> Value {
    service.get(&format!("/v1/notifications/{id}")).await.expect(200).json()["deliveries"][0].clone()
}

pub fn instant(value: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(value.as_str().unwrap(), &Rfc3339).unwrap()
}
