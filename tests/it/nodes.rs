//! Several nodes over one Postgres and one Redis, and connections to Postgres that break.

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::support::{Answer, Service, Socket, note};

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

/// Sends until it is done, as `Retry-After` and the key allow; gives the id.
async fn insist(service: &Service, key: &str) -> String {
    loop {
        let answer = service.post_keyed("/v1/notifications", &note("alice"), key).await;
        if answer.status == 201 {
            return answer.text("id");
        }
        assert!(
            ["unavailable", "outcome-unknown", "busy"].contains(&answer.problem(503).as_str()),
            "{answer:?}"
        );
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
}

/// Ends every other connection to the database, whatever it is doing.
async fn cut_connections(sql: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
          WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
    )
    .fetch_one(sql)
    .await
    .unwrap()
}

#[tokio::test]
async fn connections_that_break_under_load_lose_nothing_and_double_nothing() {
    let service = Service::start().await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let mut sql = service.sql().await;
    let creating = join_all((0..8).map(|task| {
        let service = &service;
        async move {
            let mut ids = Vec::new();
            for n in 0..40 {
                ids.push(insist(service, &format!("{task}-{n}")).await);
            }
            ids
        }
    }));
    let cutting = async {
        let mut cut = 0;
        for at in 1..=20 {
            // The frames set the pace: a cut now and then, while much is on its way.
            while socket.event("notification.created").await["unread"].as_i64().unwrap() < at * 15 {}
            cut += cut_connections(&mut sql).await;
        }
        cut
    };
    let (ids, cut) = tokio::join!(creating, cutting);
    assert!(cut > 0, "connections were cut");
    let mut ids: Vec<String> = ids.into_iter().flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 320, "each key has its own notification");

    let events = service.events("").await;
    let mut created: Vec<&str> = events.iter().map(|event| event["aggregate_id"].as_str().unwrap()).collect();
    created.sort_unstable();
    assert_eq!(created, ids, "what was acknowledged, and nothing else");
    let (events, head): (i64, i64) =
        sqlx::query_as("SELECT count(*), max(position) FROM events").fetch_one(&mut sql).await.unwrap();
    assert_eq!((events, head), (320, 320), "positions have no hole");
    assert_eq!(service.counts("alice").await, (320, 320));

    // The socket has lived through all of it.
    for unread in 301..=320 {
        let frame = socket.event("notification.created").await;
        assert_eq!(frame["unread"], unread);
    }
    assert_eq!(
        socket.sync().await,
        json!({
            "type": "sync", "cursor": service.head().await, "unread": 320, "unseen": 320,
        })
    );
}
