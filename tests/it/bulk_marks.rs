//! Bulk marks: everything up to a position, each item by itself, each once.

use serde_json::{Value, json};
use sqlx::Connection;

use crate::support::{Service, Socket, note};

const REPLAYED: &str = "idempotent-replayed";

fn all(word: &str) -> String {
    format!("/v1/users/alice/inbox/{word}-all")
}

/// Ids of what a page of Alice's inbox shows, newest first.
async fn shown(service: &Service, state: &str) -> Vec<String> {
    let page = service.inbox("alice", &format!("state={state}&limit=100")).await;
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

async fn create_many(service: &Service, user: &str, count: usize) -> Vec<String> {
    let batch = json!({"notifications": vec![note(user); count]});
    let answer = service.post("/v1/notifications/batch", &batch).await.expect(200).json();
    let results = answer["results"].as_array().unwrap();
    results.iter().map(|result| result["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn everything_is_marked_and_only_what_changed_is_counted() {
    let service = Service::start().await;
    let ids = create_many(&service, "alice", 3).await;
    service.create("bob").await;
    service.mark(&ids[0], "read").await;
    service.mark(&ids[1], "archive").await;
    service.mark(&ids[1], "unread").await;
    let cancelled = service.create("alice").await;
    service.mark(&cancelled, "cancel").await;
    assert_eq!(service.counts("alice").await, (1, 1), "the inbox is there before the socket is");

    let (mut socket, _) = Socket::of(&service, "alice").await;
    let read = service.post(&all("read"), &Value::Null).await.expect(200);
    assert_eq!(read.json()["marked"], 2, "an archived one, too: {read:?}");
    assert_eq!(read.header("tidings-cursor").unwrap(), read.text("cursor"));
    for _ in 0..2 {
        socket.event("notification.read").await;
    }
    assert_eq!((service.counts("alice").await, service.counts("bob").await), ((0, 0), (1, 1)));
    assert_eq!(service.post(&all("read"), &json!({})).await.expect(200).json()["marked"], 0);
    assert_eq!(service.post(&all("seen"), &json!({})).await.expect(200).json()["marked"], 0, "read is seen");

    let archived = service.post(&all("archive"), &Value::Null).await.expect(200).json();
    assert_eq!((&archived["marked"], shown(&service, "active").await.len()), (&2.into(), 0));
    assert_eq!(shown(&service, "archived").await.len(), 3);
    service.audit(&mut service.sql().await, &["alice", "bob"]).await;
}

#[tokio::test]
async fn what_came_after_the_cursor_and_other_categories_stay_as_they_are() {
    let service = Service::start().await;
    let of = |category: &str| {
        let mut body = note("alice");
        body["category"] = category.into();
        body
    };
    let bill = service.create_with(&of("billing")).await;
    service.create_with(&of("news")).await;
    let up_to = service.done().unwrap();
    let later = service.create_with(&of("billing")).await;

    let mark = json!({"up_to": up_to, "category": "billing"});
    let seen = service.post(&all("seen"), &mark).await.expect(200).json();
    assert_eq!((&seen["marked"], service.counts("alice").await), (&1.into(), (3, 2)));
    assert!(!shown(&service, "unseen").await.contains(&bill));
    let archived = service.post(&all("archive"), &json!({"up_to": up_to})).await.expect(200).json();
    assert_eq!((&archived["marked"], shown(&service, "active").await), (&2.into(), vec![later]));
    assert_eq!(service.counts("alice").await, (1, 1));
}

#[tokio::test]
async fn more_than_a_chunk_is_marked_oldest_first() {
    let service = Service::start().await;
    let ids = create_many(&service, "alice", 620).await;
    let read = service.post(&all("read"), &Value::Null).await.expect(200).json();
    assert_eq!((&read["marked"], service.counts("alice").await), (&620.into(), (0, 0)));
    let marked = service.events("type=notification.read").await;
    let marked: Vec<&str> = marked.iter().map(|event| event["aggregate_id"].as_str().unwrap()).collect();
    assert_eq!(marked, ids);
}

#[tokio::test]
async fn a_user_marks_her_own_inbox_and_no_other() {
    let service = Service::start().await;
    service.create("alice").await;
    let token = service.token("alice");
    let own = service.send(service.as_user(&token, "POST", &all("read"))).await.expect(200).json();
    assert_eq!(own["marked"], 1);
    let other = service.as_user(&token, "POST", "/v1/users/bob/inbox/read-all");
    assert_eq!(service.send(other).await.problem(403), "forbidden");
    service.send(service.request("POST", &all("read"))).await.expect(401);
    assert_eq!(
        service.post("/v1/users/nobody/inbox/read-all", &Value::Null).await.expect(200).json()["marked"],
        0
    );
}

#[tokio::test]
async fn a_repetition_gives_the_first_answer_and_marks_nothing_new() {
    let service = Service::start().await;
    let ids = create_many(&service, "alice", 3).await;
    let first = service.post_keyed(&all("read"), &Value::Null, "the-tap").await.expect(200);
    assert_eq!((first.header(REPLAYED), &first.json()["marked"]), (None, &3.into()));
    service.mark(&ids[0], "unread").await;
    service.create("alice").await;
    let again = service.post_keyed(&all("read"), &Value::Null, "the-tap").await.expect(200);
    assert_eq!((again.header(REPLAYED), &again.body), (Some("true"), &first.body));
    assert_eq!(service.counts("alice").await, (2, 1));
    for other in [all("seen"), "/v1/users/bob/inbox/read-all".into()] {
        let reused = service.post_keyed(&other, &Value::Null, "the-tap").await;
        assert_eq!(reused.problem(422), "idempotency-key-reused");
    }
    let reused = service.post_keyed("/v1/notifications", &note("alice"), "the-tap").await;
    assert_eq!(reused.problem(422), "idempotency-key-reused");
}

#[tokio::test]
async fn racing_repetitions_mark_each_item_once_and_all_get_one_answer() {
    let service = Service::start().await;
    create_many(&service, "alice", 300).await;
    let posts =
        (0..6).map(|_| async { service.post_keyed(&all("read"), &Value::Null, "k").await.expect(200) });
    let answers = futures_util::future::join_all(posts).await;
    assert!(answers.iter().all(|answer| answer.body == answers[0].body), "{answers:?}");
    assert_eq!(answers[0].json()["marked"], 300);
    assert_eq!(service.events("type=notification.read").await.len(), 300);
}

#[tokio::test]
async fn a_repetition_after_a_kill_does_the_rest_and_leaves_alone_what_was_done() {
    let mut service = Service::start().await;
    for _ in 0..3 {
        create_many(&service, "alice", 1_000).await;
    }
    let up_to = service.done().unwrap();
    service.counts("alice").await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let marking = service.posting(&all("read"), &Value::Null).header("idempotency-key", "k");
    let killing = async {
        let first = socket.event("notification.read").await;
        service.send_kill();
        first["notification"]["id"].as_str().unwrap().to_owned()
    };
    let (answer, first) = tokio::join!(marking.send(), killing);
    assert!(answer.is_err(), "the kill came in the middle");
    service.killed();
    service.start_again().await;

    *service.done.lock().unwrap() = Some(service.head().await);
    let (left, _) = service.counts("alice").await;
    assert!((1..3_000).contains(&left), "the kill came in the middle: {left} are left");
    service.mark(&first, "unread").await;
    service.create("alice").await;
    let rest = service.post_keyed(&all("read"), &Value::Null, "k").await.expect(200);
    assert_eq!((rest.header(REPLAYED), &rest.json()["marked"]), (Some("true"), &3_000.into()));
    let again = service.post_keyed(&all("read"), &Value::Null, "k").await.expect(200);
    assert_eq!((again.header(REPLAYED), &again.body), (Some("true"), &rest.body));

    // What the user marked since, and what came since, is unread; nothing was marked twice.
    assert_eq!(service.counts("alice").await, (2, 1), "up to {up_to}");
    assert!(shown(&service, "unread").await.contains(&first));
    let mut sql = service.sql().await;
    let reads: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'notification.read'")
        .fetch_one(&mut sql)
        .await
        .unwrap();
    assert_eq!(reads, 3_000);
    service.audit(&mut sql, &["alice"]).await;
}

#[tokio::test]
async fn a_caller_who_hangs_up_leaves_nothing_half_done() {
    let service = Service::start().await;
    create_many(&service, "alice", 1_000).await;
    service.counts("alice").await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let hanging_up = async {
        socket.event("notification.read").await;
    };
    let marking = service.posting(&all("read"), &Value::Null).send();
    tokio::select! {
        answer = marking => panic!("it was faster: {answer:?}"),
        () = hanging_up => {}
    }
    for _ in 1..1_000 {
        socket.event("notification.read").await;
    }
    *service.done.lock().unwrap() = Some(service.head().await);
    assert_eq!(service.counts("alice").await, (0, 0));
}

#[tokio::test]
async fn a_mark_waits_for_the_inbox_and_marks_nothing_without_it() {
    let service = Service::start().await;
    service.create("alice").await;
    service.counts("alice").await;
    let mut sql = service.sql().await;
    let mut held = sql.begin().await.unwrap();
    sqlx::query("SELECT position FROM inbox_v1.checkpoint FOR UPDATE").execute(&mut *held).await.unwrap();
    service.create("alice").await;
    let up_to = service.done().unwrap();
    let behind = service.post_keyed(&all("read"), &Value::Null, "k").await;
    assert_eq!((behind.problem(503), behind.header("retry-after")), ("projection-behind".into(), Some("1")));
    held.rollback().await.unwrap();
    assert_eq!(service.counts("alice").await, (2, 2));

    // What came after the first request is not meant by its repetition.
    service.create("alice").await;
    let done = service.post_keyed(&all("read"), &Value::Null, "k").await.expect(200);
    assert_eq!((done.header(REPLAYED), &done.json()["marked"]), (Some("true"), &2.into()), "up to {up_to}");
    assert_eq!(service.counts("alice").await, (1, 1));
}
