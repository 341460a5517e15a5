//! Several nodes over one Postgres and one Redis.

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{Answer, PATIENCE, Service, Socket, note};

/// What a node holds beside its pool, as `docs/operations.md` has it.
const BESIDE_THE_POOL: i64 = 12;

#[tokio::test]
async fn what_one_node_does_is_seen_at_the_other() {
    let first = Service::start().await;
    let second = first.another_node().await;
    let (mut at_first, _) = Socket::of(&first, "alice").await;
    let (mut at_second, welcome) = Socket::of(&second, "alice").await;

    let id = first.create("alice").await;
    let created = at_second.event("notification.created").await;
    assert_eq!(created, at_first.event("notification.created").await);
    second.mark(&id, "read").await;
    let read = at_first.event("notification.read").await;
    assert_eq!(read, at_second.event("notification.read").await);

    // A cursor of one node is one of the other: to wait for, and to resume from.
    let cursor = first.create("alice").await;
    assert!(!cursor.is_empty());
    let request = second.request("GET", "/v1/users/alice/inbox").header("x-api-key", second.root_key());
    let page =
        second.send(request.header("tidings-min-cursor", first.done().unwrap())).await.expect(200).json();
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let (mut resumed, _) = Socket::resumed(&first, "alice", welcome["cursor"].as_str().unwrap()).await;
    let mut frames = resumed.frames_to_sync().await;
    frames.pop();
    assert_eq!(frames[..2], [created, read]);
}

#[tokio::test]
async fn racers_on_two_nodes_leave_one_mark_and_one_notification() {
    let first = Service::start().await;
    let second = first.another_node().await;
    let id = first.create("alice").await;
    let path = format!("/v1/notifications/{id}/read");
    let marks = (0..64).map(|n| [&first, &second][n % 2].post(&path, &Value::Null));
    for answer in join_all(marks).await {
        answer.expect(200);
    }
    let names: Vec<Value> =
        first.events(&format!("aggregate_id={id}")).await.iter().map(|event| event["type"].clone()).collect();
    assert_eq!(names, ["notification.created", "notification.read", "delivery.succeeded"]);

    let body = note("bob");
    let posts = (0..32).map(|n| [&first, &second][n % 2].post_keyed("/v1/notifications", &body, "once"));
    let answers: Vec<Answer> = join_all(posts).await.into_iter().map(|answer| answer.expect(201)).collect();
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    let replayed = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_some()).count();
    assert_eq!(replayed, 31);
    assert_eq!(second.events("user_id=bob").await.len(), 1);
}

#[tokio::test]
async fn a_node_holds_as_many_connections_to_postgres_as_the_manual_says() {
    let manual = include_str!("../../docs/operations.md");
    assert!(manual.contains(&format!("(`TIDINGS_DATABASE_CONNECTIONS_MAX` + {BESIDE_THE_POOL})")));
    let host = Service::start().await;
    let mut sql = host.sql().await;
    // A role of its own tells the node's connections from all others.
    sqlx::query("CREATE ROLE other SUPERUSER LOGIN").execute(&mut sql).await.unwrap();
    let folder = host.data_dir().join("postgres");
    let url = format!("postgres:///tidings?host={}&user=other&sslmode=disable", folder.display());
    let settings = [("TIDINGS_DATABASE_URL", url.as_str()), ("TIDINGS_DATABASE_CONNECTIONS_MAX", "3")];
    let node = host.another_node_with(&settings).await;
    let mut held = async || -> i64 {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'other'";
        sqlx::query_scalar(count).fetch_one(&mut sql).await.unwrap()
    };
    // A connection that was replaced may still be there for a moment, and one that is needed not yet.
    let (deadline, mut in_a_row) = (Instant::now() + PATIENCE, 0);
    while in_a_row < 3 {
        join_all((0..20).map(|_| node.create("alice"))).await;
        join_all((0..20).map(|_| node.inbox("alice", ""))).await;
        let held = held().await;
        in_a_row = if held == 3 + BESIDE_THE_POOL { in_a_row + 1 } else { 0 };
        assert!(Instant::now() < deadline, "{held}");
    }
}
