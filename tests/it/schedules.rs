//! Schedules: each tick has its effect once, whatever was missed, refused, changed or killed. Nobody waits for a clock here: what
//! starts in the past is due at once.

use std::time::Instant;

use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::support::{Answer, Door, PATIENCE, Service};

const SCHEDULES: &str = "/v1/schedules";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Every minute of the ten minutes that ended two minutes ago: ten ticks, and none to come.
pub fn ten_ticks() -> Value {
    let end = (OffsetDateTime::now_utc() - Duration::minutes(2)).replace_second(0).unwrap();
    json!({
        "cron": "* * * * *",
        "time_zone": "Europe/Vienna",
        "missed": "all",
        "starts_at": rfc3339(end - Duration::minutes(9) - Duration::seconds(30)),
        "ends_at": rfc3339(end + Duration::seconds(30)),
        "notification": {"user_id": "alice", "content": {"title": "Tick", "body": ""}}
    })
}

fn rfc3339(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap()
}

pub fn with(mut body: Value, more: &Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

pub async fn put(service: &Door, key: &str, body: &Value) -> Answer {
    let request = service.request("PUT", &format!("{SCHEDULES}/{key}")).json(body);
    service.send(request.header("x-api-key", service.root_key())).await
}

async fn delete(service: &Door, key: &str) -> Answer {
    let request = service.request("DELETE", &format!("{SCHEDULES}/{key}"));
    service.send(request.header("x-api-key", service.root_key())).await
}

async fn shown(service: &Door, key: &str) -> Value {
    service.get(&format!("{SCHEDULES}/{key}")).await.expect(200).json()
}

/// Asks until its newest tick is this one.
async fn ticked(service: &Service, key: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = shown(service, key).await;
        if shown["ticks"].get(0).is_some_and(&is_it) {
            *service.done.lock().unwrap() = Some(shown["cursor"].as_str().unwrap().to_owned());
            return shown;
        }
        assert!(Instant::now() < deadline, "{shown}");
    }
}

pub async fn ended(service: &Service, key: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = shown(service, key).await;
        if shown["status"] == "ended" {
            *service.done.lock().unwrap() = Some(shown["cursor"].as_str().unwrap().to_owned());
            return shown;
        }
        assert!(Instant::now() < deadline, "{shown}");
    }
}

/// Nothing ticks on any node until the transaction ends.
pub async fn stop_the_clock(sql: &mut PgConnection) {
    sql.execute("BEGIN; SELECT FROM timer_turn FOR UPDATE").await.unwrap();
}

async fn happened(sql: &mut PgConnection, kind: &str) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = $1").bind(kind);
    count.fetch_one(sql).await.unwrap()
}

#[tokio::test]
async fn each_missed_tick_is_made_up_for_once_and_tells_what_it_made() {
    let service = Service::start().await;
    let answer = put(&service, "ticks", &ten_ticks()).await.expect(200).json();
    assert_eq!((&answer["status"], &answer["key"]), (&json!("active"), &json!("ticks")));
    assert_eq!(answer["notification"], ten_ticks()["notification"]);
    let ended = ended(&service, "ticks").await;
    let ticks = ended["ticks"].as_array().unwrap();
    assert_eq!(ticks.len(), 10, "{ended}");
    assert_eq!(ended["next_at"], Value::Null);
    for (tick, later) in ticks.iter().skip(1).zip(ticks) {
        assert_eq!((&tick["outcome"], &tick["count"]), (&json!("created"), &json!(1)));
        assert!(tick["at"].as_str() < later["at"].as_str(), "{ended}");
    }
    let made = ticks[0]["created"][0].as_str().unwrap();
    let made = service.get(&format!("/v1/notifications/{made}")).await.expect(200).json();
    assert_eq!((&made["title"], &made["user_id"]), (&json!("Tick"), &json!("alice")));
    assert_eq!(service.counts("alice").await, (10, 10));
    let events = service.events("aggregate_id=sch_7:defaultticks").await;
    assert_eq!(events.len(), 11);
    assert_eq!(events[1]["metadata"]["actor"], json!("timer"));
    // What is said again changes nothing, and makes up for nothing once more.
    let again =
        put(&service, "ticks", &with(ten_ticks(), &json!({"missed": "skip"}))).await.expect(200).json();
    assert_eq!((&again["status"], &again["missed"]), (&json!("ended"), &json!("skip")));
    assert_eq!(again["ticks"].as_array().unwrap().len(), 10, "its history stays");
    let mut sql = service.sql().await;
    assert_eq!(happened(&mut sql, "notification.created").await, 10);
    service.audit(&mut sql, &["alice"]).await;
}

#[tokio::test]
async fn one_broadcast_stands_for_all_that_were_missed_and_the_next_is_to_come() {
    let service = Service::start().await;
    let broadcast = json!({"user_ids": ["alice", "bob"], "content": {"title": "News", "body": ""}});
    let mut body = with(ten_ticks(), &json!({"missed": "once", "broadcast": broadcast}));
    body.as_object_mut().unwrap().remove("notification");
    // Once a year, half a year ago and in half a year.
    let half = OffsetDateTime::now_utc() - Duration::days(182);
    let cron = format!("0 12 {} {} *", half.day().min(28), u8::from(half.month()));
    let body =
        with(body, &json!({"cron": cron, "ends_at": null, "starts_at": rfc3339(half - Duration::days(5))}));
    let answer = put(&service, "news", &body).await.expect(200).json();
    assert_eq!(answer["broadcast"], broadcast);
    let shown = ticked(&service, "news", |tick| tick["outcome"] == "created").await;
    assert_eq!((&shown["status"], &shown["ticks"][0]["count"]), (&json!("active"), &json!(1)));
    assert!(shown["next_at"].as_str() > Some(rfc3339(OffsetDateTime::now_utc()).as_str()), "{shown}");
    let id = shown["ticks"][0]["created"][0].as_str().unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let made = service.get(&format!("/v1/broadcasts/{id}")).await.expect(200).json();
        if made["status"] == "completed" {
            assert_eq!(made["created"], 2);
            break;
        }
        assert!(Instant::now() < deadline, "{made}");
    }
    let every_minute = with(ten_ticks(), &json!({"missed": "once"}));
    put(&service, "once", &every_minute).await.expect(200);
    let once = ended(&service, "once").await;
    assert_eq!((&once["ticks"][0]["count"], once["ticks"].as_array().unwrap().len()), (&json!(10), 1));
    put(&service, "skip", &with(ten_ticks(), &json!({"missed": "skip"}))).await.expect(200);
    let skipped = ended(&service, "skip").await;
    assert_eq!(
        (&skipped["ticks"][0]["outcome"], &skipped["ticks"][0]["count"]),
        (&json!("skipped"), &json!(10))
    );
    let listed = service.get(SCHEDULES).await.expect(200).json();
    let told = |listed: &Value| {
        let all = listed["schedules"].as_array().unwrap().clone();
        all.iter()
            .map(|one| format!("{} {}", one["key"].as_str().unwrap(), one["status"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&listed), ["news active", "once ended", "skip ended"]);
    let page = service.get(&format!("{SCHEDULES}?limit=1&after=news")).await.expect(200).json();
    assert_eq!((told(&page), &page["next"]), (vec!["once ended".to_owned()], &json!("once")));
    let mut sql = service.sql().await;
    assert_eq!(happened(&mut sql, "notification.created").await, 3);
}

#[tokio::test]
async fn kill_minus_9_and_a_second_node_leave_each_tick_made_once() {
    let mut service = Service::start().await;
    let end = (OffsetDateTime::now_utc() - Duration::minutes(2)).replace_second(0).unwrap();
    let starts_at = rfc3339(end - Duration::minutes(139) - Duration::seconds(30));
    let body = with(ten_ticks(), &json!({"starts_at": starts_at}));
    put(&service, "many", &body).await.expect(200);
    service.kill();
    service.start_again().await;
    ticked(&service, "many", |tick| tick["outcome"] == "created").await;
    service.kill();
    service.start_again().await;
    let second = service.another_node().await;
    for n in 0..4 {
        put(&second, &format!("more-{n}"), &ten_ticks()).await.expect(200);
    }
    let mut sql = service.sql().await;
    // A node whose turn is cut off goes on beside the one that has it then.
    for _ in 0..3 {
        let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE application_name = 'tidings turn'";
        sqlx::query_scalar::<_, i64>(cut).fetch_one(&mut sql).await.unwrap();
    }
    for n in 0..4 {
        ended(&service, &format!("more-{n}")).await;
    }
    ended(&service, "many").await;
    let skipped: i64 = sqlx::query_scalar(
        "SELECT sum((payload ->> 'count')::bigint)::bigint FROM events WHERE event_type = 'schedule.skipped'",
    )
    .fetch_one(&mut sql)
    .await
    .unwrap();
    assert_eq!(skipped, 40, "of 140, the last 100 are made up for");
    assert_eq!(happened(&mut sql, "schedule.ticked").await, 140);
    assert_eq!(happened(&mut sql, "notification.created").await, 140);
    assert_eq!(service.counts("alice").await, (140, 140));
    let mut rebuild = service.command("rebuild");
    rebuild.args(["timers", "--diff"]);
    let rebuilt = crate::support::run_to_end(rebuild);
    assert_eq!((rebuilt.code, rebuilt.output.as_str()), (Some(0), ""), "{}", rebuilt.errors);
}

#[tokio::test]
async fn what_is_refused_when_its_time_has_come_is_told_and_what_was_deleted_or_paused_makes_nothing() {
    let service = Service::start().await;
    let template = json!({"default_locale": "en", "sources": {"en": "title = Secret words\n"}});
    let publish = service.request("PUT", "/v1/templates/daily").json(&template);
    service.send(publish.header("x-api-key", service.root_key())).await.expect(200);
    let (mut sql, mut clock) = (service.sql().await, service.sql().await);
    stop_the_clock(&mut clock).await;
    let notification = json!({"user_id": "alice", "template": {"key": "daily"}});
    let body = with(ten_ticks(), &json!({"notification": notification, "missed": "once"}));
    put(&service, "retired", &body).await.expect(200);
    for key in ["deleted", "paused"] {
        put(&service, key, &ten_ticks()).await.expect(200);
    }
    delete(&service, "deleted").await.expect(200);
    delete(&service, "deleted").await.expect(200);
    let paused =
        put(&service, "paused", &with(ten_ticks(), &json!({"paused": true}))).await.expect(200).json();
    assert_eq!((&paused["status"], &paused["next_at"]), (&json!("paused"), &Value::Null));
    let retire = service.request("DELETE", "/v1/templates/daily").header("x-api-key", service.root_key());
    service.send(retire).await.expect(200);
    clock.execute("ROLLBACK").await.unwrap();
    let ended = ended(&service, "retired").await;
    let tick = &ended["ticks"][0];
    assert_eq!((&tick["outcome"], &tick["count"]), (&json!("failed"), &json!(10)), "{ended}");
    assert_eq!(tick["reason"]["pointer"], "/notification/template/key");
    delete(&service, "nothing").await.problem(404);
    service.get(&format!("{SCHEDULES}/deleted")).await.problem(404);
    assert_eq!(happened(&mut sql, "notification.created").await, 0);
    clock.close().await.unwrap();
}

#[tokio::test]
async fn what_a_schedule_asks_for_is_sealed() {
    let service = Service::start().await;
    put(&service, "secret", &with(ten_ticks(), &json!({"paused": true}))).await.expect(200);
    let mut sql = service.sql().await;
    let stored: String =
        sqlx::query_scalar("SELECT payload::text FROM events WHERE event_type = 'schedule.changed'")
            .fetch_one(&mut sql)
            .await
            .unwrap();
    assert!(!stored.contains("alice") && !stored.contains("Tick"), "{stored}");
}

#[tokio::test]
async fn a_repeated_request_is_answered_as_the_first_and_checked_no_more() {
    let service = Service::start().await;
    let send = async |body: Value, key: &str| {
        let request = service.request("PUT", &format!("{SCHEDULES}/keyed")).json(&body);
        service.send(request.header("x-api-key", service.root_key()).header("idempotency-key", key)).await
    };
    let body = with(ten_ticks(), &json!({"paused": true}));
    let first = send(body.clone(), "a").await.expect(200);
    send(with(body.clone(), &json!({"cron": "0 0 * * *", "ends_at": null})), "b").await.expect(200);
    let again = send(body, "a").await.expect(200);
    assert_eq!((again.json(), again.header("idempotent-replayed")), (first.json(), Some("true")));
    let other = send(with(ten_ticks(), &json!({"cron": "1 0 * * *"})), "a").await;
    assert!(other.status == 422, "{other:?}");
}

#[tokio::test]
async fn what_can_be_no_schedule_is_refused_where_it_is_wrong() {
    let service = Service::start().await;
    let long = rfc3339(OffsetDateTime::now_utc() - Duration::days(400));
    let cases = [
        (json!({"cron": "0 0 31 2 *"}), "/cron"),
        (json!({"cron": "* * * *"}), "/cron"),
        (json!({"cron": "* * * * * *"}), "/cron"),
        (json!({"cron": "@daily"}), "/cron"),
        (json!({"cron": format!("{}1 * * * *", "1,".repeat(100))}), "/cron"),
        (json!({"ends_at": "2020-01-01T00:00:00Z"}), "/cron"),
        (json!({"time_zone": "Europe/Atlantis"}), "/time_zone"),
        (json!({"time_zone": ""}), "/time_zone"),
        (json!({"missed": "some"}), "/missed"),
        (json!({"starts_at": "tomorrow"}), "/starts_at"),
        (json!({"starts_at": long}), "/starts_at"),
        (json!({"notification": null}), "/notification"),
        (json!({"broadcast": {"topic": "a", "content": {"title": "a", "body": ""}}}), "/broadcast"),
        (
            json!({"notification": {"user_id": "", "content": {"title": "a", "body": ""}}}),
            "/notification/user_id",
        ),
        (
            json!({"notification": {"user_id": "a", "content": {"title": "", "body": ""}}}),
            "/notification/content/title",
        ),
        (
            json!({"notification": {"user_id": "a", "template": {"key": "none"}}}),
            "/notification/template/key",
        ),
        (
            json!({"notification": {"user_id": "a", "content": {"title": "a", "body": ""}, "deliver_at": "2099-01-01T00:00:00Z"}}),
            "/notification/deliver_at",
        ),
    ];
    for (wrong, pointer) in cases {
        let answer = put(&service, "wrong", &with(ten_ticks(), &wrong)).await;
        assert_eq!(
            (answer.status, answer.pointers()),
            (422, vec![pointer.to_owned()]),
            "{wrong}: {answer:?}"
        );
    }
    put(&service, "Wrong", &ten_ticks()).await.problem(400);
    put(&service, "wrong", &with(ten_ticks(), &json!({"every": "5m"}))).await.problem(422);
    assert!(service.get(SCHEDULES).await.expect(200).json()["schedules"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_tick_asks_as_a_client_would_at_that_time_for_plans_templates_channels_and_throttles() {
    let service = Service::start().await;
    let say = async |path: &str, body: Value| {
        let request = service.request("PUT", path).header("x-api-key", service.root_key());
        service.send(request.json(&body)).await.expect(200)
    };
    let words = |title: &str| json!({"default_locale": "en", "sources": {"en": format!("title = {title}\nbody = -\n")}});
    let webhook = |attempts: u32| {
        let provider =
            json!({"name": "main", "webhook": {"url": "https://example.com/hook", "secret": SECRET}});
        let retry = json!({"schedule": "exponential", "attempts_max": attempts, "base": "1s", "cap": "1s"});
        json!({"providers": [provider], "retry": retry})
    };
    let plan = |after: &str| json!({"plan": [{"channel": "in_app"}, {"channel": "webhook", "after": after}]});
    let (mut sql, mut clock) = (service.sql().await, service.sql().await);
    stop_the_clock(&mut clock).await;
    say("/v1/templates/daily", words("Old")).await;
    say("/v1/plans/insist", plan("1h")).await;
    say("/v1/channels/webhook", webhook(2)).await;
    let asked = json!({"template": {"key": "daily"}, "category": "news", "plan_name": "insist"});
    let notification = with(json!({"user_id": "alice"}), &asked);
    put(&service, "ticks", &with(ten_ticks(), &json!({"notification": notification}))).await.expect(200);
    let broadcast = with(json!({"user_ids": ["bob"]}), &asked);
    let broadcast = json!({"notification": null, "broadcast": broadcast});
    put(&service, "casts", &with(ten_ticks(), &broadcast)).await.expect(200);
    say("/v1/templates/daily", words("New")).await;
    say("/v1/plans/insist", plan("2h")).await;
    say("/v1/channels/webhook", webhook(7)).await;
    say("/v1/categories/news", json!({"throttle": {"max": 3, "window": "1h"}})).await;
    clock.execute("ROLLBACK").await.unwrap();
    for key in ["ticks", "casts"] {
        let ended = ended(&service, key).await;
        for tick in ended["ticks"].as_array().unwrap() {
            assert_eq!(tick["outcome"], "created", "{ended}");
            if key == "casts" {
                let path = format!("/v1/broadcasts/{}", tick["created"][0].as_str().unwrap());
                while service.get(&path).await.expect(200).text("status") != "completed" {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    for user in ["alice", "bob"] {
        *service.done.lock().unwrap() = Some(service.head().await);
        assert_eq!(service.counts(user).await, (3, 3), "the category lets three through");
    }
    let listed = service.read("/v1/notifications?user_id=alice").await.expect(200).json();
    assert_eq!(listed["notifications"][0]["template"]["version"], 2, "{listed}");
    assert_eq!(listed["notifications"][0]["title"], "New");
    let kept: Vec<(i64, i64, i64)> = sqlx::query_as(
        "SELECT (step ->> 'after_s')::bigint, (step #>> '{retry,attempts_max}')::bigint, count(*)
           FROM events, LATERAL (SELECT payload #> '{plan,1}' AS step) AS planned
          WHERE event_type = 'notification.created' GROUP BY 1, 2",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    assert_eq!(kept, [(7200, 7, 20)]);
    clock.close().await.unwrap();
    service.audit(&mut sql, &["alice", "bob"]).await;
}
