//! `Idempotency-Key`: one effect and one answer, for ever.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::{Service, note};

const CREATE: &str = "/v1/notifications";
const REPLAYED: &str = "idempotent-replayed";

#[tokio::test]
async fn of_thirty_two_posts_at_once_with_one_key_one_creates_and_all_get_its_answer() {
    let service = Service::start().await;
    let posts =
        (0..32).map(|_| async { service.post_keyed(CREATE, &note("alice"), "once").await.expect(201) });
    let answers = futures_util::future::join_all(posts).await;
    let bodies: HashSet<&str> = answers.iter().map(|answer| answer.body.as_str()).collect();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    let cursors: HashSet<_> = answers.iter().map(|answer| answer.header("tidings-cursor")).collect();
    assert_eq!(cursors.len(), 1);
    let replayed = answers.iter().filter(|answer| answer.header(REPLAYED) == Some("true")).count();
    assert_eq!(replayed, 31);
    assert_eq!(service.events("").await.len(), 1);
    assert_eq!(service.counts("alice").await, (1, 1));
}

#[tokio::test]
async fn a_key_stands_for_its_request_even_after_a_restart() {
    let mut service = Service::start().await;
    let first = service.post_keyed(CREATE, &note("alice"), "once").await.expect(201);
    assert_eq!(first.header(REPLAYED), None);
    let id = first.text("id");
    let other = service.post_keyed(CREATE, &note("bob"), "once").await;
    assert_eq!(other.problem(422), "idempotency-key-reused");
    let elsewhere = service.post_keyed(&format!("{CREATE}/{id}/read"), &Value::Null, "once").await;
    assert_eq!(elsewhere.problem(422), "idempotency-key-reused");

    service.terminate();
    service.start_again().await;
    let again = service.post_keyed(CREATE, &note("alice"), "once").await.expect(201);
    assert_eq!((again.header(REPLAYED), &again.body), (Some("true"), &first.body));
    assert_eq!(service.post_keyed(CREATE, &note("bob"), "once").await.problem(422), "idempotency-key-reused");
    assert_eq!(service.events("").await.len(), 1);
}

#[tokio::test]
async fn a_keyed_mark_is_not_made_again_even_when_it_would_change_something() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    let read = format!("{CREATE}/{id}/read");
    let first = service.post_keyed(&read, &Value::Null, "the-tap").await.expect(200);
    service.mark(&id, "unread").await;
    let again = service.post_keyed(&read, &Value::Null, "the-tap").await.expect(200);
    assert_eq!((again.header(REPLAYED), &again.body), (Some("true"), &first.body));
    assert_eq!(service.counts("alice").await, (1, 0), "it stays unread");

    // A mark that changed nothing has had its effect, too.
    let unread = format!("{CREATE}/{id}/unread");
    let nothing = service.post_keyed(&unread, &Value::Null, "no-op").await.expect(200);
    service.mark(&id, "read").await;
    let again = service.post_keyed(&unread, &Value::Null, "no-op").await.expect(200);
    assert_eq!((again.header(REPLAYED), &again.body), (Some("true"), &nothing.body));
    assert_eq!(service.counts("alice").await, (0, 0), "it stays read");
}

#[tokio::test]
async fn a_refused_command_does_not_consume_its_key() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    let (retry, deliver) = (format!("{CREATE}/{id}/retry"), format!("{CREATE}/{id}/deliver"));
    assert_eq!(service.post_keyed(&retry, &Value::Null, "k").await.problem(409), "invalid-state");
    service.post(&deliver, &json!({"channel": "in_app", "outcome": "failed"})).await.expect(200);
    let retried = service.post_keyed(&retry, &Value::Null, "k").await.expect(200);
    assert_eq!(retried.header(REPLAYED), None, "it was done now");

    let invalid = json!({"user_id": "alice", "content": {"title": "", "body": ""}});
    assert_eq!(service.post_keyed(CREATE, &invalid, "l").await.problem(422), "invalid-request");
    assert_eq!(service.post_keyed(CREATE, &note("alice"), "l").await.expect(201).header(REPLAYED), None);
}

#[tokio::test]
async fn the_keys_of_services_and_of_each_user_are_their_own() {
    let service = Service::start().await;
    let alices = [service.create("alice").await, service.create("alice").await];
    let bobs = service.create("bob").await;
    let read = |id: &str| format!("{CREATE}/{id}/read");
    let by = |user: &str, id: &str| {
        service.as_user(&service.token(user), "POST", &read(id)).header("idempotency-key", "k")
    };

    let of_service = service.post_keyed(&read(&alices[0]), &Value::Null, "k").await.expect(200);
    let of_alice = service.send(by("alice", &alices[1])).await.expect(200);
    let of_bob = service.send(by("bob", &bobs)).await.expect(200);
    for answer in [&of_service, &of_alice, &of_bob] {
        assert_eq!(answer.header(REPLAYED), None);
    }
    assert_eq!((service.counts("alice").await, service.counts("bob").await), ((0, 0), (0, 0)));
    assert_eq!(service.send(by("alice", &alices[1])).await.expect(200).header(REPLAYED), Some("true"));
    assert_eq!(service.send(by("alice", &alices[0])).await.problem(422), "idempotency-key-reused");
}
