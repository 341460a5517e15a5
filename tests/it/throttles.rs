//! A category of which a recipient gets only so many: exactly so many, whoever sends them and from where.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Service, note};

const NEWS: &str = "/v1/categories/news";

async fn throttle(service: &Service, max: u32, window: &str) {
    let body = json!({"throttle": {"max": max, "window": window}});
    let request = service.request("PUT", NEWS).header("x-api-key", service.root_key());
    let mut shown = service.send(request.json(&body)).await.expect(200).json();
    assert_eq!(shown["throttle"].take(), body["throttle"]);
}

fn news(user: &str) -> Value {
    let mut body = note(user);
    body["category"] = "news".into();
    body
}

/// How many of a user's notifications are in the inbox, and how many were throttled.
async fn told_of(service: &Service, user: &str) -> (usize, usize) {
    *service.done.lock().unwrap() = Some(service.head().await);
    let inbox = service.inbox(user, "state=all&limit=100").await;
    let listed =
        service.read(&format!("/v1/notifications?limit=100&user_id={user}")).await.expect(200).json();
    let throttled = |it: &&Value| {
        let steps = it["deliveries"].as_array().unwrap();
        steps.iter().all(|step| step["status"] == "skipped" && step["skipped"] == "throttled")
    };
    let throttled = listed["notifications"].as_array().unwrap().iter().filter(throttled).count();
    (inbox["items"].as_array().unwrap().len(), throttled)
}

#[tokio::test]
async fn of_many_at_once_on_two_nodes_exactly_so_many_are_let_in() {
    let first = Service::start().await;
    let second = first.another_node().await;
    throttle(&first, 5, "1h").await;
    let (alice, mut escalated) = (news("alice"), news("alice"));
    escalated["plan"] = json!([{"channel": "in_app"}, {"channel": "email", "after": "1h"}]);
    let bodies = [&alice, &escalated];
    let posts = (0..50).map(|n| [&first, &second][n % 2].post("/v1/notifications", bodies[n / 25]));
    for answer in join_all(posts).await {
        answer.expect(201);
    }
    assert_eq!(told_of(&first, "alice").await, (5, 45));
    assert_eq!(first.counts("alice").await, (5, 5));
    let granted = first.events("type=admission.granted&user_id=alice").await;
    assert_eq!(granted.len(), 5);
    // Others have windows of their own: another user, another category, no category.
    first.create_with(&news("bob")).await;
    let mut other = note("alice");
    first.create_with(&other).await;
    other["category"] = "billing".into();
    first.create_with(&other).await;
    assert_eq!((told_of(&first, "bob").await, told_of(&first, "alice").await), ((1, 0), (7, 45)));
    first.audit(&mut first.sql().await, &["alice", "bob"]).await;
}

#[tokio::test]
async fn a_batch_and_broadcasts_count_like_single_ones() {
    let service = Service::start().await;
    throttle(&service, 3, "1h").await;
    let batch: Vec<Value> = (0..8).map(|n| news(["alice", "bob"][n % 2])).collect();
    let batch = json!({"notifications": batch});
    let first = service.post_keyed("/v1/notifications/batch", &batch, "once").await.expect(200);
    assert!(first.json()["results"].as_array().unwrap().iter().all(|result| result["status"] == 201));
    let again = service.post_keyed("/v1/notifications/batch", &batch, "once").await.expect(200);
    assert_eq!((again.header("idempotent-replayed"), again.json()), (Some("true"), first.json()));
    assert_eq!((told_of(&service, "alice").await, told_of(&service, "bob").await), ((3, 1), (3, 1)));

    let broadcast =
        json!({"user_ids": ["alice", "carol"], "content": {"title": "b", "body": ""}, "category": "news"});
    let posts = (0..5).map(|_| service.post("/v1/broadcasts", &broadcast));
    for answer in join_all(posts).await {
        let path = format!("/v1/broadcasts/{}", answer.expect(201).text("id"));
        while service.get(&path).await.expect(200).text("status") != "completed" {
            service.head().await;
        }
    }
    assert_eq!((told_of(&service, "alice").await, told_of(&service, "carol").await), ((3, 6), (3, 2)));
}

#[tokio::test]
async fn a_window_that_has_moved_on_lets_the_next_in_and_a_repetition_counts_once() {
    let service = Service::start().await;
    throttle(&service, 1, "1s").await;
    let one = service.post_keyed("/v1/notifications", &news("alice"), "one").await.expect(201).text("id");
    let again = service.post_keyed("/v1/notifications", &news("alice"), "one").await.expect(201);
    assert_eq!((again.text("id"), again.header("idempotent-replayed")), (one, Some("true")));
    // A timer that fires says that the time has passed.
    let mut later = note("alice");
    later["deliver_at"] = service.in_ms(1_100).await.into();
    let (mut socket, _) = crate::support::Socket::of(&service, "alice").await;
    service.create_with(&later).await;
    socket.event("notification.released").await;
    service.create_with(&news("alice")).await;
    assert_eq!(told_of(&service, "alice").await, (3, 0));
}

#[tokio::test]
async fn a_bound_that_could_not_be_is_refused_by_its_name() {
    let service = Service::start().await;
    for (body, pointer) in [
        (json!({"max": 0, "window": "1h"}), "/throttle/max"),
        (json!({"max": 1001, "window": "1h"}), "/throttle/max"),
        (json!({"max": -1, "window": "1h"}), "/throttle/max"),
        (json!({"max": 1}), "/throttle/window"),
        (json!({"max": 1, "window": "0s"}), "/throttle/window"),
        (json!({"max": 1, "window": "31d"}), "/throttle/window"),
        (json!({"max": 1, "window": "1500ms"}), "/throttle/window"),
        (json!({"max": 1, "window": "soon"}), "/throttle/window"),
        (json!({"max": 1, "window": "1h", "per": "user"}), "/throttle/per"),
    ] {
        let request = service.request("PUT", NEWS).header("x-api-key", service.root_key());
        let answer = service.send(request.json(&json!({"throttle": body}))).await;
        assert_eq!(
            (answer.problem(422), answer.pointers()),
            ("invalid-request".into(), vec![pointer.into()])
        );
    }
}
