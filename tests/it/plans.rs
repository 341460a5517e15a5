//! Plans of several steps and attempts that begin, as a log holds them: timers, deliveries and commands follow it, though
//! nobody can ask for such a plan yet.

use serde_json::{Value, json};

use crate::support::{Service, Socket, Stored, note, run_to_end};

/// Long enough to say all that is to happen at the instant, on a machine that has other things to do.
const SOON_MS: i32 = 2_000;
const ID: &str = "ntf_01890a5d-ac96-774b-bcce-b302099a8057";
const FAR: &str = "2999-12-31T23:59:59.123Z";

/// Appends what a binary that asks for more would have written.
struct Elsewhere<'a> {
    service: &'a Service,
    sequence: i64,
}

impl Elsewhere<'_> {
    async fn tells(&mut self, name: &str, payload: Value) {
        self.sequence += 1;
        let (tenant, user, version) =
            ("default", "alice", if name == "delivery.failed" { "2.0.0" } else { "1.0.0" });
        let stored = Stored { tenant, user, id: ID, sequence: self.sequence, name, version, payload };
        let cursor = stored.append(&mut self.service.sql().await).await;
        *self.service.done.lock().unwrap() = Some(cursor);
    }
}

async fn deliveries(service: &Service) -> Value {
    service.get(&format!("/v1/notifications/{ID}")).await.expect(200).json()["deliveries"].clone()
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

#[tokio::test]
async fn a_plan_goes_from_step_to_step_until_the_user_has_read_it() {
    let service = Service::start().await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let (due_at, later) = (service.in_ms(SOON_MS).await, service.in_ms(SOON_MS + 100).await);
    let mut elsewhere = Elsewhere { service: &service, sequence: 0 };
    let plan = json!([
        {"channel": "in_app"},
        {"channel": "email", "after_s": 2, "unless": "read", "due_at": due_at},
        {"channel": "slack", "unless": "delivered"},
        {"channel": "webhook", "after_s": 3600, "due_at": FAR},
    ]);
    let content = json!({"title": "Rent is due", "body": ""});
    let created = json!({
        "tenant": "default", "user_id": "alice", "content": content, "priority": "urgent", "plan": plan,
    });
    elsewhere.tells("notification.created", created).await;
    assert_eq!(
        deliveries(&service).await,
        json!([
            {"channel": "in_app", "status": "pending", "attempt": 1},
            {"channel": "email", "status": "waiting", "attempt": 1, "due_at": due_at},
            {"channel": "slack", "status": "waiting", "attempt": 1},
            {"channel": "webhook", "status": "waiting", "attempt": 1, "due_at": FAR},
        ])
    );

    socket.event("notification.created").await;

    // What is due after it shows that it was fired.
    let mut other = note("alice");
    other["deliver_at"] = later.into();
    service.create_with(&other).await;
    socket.event("notification.released").await;
    let events = service.events(&format!("aggregate_id={ID}")).await;

    assert_eq!(events[1]["type"], "delivery.fallback_activated");
    let data = &events[1]["data"];
    assert_eq!((&data["from"], &data["channel"]), (&"in_app".into(), &"email".into()));
    assert_eq!(deliveries(&service).await[1]["status"], "pending");
    let row = |status: &str, attempt, class: Option<&str>, skipped: Option<&str>, work| {
        (status.to_owned(), attempt, class.map(str::to_owned), skipped.map(str::to_owned), work)
    };
    let (pending, waiting) = (row("pending", 1, None, None, false), row("waiting", 1, None, None, false));
    let active = row("pending", 1, None, None, true);
    assert_eq!(rows(&service).await, [pending.clone(), active, waiting.clone(), waiting.clone()]);

    // An attempt by e-mail, and when the next one is due.
    elsewhere.sequence = events.len() as i64;
    elsewhere.tells("delivery.started", json!({"channel": "email", "attempt": 1, "deadline": FAR})).await;
    assert_eq!(deliveries(&service).await[1]["deadline"], FAR);
    let error = json!({"class": "transient", "detail": "451 try again later"});
    elsewhere.tells("delivery.failed", json!({"channel": "email", "attempt": 1, "error": error})).await;
    elsewhere
        .tells("delivery.retry_scheduled", json!({"channel": "email", "attempt": 2, "due_at": FAR}))
        .await;
    let scheduled = json!({
        "channel": "email", "status": "scheduled", "attempt": 2, "due_at": FAR,
        "error_class": "transient", "error": "451 try again later",
    });
    assert_eq!(deliveries(&service).await[1], scheduled);
    let again = row("scheduled", 2, Some("transient"), None, true);
    assert_eq!(rows(&service).await, [pending, again, waiting.clone(), waiting]);

    // Reading it stops what still waits.
    service.mark(ID, "read").await;
    let story: Vec<(Value, Value)> = service.events(&format!("aggregate_id={ID}")).await[5..]
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
    assert_eq!(deliveries(&service).await[3]["skipped"], "read");
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
