//! Plans of several steps: asked for, looked at, followed by timers, deliveries and commands; and plans that leave out
//! the inbox.

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::support::{PATIENCE, Service, Socket, note, run_to_end};

/// Puts Alice to bed, so that whatever reaches her outside waits.
async fn quiet(service: &Service) {
    let now = instant(&service.in_ms(0).await.into());
    let clock = |at: OffsetDateTime| format!("{:02}:{:02}", at.hour(), at.minute());
    let (from, to) = (clock(now - Duration::HOUR), clock(now + Duration::HOUR));
    let put = service.request("PUT", "/v1/users/alice/preferences").header("x-api-key", service.root_key());
    service.send(put.json(&json!({"quiet_hours": {"from": from, "to": to}}))).await.expect(200);
}

/// The events of a notification, once there are so many.
async fn events(service: &Service, id: &str, count: usize) -> Vec<Value> {
    let told = async {
        loop {
            let events = service.events(&format!("aggregate_id={id}")).await;
            if events.len() >= count {
                return events;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("it goes on")
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

/// Status and reason of each row; and whether there is work for somebody.
async fn rows(service: &Service) -> Vec<(String, Option<String>, bool)> {
    // It waits until the deliveries have followed the log.
    service.read("/v1/notifications").await.expect(200);
    sqlx::query_as(
        "SELECT status, skipped, work_at IS NOT NULL FROM delivery_v3.deliveries
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
    quiet(&service).await;
    let mut body = planned(json!([
        {"channel": "in_app"},
        {"channel": "email", "after": "1000ms", "unless": "read"},
        {"channel": "slack", "unless": "delivered"},
        {"channel": "webhook", "after": "720h"},
    ]));
    body["priority"] = "urgent".into();
    let id = service.create_with(&body).await;
    let mut stands = deliveries(&service, &id).await;
    let (due_at, last_at) = (stands[1]["due_at"].take(), stands[3]["due_at"].take());
    let apart = instant(&last_at) - instant(&due_at);
    assert_eq!(apart, Duration::days(30) - Duration::seconds(1), "counted from one instant");
    let tries = stands.as_array_mut().unwrap().iter_mut().map(|step| step["attempts_max"].take());
    let tries: Vec<bool> = tries.map(|max| max.as_u64().is_some_and(|max| max > 1)).collect();
    assert_eq!(tries, [false, true, true, true], "what calls somebody is tried again");
    let none = Value::Null;
    assert_eq!(
        stands,
        json!([
            {"channel": "in_app", "status": "pending", "attempt": 1, "attempts_max": none},
            {
                "channel": "email", "status": "waiting", "attempt": 1, "attempts_max": none, "after": "1s",
                "unless": "read", "due_at": none,
            },
            {"channel": "slack", "status": "waiting", "attempt": 1, "attempts_max": none, "unless": "delivered"},
            {
                "channel": "webhook", "status": "waiting", "attempt": 1, "attempts_max": none, "after": "30d",
                "due_at": none,
            },
        ])
    );

    let events = events(&service, &id, 3).await;
    assert_eq!(events[1]["type"], "delivery.fallback_activated");
    let data = &events[1]["data"];
    assert_eq!((&data["from"], &data["channel"]), (&"in_app".into(), &"email".into()));
    assert_eq!(instant(&data["due_at"]), instant(&due_at), "the log writes no trailing zeros");
    assert_eq!((&events[2]["type"], &events[2]["data"]["attempt"]), (&"delivery.deferred".into(), &1.into()));
    let row =
        |status: &str, skipped: Option<&str>, work| (status.to_owned(), skipped.map(str::to_owned), work);
    let waiting = row("waiting", None, false);
    *service.done.lock().unwrap() = events[2]["cursor"].as_str().map(str::to_owned);
    let expected = [row("pending", None, false), row("scheduled", None, true), waiting.clone(), waiting];
    assert_eq!(rows(&service).await, expected);

    // Reading it stops what still waits.
    service.mark(&id, "read").await;
    let story: Vec<(Value, Value)> = service.events(&format!("aggregate_id={id}")).await[3..]
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
    let skipped = row("skipped", Some("read"), false);
    let expected = [row("delivered", None, false), skipped.clone(), skipped.clone(), skipped];
    assert_eq!(rows(&service).await, expected);

    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM timers_v3.timers WHERE kind LIKE 'activate%'")
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
    quiet(&service).await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let mut body = planned(json!([{"channel": "email"}, {"channel": "slack", "after": "1h"}]));
    (body["category"], body["tags"]) = ("billing".into(), json!(["vip"]));
    let (read, cancelled) = (service.create_with(&body).await, service.create_with(&body).await);
    body["deliver_at"] = service.in_ms(100).await.into();
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

    // It is all there for whoever made it.
    let list = service.read("/v1/notifications?user_id=alice").await.expect(200).json();
    assert_eq!(list["notifications"].as_array().unwrap().len(), 4);
    let deferred = events(&service, &released, 3).await;
    assert_eq!(
        (&deferred[1]["type"], &deferred[2]["type"]),
        (&"notification.released".into(), &"delivery.deferred".into())
    );
    let stands = deliveries(&service, &read).await;
    assert_eq!((&stands[0]["status"], &stands[0]["skipped"]), (&"skipped".into(), &"read".into()));
    assert_eq!(deliveries(&service, &cancelled).await[0]["status"], "cancelled");
    *service.done.lock().unwrap() = deferred[2]["cursor"].as_str().map(str::to_owned);
    assert_eq!(service.counts("alice").await, (1, 1));
    service.audit(&mut service.sql().await, &["alice"]).await;
    let mut command = service.command("rebuild");
    command.args(["inbox", "--diff"]);
    let ended = run_to_end(command);
    assert_eq!((ended.code, ended.output.as_str()), (Some(0), ""), "{}", ended.errors);
}
