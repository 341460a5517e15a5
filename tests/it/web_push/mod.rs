//! Web Push: browsers register themselves, and each is told what the user is told, encrypted for it alone.

mod peer;
mod sending;
mod subscriptions;

use serde_json::{Value, json};

use crate::dispatch::{NEAR, planned, put};
use crate::support::{Door, Service};

const CHANNEL: &str = "/v1/channels/web_push";
const SUBSCRIPTIONS: &str = "/v1/users/alice/push_subscriptions";

/// A service that may call endpoints here, up to four times.
async fn service() -> Service {
    let service = Service::start_with(&[NEAR]).await;
    put(&service, CHANNEL, &channel(&json!({}))).await;
    service
}

fn channel(members: &Value) -> Value {
    let mut provider = json!({"subject": "mailto:ops@acme.example"});
    provider.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    json!({
        "providers": [{"name": "main", "web_push": provider}],
        "timeout": "1s",
        "retry": {"schedule": "exponential", "attempts_max": 4, "base": "50ms", "cap": "200ms"},
    })
}

/// With the keys of RFC 8291, section 5.
fn browser(endpoint: &str) -> Value {
    json!({
        "endpoint": endpoint,
        "expirationTime": null,
        "keys": {
            "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            "auth": "BTBZMqHH6r4Tts7J_aSIgg",
        },
    })
}

/// What is shown of it.
fn shown(endpoint: &str) -> Value {
    let mut shown = browser(endpoint);
    shown.as_object_mut().unwrap().remove("expirationTime");
    shown
}

/// As Alice's page does.
async fn register(service: &Service, endpoint: &str) {
    let request = service.as_user(&service.token("alice"), "POST", SUBSCRIPTIONS);
    service.send(request.json(&browser(endpoint))).await.expect(200);
}

/// The endpoints of Alice's browsers.
async fn endpoints(service: &Door) -> Vec<String> {
    let profile = service.get("/v1/users/alice").await.expect(200).json();
    let browsers = profile["addresses"]["web_push"].as_array().cloned().unwrap_or_default();
    browsers.iter().map(|browser| browser["endpoint"].as_str().unwrap().to_owned()).collect()
}

/// A notification for Alice that goes to her browsers only.
fn pushed() -> Value {
    planned("alice", json!([{"channel": "web_push"}]))
}
