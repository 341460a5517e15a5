//! Many commands at once, against a real log: each item by itself, none twice.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use tidings_domain::notification;

use super::*;
use crate::auth::Key;
use crate::log::{self, tests::Bench};
use crate::telemetry::{Metrics, Tracing};

fn context(key: Option<&str>) -> Context {
    let principal = Principal::Service { key: Arc::new(Key::root()) };
    let idempotency = key.map(|key| Idempotency::new(key.into(), "POST", "/v1/test", b"body"));
    Context { principal, request_id: "test".into(), idempotency, trace: None }
}

fn create(user: &str) -> Action {
    Action::Create(Box::new(log::tests::create(user)))
}

fn items(ids: &[NotificationId], action: impl Fn() -> Action) -> Vec<Item> {
    ids.iter().zip(1..).map(|(id, part)| Item { id: *id, action: action(), part }).collect()
}

async fn bench() -> (Bench, Commands, Vec<NotificationId>) {
    let bench = Bench::start().await;
    let reader = Reader::new(bench.codec.clone());
    let commands = Commands::new(
        bench.pool.clone(),
        reader.clone(),
        bench.log.clone(),
        bench.history.clone(),
        Directory::new(bench.pool.clone(), reader),
        (&Metrics::default().commands, &Tracing::default()),
    );
    let ids: Vec<NotificationId> = (0..60).map(|_| NotificationId::new(clock::new_uuid())).collect();
    let created = commands.execute_many(&context(None), items(&ids, || create("alice"))).await.unwrap();
    let positions: Vec<i64> = created.results.into_iter().map(|done| done.unwrap().position).collect();
    assert_eq!(positions, (1..=60).collect::<Vec<i64>>(), "the log keeps the order of the items");
    (bench, commands, ids)
}

async fn events_of(bench: &Bench, name: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = $1")
        .bind(name)
        .fetch_one(&bench.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn many_marks_change_each_notification_once_whoever_else_marks_it() {
    let (bench, commands, ids) = bench().await;
    let (one, two) = (context(None), context(None));
    let single = context(None);
    let (a, b, c) = tokio::join!(
        commands.execute_many(&one, items(&ids, || Action::MarkRead)),
        commands.execute_many(&two, items(&ids, || Action::MarkRead)),
        commands.act(&single, ids[30], Action::MarkRead),
    );
    c.unwrap();
    for many in [a.unwrap(), b.unwrap()] {
        assert!(many.results.iter().all(Result::is_ok));
    }
    assert_eq!(events_of(&bench, "notification.read").await, 60);
    bench.stop().await;
}

#[tokio::test]
async fn an_item_that_is_refused_does_not_stop_the_others() {
    let (bench, commands, mut ids) = bench().await;
    commands.act(&context(None), ids[1], Action::Cancel).await.unwrap();
    ids.push(NotificationId::new(clock::new_uuid()));
    let many = commands.execute_many(&context(None), items(&ids, || Action::MarkSeen)).await.unwrap();
    for (n, result) in many.results.iter().enumerate() {
        match n {
            1 => assert!(matches!(result, Err(CommandError::Refused(notification::Error::Cancelled)))),
            60 => assert!(matches!(result, Err(CommandError::Refused(notification::Error::NotFound)))),
            _ => assert!(result.is_ok(), "{n}: {result:?}"),
        }
    }
    assert_eq!(events_of(&bench, "notification.seen").await, 59);
    bench.stop().await;
}

#[tokio::test]
async fn a_repeated_request_does_the_parts_that_are_missing_and_nothing_twice() {
    let (bench, commands, ids) = bench().await;
    let keyed = context(Some("k"));
    let half = commands.execute_many(&keyed, items(&ids[..30], || Action::MarkRead)).await.unwrap();
    assert!(!half.replayed);
    commands.act(&context(None), ids[0], Action::MarkUnread).await.unwrap();
    let whole = commands.execute_many(&keyed, items(&ids, || Action::MarkRead)).await.unwrap();
    assert!(whole.replayed);
    for (n, result) in whole.results.iter().enumerate() {
        assert_eq!(result.as_ref().unwrap().replayed, n < 30, "{n}");
    }
    assert_eq!(events_of(&bench, "notification.read").await, 60, "the first was not read a second time");
    let other = Context { idempotency: Some(Idempotency::new("k".into(), "POST", "/other", b"")), ..keyed };
    let reused = commands.execute_many(&other, items(&ids, || Action::MarkRead)).await;
    assert!(matches!(reused, Err(CommandError::KeyReused)));
    bench.stop().await;
}
