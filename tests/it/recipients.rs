//! What is said of a user is kept: durably, sealed, in its tenant, once, and refused where it says nothing that is so.

use serde_json::{Value, json};

use crate::support::{Answer, Service, note};

const ALICE: &str = "/v1/users/alice";
const PREFERENCES: &str = "/v1/users/alice/preferences";

async fn put(service: &Service, path: &str, body: &Value) -> Answer {
    let request = service.request("PUT", path).header("x-api-key", service.root_key());
    service.send(request.json(body)).await
}

async fn put_keyed(service: &Service, path: &str, body: &Value, key: &str) -> Answer {
    let request = service.request("PUT", path).header("x-api-key", service.root_key());
    service.send(request.header("Idempotency-Key", key).json(body)).await
}

fn profile() -> Value {
    json!({
        "locale": "de-AT",
        "time_zone": "Europe/Vienna",
        "addresses": {
            "email": "alice@clinic.example",
            "slack": "https://hooks.example/T1/B1/hush",
            "webhook": "https://alice.example/in",
        },
    })
}

fn preferences() -> Value {
    json!({
        "channels": {"email": false},
        "categories": {"billing": {"email": true, "slack": false}},
        "quiet_hours": {"from": "22:00", "to": "07:00"},
    })
}

/// What is shown of a user: what was put, and whose it is.
fn shown(put: &Value) -> Value {
    let mut shown = put.clone();
    shown["user_id"] = json!("alice");
    shown
}

async fn types(service: &Service) -> Vec<Value> {
    service.events("").await.iter().map(|event| event["type"].clone()).collect()
}

#[tokio::test]
async fn what_is_put_is_shown_whole_replaced_whole_and_there_after_a_restart() {
    let mut service = Service::start().await;
    assert_eq!(service.get(ALICE).await.expect(200).json(), json!({"user_id": "alice", "addresses": {}}));
    let nothing = json!({"user_id": "alice", "channels": {}, "categories": {}});
    assert_eq!(service.get(PREFERENCES).await.expect(200).json(), nothing);

    for (path, body) in [(ALICE, profile()), (PREFERENCES, preferences())] {
        let kept = put(&service, path, &body).await.expect(200);
        assert_eq!(kept.json(), shown(&body));
        assert_eq!(kept.header("tidings-cursor"), Some(service.head().await.as_str()));
    }
    service.terminate();
    service.start_again().await;
    assert_eq!(service.get(ALICE).await.expect(200).json(), shown(&profile()));
    assert_eq!(service.get(PREFERENCES).await.expect(200).json(), shown(&preferences()));

    let moved = json!({"time_zone": "asia/tokyo"});
    let kept = put(&service, ALICE, &moved).await.expect(200).json();
    assert_eq!(
        kept,
        json!({"user_id": "alice", "time_zone": "Asia/Tokyo", "addresses": {}}),
        "in its spelling"
    );
    assert_eq!(service.get(ALICE).await.json(), kept);
    assert_eq!(service.get(PREFERENCES).await.json(), shown(&preferences()));
}

#[tokio::test]
async fn what_is_said_twice_is_one_event_and_a_repetition_has_one_effect() {
    let service = Service::start().await;
    let first = put_keyed(&service, ALICE, &profile(), "once").await.expect(200);
    put(&service, ALICE, &profile()).await.expect(200);
    put(&service, ALICE, &json!({})).await.expect(200);
    let again = put_keyed(&service, ALICE, &profile(), "once").await.expect(200);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!((again.header("tidings-cursor"), &again.body), (first.header("tidings-cursor"), &first.body));
    assert_eq!(
        service.get(ALICE).await.json(),
        json!({"user_id": "alice", "addresses": {}}),
        "not said again"
    );
    let other = put_keyed(&service, ALICE, &json!({}), "once").await;
    assert_eq!(other.problem(422), "idempotency-key-reused");
    assert_eq!(types(&service).await, vec![json!("recipient.profile_changed"); 2]);
}

#[tokio::test]
async fn many_at_once_are_taken_one_after_the_other() {
    let service = Service::start().await;
    let zones = ["Europe/Vienna", "Asia/Tokyo", "America/Lima", "Africa/Cairo"];
    let puts = (0..32).map(|n| {
        let body = json!({"time_zone": zones[n % zones.len()], "locale": if n < 16 { "de" } else { "ar" }});
        let service = &service;
        async move { put(service, ALICE, &body).await.expect(200) }
    });
    futures_util::future::join_all(puts).await;
    let events = service.events("").await;
    let last = &events.last().unwrap()["data"];
    let shown = service.get(ALICE).await.json();
    assert_eq!((&shown["time_zone"], &shown["locale"]), (&last["time_zone"], &last["locale"]));
    let sequences: Vec<u64> = events.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=events.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_log_lists_it_by_user_and_aggregate_and_seals_addresses() {
    let service = Service::start().await;
    service.create("alice").await;
    put(&service, ALICE, &profile()).await.expect(200);
    service.create("alice").await;
    put(&service, "/v1/users/bob", &json!({"locale": "en"})).await.expect(200);

    let of_alice = service.events("user_id=alice").await;
    assert_eq!(of_alice.len(), 3);
    let id = of_alice[1]["aggregate_id"].as_str().unwrap();
    assert_eq!((id, &of_alice[1]["aggregate_type"]), ("rcp_7:defaultalice", &json!("recipient")));
    assert_eq!(service.events(&format!("aggregate_id={id}")).await, vec![of_alice[1].clone()]);
    assert_eq!(of_alice[1]["data"]["addresses"], profile()["addresses"], "readers open it");

    let stored: Vec<(String,)> =
        sqlx::query_as("SELECT payload::text FROM events").fetch_all(&mut service.sql().await).await.unwrap();
    let stored: String = stored.into_iter().map(|(text,)| text).collect();
    assert!(stored.contains("Europe/Vienna"), "{stored}");
    for secret in ["clinic", "hush", "alice.example", "addresses"] {
        assert!(!stored.contains(secret), "{secret} in {stored}");
    }
    // Notifications and counts are as they would be without it.
    assert_eq!(service.counts("alice").await, (2, 2));
    service.audit(&mut service.sql().await, &["alice", "bob"]).await;
}

#[tokio::test]
async fn nothing_crosses_from_one_tenant_to_another() {
    let service = Service::start().await;
    put(&service, ALICE, &profile()).await.expect(200);
    let scopes = ["notifications:read", "notifications:write"];
    let acme = service.key_with(json!({"name": "acme", "tenant": "acme", "scopes": scopes})).await;
    let seen = service.send(service.by(&acme, "GET", ALICE)).await.expect(200);
    assert_eq!(seen.json(), json!({"user_id": "alice", "addresses": {}}));
    service.send(service.by(&acme, "PUT", ALICE).json(&json!({"locale": "fr"}))).await.expect(200);
    assert_eq!(service.get(ALICE).await.json(), shown(&profile()));
}

#[tokio::test]
async fn what_says_nothing_that_is_so_is_refused_by_its_name() {
    let service = Service::start().await;
    let bodies = [
        (ALICE, json!({"locale": "german!"}), "/locale"),
        (ALICE, json!({"locale": ""}), "/locale"),
        (ALICE, json!({"time_zone": "Europe/Atlantis"}), "/time_zone"),
        (ALICE, json!({"time_zone": "+02:00"}), "/time_zone"),
        (ALICE, json!({"addresses": {"email": "alice"}}), "/addresses/email"),
        (ALICE, json!({"addresses": {"email": "a@b.example\r\nBcc: eve@b.example"}}), "/addresses/email"),
        (ALICE, json!({"addresses": {"email": "Alice <alice@b.example>"}}), "/addresses/email"),
        (ALICE, json!({"addresses": {"slack": "hooks.example/T1"}}), "/addresses/slack"),
        (ALICE, json!({"addresses": {"webhook": "file:///etc/passwd"}}), "/addresses/webhook"),
        (ALICE, json!({"addresses": {"webhook": "https://eve:pw@a.example/"}}), "/addresses/webhook"),
        (ALICE, json!({"addresses": {"webhook": "https://a.example/ b"}}), "/addresses/webhook"),
        (
            ALICE,
            json!({"addresses": {"webhook": format!("https://a.example/{}", "x".repeat(2_048))}}),
            "/addresses/webhook",
        ),
        (ALICE, json!({"addresses": {"fax": "1"}}), "/addresses/fax"),
        (ALICE, json!({"name": "Alice"}), "/name"),
        (PREFERENCES, json!({"channels": {"fax": true}}), "/channels/fax"),
        (PREFERENCES, json!({"channels": {"email": "no"}}), "/channels/email"),
        (PREFERENCES, json!({"categories": {"a/b": {"fax": true}}}), "/categories/a~1b/fax"),
        (PREFERENCES, json!({"categories": {"": {"email": true}}}), "/categories/"),
        (PREFERENCES, json!({"quiet_hours": {"from": "22:00"}}), "/quiet_hours/to"),
        (PREFERENCES, json!({"quiet_hours": {"from": "22:00", "to": "24:00"}}), "/quiet_hours/to"),
        (PREFERENCES, json!({"quiet_hours": {"from": "7:00", "to": "08:00"}}), "/quiet_hours/from"),
        (PREFERENCES, json!({"quiet_hours": {"from": "22:00", "to": "22:00"}}), "/quiet_hours/to"),
    ];
    let mut wrong = Vec::new();
    for (path, body, pointer) in bodies {
        let answer = put(&service, path, &body).await;
        if (answer.problem(422).as_str(), answer.pointers()) != ("invalid-request", vec![pointer.to_owned()])
        {
            wrong.push(format!("{body}: {}", answer.body));
        }
    }
    let many: serde_json::Map<String, Value> =
        (0..201).map(|n| (format!("category-{n}"), json!({"email": true}))).collect();
    let answer = put(&service, PREFERENCES, &json!({"categories": many})).await;
    assert_eq!(
        (answer.problem(422).as_str(), answer.pointers()),
        ("invalid-request", vec!["/categories".into()])
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(service.events("").await.len(), 0);
    service.post("/v1/notifications", &note("alice")).await.expect(201);
}
