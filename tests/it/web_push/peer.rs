//! What a browser reads and its push service learns, by what others made.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{SUBSCRIPTIONS, pushed, service};
use crate::channel_peers::{Script, python};
use crate::dispatch::{put, story};
use crate::generated_clients::missing;
use crate::support::{Call, Endpoint};

#[tokio::test]
async fn a_browser_decrypts_it_and_its_push_service_knows_who_sent_it() {
    let Some(command) = python("browser.py") else { return missing("the Python packages") };
    let mut browser = Script::start(command);
    let mut ask = |order: Value| -> Value {
        let line = browser.ask(&order);
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no answer: {line}"))
    };
    let service = service().await;
    let endpoint = Endpoint::saying(201).await;
    let url = endpoint.url();
    let subscription = ask(json!({"subscribe": url}));
    let token = service.token("alice");
    service.send(service.as_user(&token, "POST", SUBSCRIPTIONS).json(&subscription)).await.expect(200);
    put(&service, "/v1/users/alice", &json!({"locale": "de-AT"})).await;
    let template = json!({
        "default_locale": "en",
        "arguments": {"words": "string"},
        "sources": {
            "en": "title = Your invoice is ready\nbody = { $words }\n",
            "de": "title = Ihre Rechnung über 20 € ist da\nbody = { $words }\n",
        },
    });
    put(&service, "/v1/templates/invoice", &template).await;
    let key =
        service.send(service.as_user(&token, "GET", "/v1/push_key")).await.expect(200).text("public_key");
    let origin = url.trim_end_matches("/deliveries");
    let mut received = |call: &Call| {
        let (body, authorization) = (BASE64.encode(&call.bytes), call.header("authorization"));
        ask(json!({"receive": url, "origin": origin, "body": body, "authorization": authorization}))
    };

    let mut asked = pushed();
    asked.as_object_mut().unwrap().remove("content");
    asked["category"] = "billing".into();
    asked["template"] = json!({
        "key": "invoice", "args": {"words": "Sie ist fällig."}, "action_url": "https://acme.example/7",
    });
    let id = service.create_with(&asked).await;
    let events = story(&service, &id, "delivery.succeeded").await;
    let push = received(&endpoint.so_far()[0]);
    let expected = json!({
        "notification_id": id, "tag": id, "priority": "normal", "timestamp": events[0]["recorded_at"],
        "category": "billing", "locale": "de-AT", "action_url": "https://acme.example/7",
        "title": "Ihre Rechnung über 20 € ist da", "body": "Sie ist fällig.",
    });
    let without_marks = |value: &Value| value.to_string().replace(['\u{2068}', '\u{2069}'], "");
    let message: Value = serde_json::from_str(&without_marks(&push["message"])).unwrap();
    assert_eq!(message, expected);
    assert_eq!((&push["scheme"], &push["key"]), (&json!("vapid"), &json!(key)));
    let claims = &push["claims"];
    assert_eq!((&claims["aud"], &claims["sub"]), (&json!(origin), &json!("mailto:ops@acme.example")));
    let ends = claims["exp"].as_i64().unwrap() - time::OffsetDateTime::now_utc().unix_timestamp();
    assert!((39_600..=43_200).contains(&ends), "twelve hours: {ends}");

    asked["template"]["args"]["words"] = "Größe 😀 \"x\"\n".repeat(2_000).into();
    let id = service.create_with(&asked).await;
    story(&service, &id, "delivery.succeeded").await;
    let long = received(&endpoint.so_far()[1]);
    assert!((4_000..=4_096).contains(&long["bytes"].as_i64().unwrap()), "{}", long["bytes"]);
    assert!(long["message"]["body"].as_str().unwrap().ends_with('…'), "it is cut");
}
