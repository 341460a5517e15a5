//! Batches: each notification succeeds or fails by itself, in order.

use serde_json::{Value, json};
use sqlx::Executor;

use crate::support::{Service, note};

const BATCH: &str = "/v1/notifications/batch";

fn valid(title: &str) -> Value {
    json!({"user_id": "alice", "content": {"title": title, "body": ""}})
}

#[tokio::test]
async fn what_is_wrong_fails_alone_and_the_rest_is_created_in_order() {
    let service = Service::start().await;
    let notifications = json!([
        valid("first"),
        {"user_id": "alice", "content": {"title": "", "body": ""}},
        valid("second"),
        {"user_id": "alice", "content": {"title": "x", "body": ""}, "colour": "red"},
        7,
        {"user_id": "al\u{0}ice", "content": {"title": "x", "body": ""}},
        {"user_id": "alice", "content": {"title": "x", "body": "a".repeat(256 << 10)}},
        valid("third"),
    ]);
    let answer = service.post(BATCH, &json!({"notifications": notifications})).await.expect(200);
    let results = answer.json()["results"].as_array().unwrap().clone();
    let statuses: Vec<&Value> = results.iter().map(|result| &result["status"]).collect();
    assert_eq!(statuses, [201, 422, 201, 422, 422, 422, 413, 201]);
    for (result, pointer) in [(1, "/content/title"), (3, "/colour"), (4, ""), (5, "/user_id")] {
        let problem = &results[result]["problem"];
        assert_eq!(
            (&problem["type"], &problem["status"]),
            (&"invalid-request".into(), &422.into()),
            "{problem}"
        );
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    assert_eq!(results[6]["problem"]["type"], "payload-too-large");

    let page = service.inbox("alice", "").await;
    let titles: Vec<&Value> = page["items"].as_array().unwrap().iter().map(|item| &item["title"]).collect();
    assert_eq!(titles, ["third", "second", "first"]);
    let created: Vec<&Value> = [0, 2, 7].iter().map(|result| &results[*result]["id"]).collect();
    let listed: Vec<&Value> =
        page["items"].as_array().unwrap().iter().map(|item| &item["id"]).rev().collect();
    assert_eq!(created, listed);
    assert_eq!(answer.header("tidings-cursor"), results[7]["cursor"].as_str(), "the last one's");
}

#[tokio::test]
async fn a_thousand_notifications_are_one_batch() {
    let service = Service::start().await;
    let notifications: Vec<Value> = (0..1_000).map(|n| note(["alice", "bob"][n % 2])).collect();
    let answer = service.post(BATCH, &json!({"notifications": notifications})).await.expect(200);
    let results = answer.json()["results"].as_array().unwrap().clone();
    assert!(results.len() == 1_000 && results.iter().all(|result| result["status"] == 201));
    assert_eq!((service.counts("alice").await, service.counts("bob").await), ((500, 500), (500, 500)));
    assert_eq!(service.events("").await.len(), 1_000);
}

#[tokio::test]
async fn the_log_and_the_inbox_keep_the_order_of_a_batch() {
    let service = Service::start().await;
    let notifications: Vec<Value> = (0..600).map(|n| valid(&n.to_string())).collect();
    let answer = service.post(BATCH, &json!({"notifications": notifications})).await.expect(200);
    let results = answer.json()["results"].as_array().unwrap().clone();
    let created: Vec<&Value> = results.iter().map(|result| &result["id"]).collect();
    let events = service.events("").await;
    assert_eq!(events.iter().map(|event| &event["aggregate_id"]).collect::<Vec<_>>(), created);
    let page = service.inbox("alice", "limit=3").await;
    let newest: Vec<&Value> = page["items"].as_array().unwrap().iter().map(|item| &item["title"]).collect();
    assert_eq!(newest, ["599", "598", "597"]);
}

#[tokio::test]
async fn a_keyed_batch_that_is_repeated_gives_the_first_answer_and_does_nothing() {
    let service = Service::start().await;
    let body = json!({"notifications": [valid("one"), {"user_id": ""}, valid("two")]});
    let first = service.post_keyed(BATCH, &body, "nightly").await.expect(200);
    assert_eq!(first.header("idempotent-replayed"), None);
    let head = service.head().await;

    let second = service.post_keyed(BATCH, &body, "nightly").await.expect(200);
    assert_eq!(second.header("idempotent-replayed"), Some("true"));
    assert_eq!(
        (second.json(), second.header("tidings-cursor")),
        (first.json(), first.header("tidings-cursor"))
    );
    assert_eq!(service.head().await, head);

    let other = service.post_keyed(BATCH, &json!({"notifications": [valid("one")]}), "nightly").await;
    assert_eq!(other.problem(422), "idempotency-key-reused");
    let single = service.post_keyed("/v1/notifications", &valid("one"), "nightly").await;
    assert_eq!(single.problem(422), "idempotency-key-reused", "a key stands for one request of any kind");
    assert_eq!(service.counts("alice").await, (2, 2));
}

#[tokio::test]
async fn a_keyed_batch_sent_many_times_at_once_is_done_once() {
    let service = Service::start().await;
    let notifications: Vec<Value> = (0..50).map(|n| valid(&format!("No. {n}"))).collect();
    let body = json!({"notifications": notifications});
    let posts = (0..8).map(|_| service.post_keyed(BATCH, &body, "nightly"));
    let answers = futures_util::future::join_all(posts).await;
    let first = answers[0].json();
    for answer in &answers {
        assert_eq!((answer.status, answer.json()), (200, first.clone()));
    }
    let replayed = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_some()).count();
    assert_eq!(replayed, 7);
    assert_eq!(service.counts("alice").await, (50, 50));
}

#[tokio::test]
async fn the_recipients_of_a_batch_are_looked_up_all_at_once() {
    let service = Service::start().await;
    let zoe = service.request("PUT", "/v1/users/zoe").header("x-api-key", service.root_key());
    service.send(zoe.json(&json!({"locale": "de"}))).await.expect(200);
    let mut sql = service.sql().await;
    sql.execute("ALTER SYSTEM SET log_statement = 'all'").await.unwrap();
    sql.execute("SELECT pg_reload_conf()").await.unwrap();
    let look_ups = || {
        let log = std::fs::read_to_string(service.data_dir().join("postgres.log")).unwrap();
        log.lines().filter(|line| line.contains("aggregate_id = ANY ($2)")).count()
    };
    // Each backend hears of it when it is asked next.
    for n in 0.. {
        service.create(&format!("early-{n}")).await;
        if look_ups() > 0 {
            break;
        }
        assert!(n < 100, "statements are logged");
    }
    let batch: Vec<Value> = (0..50).map(|n| note(&format!("guest-{n}"))).collect();
    let before = look_ups();
    service.post(BATCH, &json!({"notifications": batch})).await.expect(200);
    let asked = look_ups() - before;
    assert!((1..10).contains(&asked), "{asked}: theirs, and what others look up meanwhile");
}
