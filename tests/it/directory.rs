//! What nodes remember of templates and recipients: the newest word counts, whichever node it was given to.

use serde_json::{Value, json};

use crate::support::{Door, Service, Socket};

fn says(title: &str) -> Value {
    let (english, german) = (format!("title = {title}\n"), format!("title = {title} auf Deutsch\n"));
    json!({"default_locale": "en", "sources": {"en": english, "de": german}})
}

async fn put(service: &Door, path: &str, body: &Value) {
    let request = service.request("PUT", path).header("x-api-key", service.root_key());
    service.send(request.json(body)).await.expect(200);
}

/// What Alice would see of the greeting.
async fn preview(service: &Door) -> String {
    let seen = service.post("/v1/templates/greeting/preview", &json!({"user_id": "alice"})).await.expect(200);
    seen.json()["parts"]["title"].as_str().expect("a title").to_owned()
}

#[tokio::test]
async fn a_change_counts_from_the_next_look_on_and_on_every_node_once_it_has_heard_of_it() {
    let service = Service::start().await;
    let other = service.another_node().await;
    put(&service, "/v1/templates/greeting", &says("Hello")).await;
    let (mut bob, _) = Socket::of(&other, "bob").await;
    assert_eq!((preview(&service).await, preview(&other).await), ("Hello".into(), "Hello".into()));

    put(&service, "/v1/users/alice", &json!({"locale": "de-AT"})).await;
    assert_eq!(preview(&service).await, "Hello auf Deutsch");
    service.create("bob").await;
    bob.event("notification.created").await;
    assert_eq!(preview(&other).await, "Hello auf Deutsch", "what Bob has, comes after it");

    put(&service, "/v1/templates/greeting", &says("Welcome")).await;
    assert_eq!(preview(&service).await, "Welcome auf Deutsch");
    service.create("bob").await;
    bob.event("notification.created").await;
    assert_eq!(preview(&other).await, "Welcome auf Deutsch");
    bob.close().await;
}

#[tokio::test]
async fn a_preview_for_a_user_takes_language_and_clock_from_the_profile_alone() {
    let service = Service::start().await;
    let at = json!({"default_locale": "en", "sources": {"en": "title = { DATETIME($at, timeStyle: \"short\") }\n"}, "arguments": {"at": "date"}});
    put(&service, "/v1/templates/at", &at).await;
    put(&service, "/v1/users/alice", &json!({"time_zone": "Asia/Kolkata"})).await;
    let seen = |user: &str| {
        let asked = json!({"user_id": user, "args": {"at": "2026-07-01T10:30:00Z"}});
        let service = &service;
        async move { service.post("/v1/templates/at/preview", &asked).await.expect(200).json() }
    };
    let plain = |seen: Value| seen["parts"]["title"].as_str().unwrap().replace('\u{202f}', " ");
    assert_eq!(plain(seen("alice").await), "4:00 PM");
    assert_eq!(plain(seen("nobody").await), "10:30 AM", "whom nobody has described");
    for (body, pointer) in [
        (json!({"user_id": "alice", "locale": "de"}), "/locale"),
        (json!({"user_id": "alice", "time_zone": "Europe/Vienna"}), "/time_zone"),
        (json!({"user_id": "a\nb"}), "/user_id"),
    ] {
        let answer = service.post("/v1/templates/at/preview", &body).await;
        assert_eq!((answer.status, answer.pointers()), (422, vec![pointer.to_owned()]), "{body}");
    }
}
