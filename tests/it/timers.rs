//! Timers: what is scheduled appears, what is snoozed comes back and what expires goes, each at its instant and once.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};

use crate::support::{PATIENCE, Service, Socket, note};

/// Long enough to say all that is to happen at the instant, on a machine that has other things to do.
const SOON_MS: i32 = 2_000;
const FAR: &str = "2999-12-31T23:59:59.123Z";

fn with(user: &str, members: Value) -> Value {
    let mut body = note(user);
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

async fn snooze(service: &Service, id: &str, until: &str) {
    let path = format!("/v1/notifications/{id}/snooze");
    service.post(&path, &json!({"until": until})).await.expect(200);
}

/// Schedules up to 1,000 for one user at one instant.
async fn schedule(service: &Service, sql: &mut PgConnection, user: &str, count: usize, at: &str) {
    let notes: Vec<Value> = (0..count).map(|_| with(user, json!({"deliver_at": at}))).collect();
    let answer = service.post("/v1/notifications/batch", &json!({"notifications": notes})).await;
    let results = answer.expect(200).json()["results"].clone();
    assert!(results.as_array().unwrap().iter().all(|result| result["status"] == 201), "{results}");
    let query = "SELECT count(*) FROM events
                  WHERE recipient = $1 AND (payload ->> 'deliver_at')::timestamptz = $2::timestamptz";
    let statement = sqlx::query_scalar::<_, i64>(query).bind(user).bind(at);
    let scheduled = statement.fetch_one(sql).await.unwrap();
    assert!(scheduled >= count as i64, "this machine was too slow: the instant had passed");
}

/// Events of this name, and the notifications they are about.
async fn happened(sql: &mut PgConnection, name: &str) -> (i64, i64) {
    sqlx::query_as("SELECT count(*), count(DISTINCT aggregate_id) FROM events WHERE event_type = $1")
        .bind(name)
        .fetch_one(sql)
        .await
        .unwrap()
}

/// Takes frames of this name until the badge shows so many.
async fn unread_reaches(socket: &mut Socket, name: &str, unread: usize) {
    while socket.event(name).await["unread"] != unread {}
}

#[tokio::test]
async fn a_scheduled_notification_appears_at_its_instant_with_one_frame() {
    let service = Service::start().await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    // Digits below a millisecond are cut off, and must not keep it from firing.
    let at = service.in_ms(SOON_MS).await;
    let finer = at.replace('Z', "987654Z");
    let id = service.create_with(&with("alice", json!({"deliver_at": finer}))).await;
    assert_eq!(service.counts("alice").await, (0, 0));
    assert_eq!(service.inbox("alice", "state=all").await["items"], json!([]));

    let frame = socket.event("notification.released").await;
    assert_eq!((&frame["notification"]["id"], &frame["unread"]), (&id.clone().into(), &1.into()));
    let page = service.inbox("alice", "").await;
    assert_eq!((&page["items"][0]["id"], &page["unread"]), (&id.clone().into(), &1.into()));
    let shown = service.get(&format!("/v1/notifications/{id}")).await.expect(200).json();
    assert_eq!((&shown["status"], &shown["deliver_at"]), (&"active".into(), &at.clone().into()));
    let events = service.events(&format!("aggregate_id={id}")).await;
    let names: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
    assert_eq!(names, ["notification.created", "notification.released"]);
    assert_eq!(events[1]["metadata"]["actor"], "timer");
    assert!(events[1]["recorded_at"].as_str().unwrap() >= at.as_str(), "never before its time");
    service.audit(&mut service.sql().await, &["alice"]).await;
}

#[tokio::test]
async fn a_snoozed_notification_comes_back_when_the_last_instant_it_was_given_has_come() {
    let service = Service::start().await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let id = service.create("alice").await;
    socket.event("notification.created").await;
    let (first, second) = (service.in_ms(SOON_MS).await, service.in_ms(SOON_MS + 400).await);
    snooze(&service, &id, &first).await;
    snooze(&service, &id, &second).await;
    for until in [&first, &second] {
        let frame = socket.event("notification.snoozed").await;
        assert_eq!((&frame["notification"]["snoozed_until"], &frame["unread"]), (&json!(until), &json!(0)));
    }
    let woken = socket.event("notification.woken").await;
    assert_eq!((&woken["notification"]["snoozed_until"], &woken["unread"]), (&Value::Null, &1.into()));
    let events = service.events(&format!("aggregate_id={id}&type=notification.woken")).await;
    assert_eq!(events.len(), 1, "the instant that was replaced woke nobody");
    assert!(events[0]["recorded_at"].as_str().unwrap() >= second.as_str());
    assert_eq!(service.counts("alice").await, (1, 1));
}

#[tokio::test]
async fn what_expires_leaves_the_inbox_with_a_frame_whether_it_was_ever_shown_or_not() {
    let service = Service::start().await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let at = service.in_ms(SOON_MS).await;
    let shown = service.create_with(&with("alice", json!({"expires_at": at}))).await;
    assert_eq!(socket.event("notification.created").await["unread"], 1);
    let snoozed = service.create_with(&with("alice", json!({"expires_at": at}))).await;
    assert_eq!(socket.event("notification.created").await["unread"], 2);
    snooze(&service, &snoozed, FAR).await;
    assert_eq!(socket.event("notification.snoozed").await["unread"], 1);

    let mut gone = Vec::new();
    for _ in 0..2 {
        let frame = socket.event("notification.expired").await;
        gone.push(frame["notification"]["id"].as_str().unwrap().to_owned());
    }
    gone.sort_unstable();
    assert_eq!(gone, [shown.clone(), snoozed]);
    assert_eq!(service.counts("alice").await, (0, 0));
    assert_eq!(service.inbox("alice", "state=all").await["items"], json!([]));
    let shown = service.get(&format!("/v1/notifications/{shown}")).await.expect(200).json();
    assert_eq!((&shown["status"], &shown["deliveries"][0]["status"]), (&"expired".into(), &"expired".into()));
    service.audit(&mut service.sql().await, &["alice"]).await;
}

#[tokio::test]
async fn what_is_cancelled_before_its_instant_never_appears() {
    let service = Service::start().await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let (at, later) = (service.in_ms(SOON_MS).await, service.in_ms(SOON_MS + 200).await);
    let cancelled = service.create_with(&with("alice", json!({"deliver_at": at}))).await;
    let other = service.create_with(&with("alice", json!({"deliver_at": later}))).await;
    service.mark(&cancelled, "cancel").await;
    let frame = socket.event("notification.released").await;
    assert_eq!((&frame["notification"]["id"], &frame["unread"]), (&other.into(), &1.into()));
    assert_eq!(happened(&mut service.sql().await, "notification.released").await, (1, 1));
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM timers_v3.timers")
        .fetch_one(&mut service.sql().await)
        .await
        .unwrap();
    assert!(left <= 1, "at most the one that was just fired");
}

#[tokio::test]
async fn two_nodes_fire_each_timer_once() {
    const MANY: usize = 600;
    let first = Service::start().await;
    let second = first.another_node().await;
    let (mut at_first, _) = Socket::of(&first, "alice").await;
    let (mut at_second, _) = Socket::of(&second, "alice").await;
    let mut sql = first.sql().await;
    let at = first.in_ms(2 * SOON_MS).await;
    schedule(&first, &mut sql, "alice", MANY / 2, &at).await;
    schedule(&second, &mut sql, "alice", MANY / 2, &at).await;
    unread_reaches(&mut at_first, "notification.released", MANY).await;
    unread_reaches(&mut at_second, "notification.released", MANY).await;
    assert_eq!(happened(&mut sql, "notification.released").await, (MANY as i64, MANY as i64));
    first.audit(&mut sql, &["alice"]).await;
}

#[tokio::test]
async fn a_node_killed_while_many_are_due_leaves_none_unfired_and_fires_none_twice() {
    const MANY: usize = 1_000;
    let mut service = Service::start().await;
    let (mut socket, welcome) = Socket::of(&service, "alice").await;
    let mut sql = service.sql().await;
    let at = service.in_ms(2 * SOON_MS).await;
    schedule(&service, &mut sql, "alice", MANY, &at).await;
    socket.event("notification.released").await;
    service.kill();
    service.start_again().await;

    let (mut socket, _) = Socket::resumed(&service, "alice", welcome["cursor"].as_str().unwrap()).await;
    let mut released = 0;
    while released < MANY {
        let frame = socket.next_frame().await;
        released += usize::from(frame["event"] == "notification.released");
        assert!(frame["type"] == "sync" || frame["unread"] == released, "{frame}");
    }
    let mut sql = service.sql().await;
    assert_eq!(happened(&mut sql, "notification.released").await, (MANY as i64, MANY as i64));
    *service.done.lock().unwrap() = Some(service.head().await);
    service.audit(&mut sql, &["alice"]).await;
}

#[tokio::test]
async fn timers_without_effect_hold_up_no_others() {
    let service = Service::start().await;
    let mut sql = service.sql().await;
    // More than one turn fires, all of them due before anything else.
    sqlx::query(
        "INSERT INTO timers_v3.timers
         SELECT 'default', 'alice', gen_random_uuid(), 'release', '2001-01-01', 1 FROM generate_series(1, 600)",
    )
    .execute(&mut sql)
    .await
    .unwrap();
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let at = service.in_ms(SOON_MS).await;
    schedule(&service, &mut sql, "alice", 1, &at).await;
    socket.event("notification.released").await;
    assert_eq!(happened(&mut sql, "notification.released").await, (1, 1));
}

#[tokio::test]
async fn what_is_set_for_a_parked_recipient_waits_for_the_end_of_that() {
    let service = Service::start().await;
    let mut sql = service.sql().await;
    let parked = "INSERT INTO timers_v3.parked (tenant, user_id, position, generation, error)
                  VALUES ('default', 'alice', 1, 1, 'for a test')";
    sqlx::query(parked).execute(&mut sql).await.unwrap();
    let (mut alice, _) = Socket::of(&service, "alice").await;
    let (mut bob, _) = Socket::of(&service, "bob").await;
    let (at, later) = (service.in_ms(SOON_MS).await, service.in_ms(SOON_MS + 100).await);
    schedule(&service, &mut sql, "alice", 1, &at).await;
    schedule(&service, &mut sql, "bob", 1, &later).await;
    bob.event("notification.released").await;
    assert_eq!(happened(&mut sql, "notification.released").await, (1, 1));
    sqlx::query("DELETE FROM timers_v3.parked").execute(&mut sql).await.unwrap();
    alice.event("notification.released").await;
}

/// Returns once this many nodes have a connection to fire timers with.
async fn ready_to_fire(sql: &mut PgConnection, nodes: i64) {
    let deadline = Instant::now() + PATIENCE;
    let mut connected = 0_i64;
    while connected != nodes {
        assert!(Instant::now() < deadline, "only {connected} of the nodes fire timers");
        connected = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tidings due'",
        )
        .fetch_one(&mut *sql)
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn what_came_due_while_postgres_was_away_is_fired_when_it_is_back() {
    const MANY: usize = 300;
    let mut host = Service::start().await;
    let node = host.another_node().await;
    let (mut socket, _) = Socket::of(&node, "alice").await;
    let mut sql = host.sql().await;
    let at = host.in_ms(SOON_MS).await;
    schedule(&node, &mut sql, "alice", MANY, &at).await;
    // Immediate stop; its host dies of it, and the other node goes on without it.
    kill(Pid::from_raw(host.children()[0]), Signal::SIGQUIT).unwrap();
    assert_eq!(host.ended_by_itself(), Some(1), "a supervisor sees a failure");
    host.start_again().await;
    unread_reaches(&mut socket, "notification.released", MANY).await;
    let mut sql = host.sql().await;
    ready_to_fire(&mut sql, 2).await;
    assert_eq!(happened(&mut sql, "notification.released").await, (MANY as i64, MANY as i64));
    *host.done.lock().unwrap() = Some(host.head().await);
    host.audit(&mut sql, &["alice"]).await;
}

#[tokio::test]
async fn timers_that_are_too_many_for_one_deadline_are_fired_in_smaller_chunks() {
    const TIMERS: i64 = 180;
    let service = Service::start().await;
    let (mut sql, mut clock) = (service.sql().await, service.sql().await);
    clock.execute("BEGIN; SELECT FROM timer_turn FOR UPDATE").await.unwrap();
    let at = service.in_ms(SOON_MS).await;
    schedule(&service, &mut sql, "alice", TIMERS as usize, &at).await;
    // To the service, each of them takes 30 ms to read: all of them more than the 5 s of a command.
    sql.execute(
        "ALTER TABLE events RENAME TO events_kept;
         CREATE VIEW events AS SELECT * FROM events_kept
          WHERE CASE WHEN event_type = 'notification.created' AND current_setting('application_name') = 'tidings'
                     THEN pg_sleep(0.03) IS NOT NULL ELSE true END",
    )
    .await
    .unwrap();
    clock.execute("ROLLBACK").await.unwrap();
    let deadline = Instant::now() + 2 * PATIENCE;
    while happened(&mut sql, "notification.released").await != (TIMERS, TIMERS) {
        assert!(Instant::now() < deadline, "{:?}", happened(&mut sql, "notification.released").await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sql.execute("DROP VIEW events; ALTER TABLE events_kept RENAME TO events").await.unwrap();
    assert_eq!(service.counts("alice").await, (TIMERS, TIMERS));
    clock.close().await.unwrap();
}
