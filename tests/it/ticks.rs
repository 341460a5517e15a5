//! Many ticks at once: none waits for the others, and what cannot tick is nobody else's trouble.

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::json;
use sqlx::{Connection, Executor};

use crate::metrics;
use crate::schedules::{ended, put, stop_the_clock, ten_ticks, with};
use crate::support::{PATIENCE, Service, Socket, note};

/// Those that tick at a time.
const AT_ONCE: u16 = 16;
/// Long enough to ask for something at the instant, on a machine that has other things to do.
const SOON_MS: i32 = 1_000;

/// Returns when a notification that was asked for later than this has come at its instant.
async fn a_timer_fires(service: &Service, user: &str) {
    let (mut socket, _) = Socket::of(service, user).await;
    let mut body = note(user);
    body["deliver_at"] = service.in_ms(SOON_MS).await.into();
    service.create_with(&body).await;
    socket.event("notification.released").await;
}

#[tokio::test]
async fn schedules_that_are_due_together_tick_side_by_side() {
    let service = Service::start().await;
    let (mut clock, mut log) = (service.sql().await, service.sql().await);
    stop_the_clock(&mut clock).await;
    let keys: Vec<String> = (0..AT_ONCE).map(|n| format!("s{n}")).collect();
    let once = with(ten_ticks(), &json!({"missed": "once"}));
    for key in &keys {
        put(&service, key, &once).await.expect(200);
    }
    // No append ends while the head is locked.
    log.execute("BEGIN; SELECT FROM log_head FOR UPDATE").await.unwrap();
    clock.execute("ROLLBACK").await.unwrap();
    let waiting = r#"tidings_append_queue_jobs{lane="bulk"}"#;
    metrics::until(&service, waiting, |jobs| jobs >= AT_ONCE.into()).await;
    log.execute("ROLLBACK").await.unwrap();
    for ended in join_all(keys.iter().map(|key| ended(&service, key))).await {
        assert_eq!(ended["ticks"].as_array().unwrap().len(), 1, "{ended}");
    }
    assert_eq!(service.counts("alice").await, (AT_ONCE.into(), AT_ONCE.into()));
    clock.close().await.unwrap();
}

#[tokio::test]
async fn what_the_log_refuses_of_one_is_told_where_it_can_be_and_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let service = Service::start_logging(&[("TIDINGS_LOG_LEVEL", "error")], Some(&log)).await;
    let (mut sql, mut clock) = (service.sql().await, service.sql().await);
    stop_the_clock(&mut clock).await;
    let once = |user: &str| {
        let notification = json!({"user_id": user, "content": {"title": "Tick", "body": ""}});
        with(ten_ticks(), &json!({"missed": "once", "notification": notification}))
    };
    for (key, user) in [("a-made", "eve"), ("b-told", "eve"), ("c-fine", "alice")] {
        put(&service, key, &once(user)).await.expect(200);
    }
    let mut late = note("mallory");
    late["deliver_at"] = service.in_ms(SOON_MS).await.into();
    let late = service.create_with(&late).await;
    // No tick of the first can be told, no notification of eve's be made, and nothing of mallory's appear.
    sql.execute(
        "ALTER TABLE events ADD CONSTRAINT refused CHECK (
             (aggregate_id <> 'sch_7:defaulta-made' OR event_type = 'schedule.changed')
             AND (recipient IS DISTINCT FROM 'eve')
             AND (recipient IS DISTINCT FROM 'mallory' OR event_type <> 'notification.released')) NOT VALID",
    )
    .await
    .unwrap();
    clock.execute("ROLLBACK").await.unwrap();

    let told = ended(&service, "b-told").await;
    let (tick, detail) = (&told["ticks"][0], json!("the log refuses what was made of it"));
    assert_eq!((&tick["outcome"], &tick["reason"]["detail"]), (&json!("failed"), &detail), "{told}");
    assert_eq!(ended(&service, "c-fine").await["ticks"][0]["outcome"], "created");
    a_timer_fires(&service, "alice").await;
    let words = |log: &str| {
        let lines = |words: &str| log.lines().filter(|line| line.contains(words)).count();
        (lines("a schedule cannot tick"), lines("a timer cannot be fired"))
    };
    let deadline = Instant::now() + PATIENCE;
    while words(&std::fs::read_to_string(&log).unwrap()) != (1, 1) {
        assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(&log).unwrap());
        tokio::task::yield_now().await;
    }
    let shown = service.get(&format!("/v1/notifications/{late}")).await.expect(200).json();
    assert_eq!(shown["status"], "scheduled");
    clock.close().await.unwrap();
}

#[tokio::test]
async fn a_schedule_that_others_kept_from_its_tick_goes_on_at_once_when_they_are_done() {
    let service = Service::start().await;
    let (mut sql, mut clock) = (service.sql().await, service.sql().await);
    stop_the_clock(&mut clock).await;
    put(&service, "contested", &ten_ticks()).await.expect(200);
    let append: String = sqlx::query_scalar("SELECT pg_get_functiondef('log_append'::regproc)")
        .fetch_one(&mut sql)
        .await
        .unwrap();
    let taken = "IS NOT NULL OR h.type = 'schedule' AS taken";
    let somebody_was_faster = append.replace("IS NOT NULL AS taken", taken);
    assert_ne!(somebody_was_faster, append);
    sql.execute(&*somebody_was_faster).await.unwrap();
    clock.execute("ROLLBACK").await.unwrap();
    // The turn of the first is over before the second.
    a_timer_fires(&service, "bob").await;
    a_timer_fires(&service, "bob").await;
    sql.execute(&*append).await.unwrap();
    let ended = ended(&service, "contested").await;
    assert_eq!(ended["ticks"].as_array().unwrap().len(), 10, "{ended}");
    assert_eq!(service.counts("alice").await, (10, 10));
    clock.close().await.unwrap();
}
