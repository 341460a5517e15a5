//! Commands on one notification: what follows from each, and what is refused in which state.

use serde_json::{Value, json};

use crate::support::{Answer, Service, Stored};

async fn deliver(service: &Service, id: &str, body: Value) -> Answer {
    service.post(&format!("/v1/notifications/{id}/deliver"), &body).await
}

async fn retry(service: &Service, id: &str, body: Value) -> Answer {
    service.post(&format!("/v1/notifications/{id}/retry"), &body).await
}

async fn look(service: &Service, id: &str) -> Value {
    service.get(&format!("/v1/notifications/{id}")).await.expect(200).json()
}

async fn names(service: &Service, id: &str) -> Vec<String> {
    let events = service.events(&format!("aggregate_id={id}")).await;
    events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_delivery_fails_is_dead_lettered_is_retried_and_succeeds() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    let one =
        |status: &str, attempt: u32| json!([{"channel": "in_app", "status": status, "attempt": attempt}]);
    assert_eq!(look(&service, &id).await["deliveries"], one("pending", 1));
    assert_eq!(retry(&service, &id, Value::Null).await.problem(409), "invalid-state", "nothing has failed");

    let failure =
        json!({"channel": "in_app", "outcome": "failed", "attempt": 1, "error": "the device is gone"});
    deliver(&service, &id, failure.clone()).await.expect(200);
    let mut dead = one("dead_lettered", 1);
    dead[0]["error_class"] = "reported".into();
    dead[0]["error"] = "the device is gone".into();
    assert_eq!(look(&service, &id).await["deliveries"], dead);
    deliver(&service, &id, failure).await.expect(200);
    let late = json!({"channel": "in_app", "outcome": "delivered"});
    assert_eq!(deliver(&service, &id, late.clone()).await.problem(409), "invalid-state");

    retry(&service, &id, json!({"channel": "in_app"})).await.expect(200);
    assert_eq!(look(&service, &id).await["deliveries"][0]["status"], "pending");
    let stale = json!({"channel": "in_app", "outcome": "delivered", "attempt": 1});
    assert_eq!(
        deliver(&service, &id, stale).await.problem(409),
        "invalid-state",
        "attempt 2 is the current one"
    );
    deliver(&service, &id, late.clone()).await.expect(200);
    assert_eq!(look(&service, &id).await["deliveries"], one("delivered", 2), "the error was overcome");

    deliver(&service, &id, late).await.expect(200);
    assert_eq!(retry(&service, &id, Value::Null).await.problem(409), "invalid-state");
    let story = [
        "notification.created",
        "delivery.failed",
        "delivery.exhausted",
        "delivery.dead_lettered",
        "delivery.retry_requested",
        "delivery.succeeded",
    ];
    assert_eq!(names(&service, &id).await, story, "what was repeated or refused left no event");
}

#[tokio::test]
async fn a_first_mark_shows_that_the_notification_was_delivered() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    service.mark(&id, "seen").await;
    service.mark(&id, "read").await;
    assert_eq!(look(&service, &id).await["deliveries"][0]["status"], "delivered");
    let story = ["notification.created", "notification.seen", "delivery.succeeded", "notification.read"];
    assert_eq!(names(&service, &id).await, story);
}

#[tokio::test]
async fn a_cancelled_notification_takes_no_further_command() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    service.mark(&id, "cancel").await;
    let cancelled = look(&service, &id).await;
    assert_eq!(
        (&cancelled["status"], &cancelled["deliveries"][0]["status"]),
        (&"cancelled".into(), &"cancelled".into())
    );
    let head = service.head().await;
    for word in ["read", "unread", "seen", "archive", "unarchive", "retry"] {
        let answer = service.post(&format!("/v1/notifications/{id}/{word}"), &Value::Null).await;
        assert_eq!(answer.problem(409), "invalid-state", "{word}");
    }
    let late = deliver(&service, &id, json!({"channel": "in_app", "outcome": "delivered"})).await;
    assert_eq!(late.problem(409), "invalid-state");
    assert_eq!(service.head().await, head, "a refusal changes nothing");
}

#[tokio::test]
async fn a_notification_that_does_not_exist_is_not_found() {
    let service = Service::start().await;
    let id = "ntf_01890a5d-ac96-774b-bcce-b302099a8057";
    assert_eq!(service.get(&format!("/v1/notifications/{id}")).await.problem(404), "not-found");
    for word in ["read", "unread", "seen", "archive", "unarchive", "cancel", "retry"] {
        let answer = service.post(&format!("/v1/notifications/{id}/{word}"), &Value::Null).await;
        assert_eq!(answer.problem(404), "not-found", "{word}");
    }
    let outcome = json!({"channel": "in_app", "outcome": "delivered"});
    assert_eq!(deliver(&service, id, outcome).await.problem(404), "not-found");
    assert_eq!(service.events("").await, [json!(null); 0]);
}

#[tokio::test]
async fn sixty_four_who_mark_at_once_all_succeed_and_leave_one_mark() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    let path = format!("/v1/notifications/{id}/read");
    let marks = (0..64).map(|_| service.post(&path, &Value::Null));
    for answer in futures_util::future::join_all(marks).await {
        answer.expect(200);
    }
    let story = ["notification.created", "notification.read", "delivery.succeeded"];
    assert_eq!(names(&service, &id).await, story);
    assert_eq!(service.counts("alice").await, (0, 0));
}

#[tokio::test]
async fn events_say_who_did_what_in_which_request_and_are_listed_page_by_page() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    let read = service.as_user(&service.token("alice"), "POST", &format!("/v1/notifications/{id}/read"));
    service.send(read.header("x-request-id", "from-the-bell")).await.expect(200);
    service.create("bob").await;

    let events = service.events("").await;
    let (created, read) = (&events[0], &events[1]);
    assert_eq!(created["data"]["content"], json!({"title": "Hello", "body": "How are you?"}), "opened");
    assert_eq!((&created["sequence"], &created["user_id"]), (&1.into(), &"alice".into()));
    assert_eq!((&created["aggregate_type"], &created["aggregate_id"]), (&"notification".into(), &id.into()));
    let metadata = &read["metadata"];
    assert_eq!(
        (&metadata["actor"], &metadata["request_id"]),
        (&"user:alice".into(), &"from-the-bell".into())
    );
    assert_eq!((&metadata["tenant"], &created["metadata"]["actor"]), (&"default".into(), &"key:root".into()));
    for name in ["command_id", "correlation_id", "causation_id"] {
        assert!(metadata[name].is_string(), "{name}");
    }

    assert_eq!(service.events("user_id=bob").await, events[3..]);
    assert_eq!(service.events("type=notification.created").await.len(), 2);
    let (mut listed, mut after) = (Vec::new(), String::new());
    loop {
        let page = service.get(&format!("/v1/events?limit=3{after}")).await.expect(200).json();
        let part = page["events"].as_array().unwrap();
        listed.extend(part.iter().cloned());
        after = format!("&after={}", page["next"].as_str().unwrap());
        if part.is_empty() {
            break;
        }
    }
    assert_eq!(listed, events);
}

#[tokio::test]
async fn content_that_cannot_be_opened_is_a_fault_and_not_an_outage() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    let mut sql = service.sql().await;
    let key: i64 = sqlx::query_scalar("SELECT id FROM recipient_keys").fetch_one(&mut sql).await.unwrap();
    let damaged = json!({"sealed": {"key": key, "box": "AAAA"}});
    let (name, version) = ("notification.seen", "1.0.0");
    let stored =
        Stored { tenant: "default", user: "alice", id: &id, sequence: 2, name, version, payload: damaged };
    stored.append(&mut sql).await;
    let read = service.post(&format!("/v1/notifications/{id}/read"), &Value::Null).await;
    assert_eq!((read.problem(500), read.header("retry-after")), ("internal".into(), None));
}
