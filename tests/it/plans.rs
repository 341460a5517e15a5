//! Plans of several steps: asked for, looked at, followed by timers, deliveries and commands; and plans that leave out
//! the inbox.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{Service, Socket, Stored, note, run_to_end};

const FAR: &str = "2999-12-31T23:59:59.123Z";

/// Appends what a worker would have written.
struct Elsewhere<'a> {
    service: &'a Service,
    id: &'a str,
    sequence: i64,
}

impl Elsewhere<'_> {
    async fn tells(&mut self, name: &str, payload: Value) {
        self.sequence += 1;
        let (tenant, user, version) =
            ("default", "alice", if name == "delivery.failed" { "2.0.0" } else { "1.0.0" });
        let stored = Stored { tenant, user, id: self.id, sequence: self.sequence, name, version, payload };
        let cursor = stored.append(&mut self.service.sql().await).await;
        *self.service.done.lock().unwrap() = Some(cursor);
    }
}

async fn deliveries(service: &Service, id: &str) -> Value {
    service.get(&format!("/v1/notifications/{id}")).await.expect(200).json()["deliveries"].clone()
}

/// A notification for Alice with this plan.
fn planned(plan: Value) -> Value {
    let mut body = note("alice");
    body["plan"] = plan;
    body
}

/// Status, attempt, class of the error and reason of each row; and whether there is work for somebody.
async fn rows(service: &Service) -> Vec<(String, i32, Option<String>, Option<String>, bool)> {
    // It waits until the deliveries have followed the log.
    service.read("/v1/notifications").await.expect(200);
    sqlx::query_as(
        "SELECT status, attempt, error_class, skipped, work_at IS NOT NULL FROM delivery_v2.deliveries
          WHERE priority = 3 ORDER BY step",
    )
    .fetch_all(&mut service.sql().await)
    .await
    .unwrap()
}

fn instant(value: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(value.as_str().unwrap(), &Rfc3339).unwrap()
}

#[tokio::test]
async fn a_plan_goes_from_step_to_step_until_the_user_has_read_it() {
    let service = Service::start().await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let mut body = planned(json!([
        {"channel": "in_app"},
        {"channel": "email", "after": "2000ms", "unless": "read"},
        {"channel": "slack", "unless": "delivered"},
        {"channel": "webhook", "after": "720h"},
    ]));
    body["priority"] = "urgent".into();
    let id = service.create_with(&body).await;
    let stands = deliveries(&service, &id).await;
    let (due_at, last_at) = (&stands[1]["due_at"], &stands[3]["due_at"]);
    assert_eq!(
        stands,
        json!([
            {"channel": "in_app", "status": "pending", "attempt": 1},
            {"channel": "email", "status": "waiting", "attempt": 1, "after": "2s", "unless": "read", "due_at": due_at},
            {"channel": "slack", "status": "waiting", "attempt": 1, "unless": "delivered"},
            {"channel": "webhook", "status": "waiting", "attempt": 1, "after": "30d", "due_at": last_at},
        ])
    );
    let apart = instant(last_at) - instant(due_at);
    assert_eq!(apart, time::Duration::days(30) - time::Duration::seconds(2), "counted from one instant");

    socket.event("notification.created").await;

    // What is due after it shows that it was fired.
    let mut other = note("alice");
    other["deliver_at"] =
        (instant(due_at) + time::Duration::milliseconds(100)).format(&Rfc3339).unwrap().into();
    service.create_with(&other).await;
    socket.event("notification.released").await;
    let events = service.events(&format!("aggregate_id={id}")).await;

    assert_eq!(events[1]["type"], "delivery.fallback_activated");
    let data = &events[1]["data"];
    assert_eq!((&data["from"], &data["channel"]), (&"in_app".into(), &"email".into()));
    assert_eq!(deliveries(&service, &id).await[1]["status"], "pending");
    let row = |status: &str, attempt, class: Option<&str>, skipped: Option<&str>, work| {
        (status.to_owned(), attempt, class.map(str::to_owned), skipped.map(str::to_owned), work)
    };
    let (pending, waiting) = (row("pending", 1, None, None, false), row("waiting", 1, None, None, false));
    let active = row("pending", 1, None, None, true);
    assert_eq!(rows(&service).await, [pending.clone(), active, waiting.clone(), waiting.clone()]);

    // An attempt by e-mail, and when the next one is due.
    let mut elsewhere = Elsewhere { service: &service, id: &id, sequence: events.len() as i64 };
    elsewhere.tells("delivery.started", json!({"channel": "email", "attempt": 1, "deadline": FAR})).await;
    assert_eq!(deliveries(&service, &id).await[1]["deadline"], FAR);
    let error = json!({"class": "transient", "detail": "451 try again later"});
    elsewhere.tells("delivery.failed", json!({"channel": "email", "attempt": 1, "error": error})).await;
    elsewhere
        .tells("delivery.retry_scheduled", json!({"channel": "email", "attempt": 2, "due_at": FAR}))
        .await;
    let scheduled = json!({
        "channel": "email", "status": "scheduled", "attempt": 2, "after": "2s", "unless": "read", "due_at": FAR,
        "error_class": "transient", "error": "451 try again later",
    });
    assert_eq!(deliveries(&service, &id).await[1], scheduled);
    let again = row("scheduled", 2, Some("transient"), None, true);
    assert_eq!(rows(&service).await, [pending, again, waiting.clone(), waiting]);

    // Reading it stops what still waits.
    service.mark(&id, "read").await;
    let story: Vec<(Value, Value)> = service.events(&format!("aggregate_id={id}")).await[5..]
        .iter()
        .map(|event| (event["type"].clone(), event["data"]["channel"].clone()))
        .collect();
    let told = |name: &str, channel: Value| (Value::from(name), channel);
    let expected = [
        told("notification.read", Value::Null),
        told("delivery.succeeded", "in_app".into()),
        told("delivery.skipped", "email".into()),
        told("delivery.skipped", "slack".into()),
        told("delivery.skipped", "webhook".into()),
    ];
    assert_eq!(story, expected);
    assert_eq!(deliveries(&service, &id).await[3]["skipped"], "read");
    let skipped = row("skipped", 1, None, Some("read"), false);
    let tried = row("skipped", 2, Some("transient"), Some("read"), false);
    let delivered = row("delivered", 1, None, None, false);
    assert_eq!(rows(&service).await, [delivered, tried, skipped.clone(), skipped]);

    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM timers_v2.timers WHERE kind LIKE 'activate%'")
        .fetch_one(&mut service.sql().await)
        .await
        .unwrap();
    assert_eq!(left, 0, "nothing waits for its turn");
    let mut command = service.command("rebuild");
    command.args(["timers", "delivery", "--diff"]);
    let ended = run_to_end(command);
    assert_eq!((ended.code, ended.output.as_str()), (Some(0), ""), "{}", ended.errors);
}

#[tokio::test]
async fn what_is_delivered_elsewhere_is_in_no_inbox() {
    let service = Service::start().await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let mut body = planned(json!([{"channel": "email"}, {"channel": "slack", "after": "1h"}]));
    (body["category"], body["tags"]) = ("billing".into(), json!(["vip"]));
    let (read, cancelled) = (service.create_with(&body).await, service.create_with(&body).await);
    let due_at = service.in_ms(100).await;
    body["deliver_at"] = due_at.clone().into();
    let released = service.create_with(&body).await;
    service.mark(&read, "read").await;
    service.post(&format!("/v1/notifications/{cancelled}/cancel"), &Value::Null).await.expect(200);
    let mut shown = note("alice");
    shown["deliver_at"] = service.in_ms(300).await.into();
    let shown = service.create_with(&shown).await;

    let frame = socket.event("notification.released").await;
    assert_eq!(
        (&frame["notification"]["id"], &frame["unread"], &frame["unseen"]),
        (&shown.as_str().into(), &1.into(), &1.into())
    );
    for query in ["state=all", "state=all&category=billing", "state=all&tag=vip"] {
        let inbox = service.read(&format!("/v1/users/alice/inbox?{query}")).await.expect(200).json();
        let ids: Vec<&Value> = inbox["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
        assert_eq!(ids, if query == "state=all" { vec![&shown] } else { vec![] }, "{query}");
    }
    assert_eq!(service.counts("alice").await, (1, 1));
    service.audit(&mut service.sql().await, &["alice"]).await;

    // It is all there for whoever made it.
    let list = service.read("/v1/notifications?user_id=alice").await.expect(200).json();
    assert_eq!(list["notifications"].as_array().unwrap().len(), 4);
    assert_eq!(deliveries(&service, &released).await[0]["due_at"], due_at);
    let skipped = json!({"channel": "email", "status": "skipped", "attempt": 1, "skipped": "read"});
    assert_eq!(deliveries(&service, &read).await[0], skipped);
    assert_eq!(deliveries(&service, &cancelled).await[0]["status"], "cancelled");
    let mut command = service.command("rebuild");
    command.args(["inbox", "--diff"]);
    let ended = run_to_end(command);
    assert_eq!((ended.code, ended.output.as_str()), (Some(0), ""), "{}", ended.errors);
}
