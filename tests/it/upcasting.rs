//! Reading what an older version wrote: every reader lifts it, and nobody but the log knows.

use serde_json::{Value, json};

use crate::support::{Service, Socket, Stored};

#[tokio::test]
async fn an_event_of_an_older_version_is_lifted_for_every_reader() {
    let service = Service::start().await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let id = service.create("alice").await;
    socket.event("notification.created").await;
    let mut sql = service.sql().await;
    let stored = |sequence, name, version, payload| Stored {
        tenant: "default",
        user: "alice",
        id: &id,
        sequence,
        name,
        version,
        payload,
    };
    // As 1.0.0 wrote it: the error is one text.
    let failed = json!({"channel": "in_app", "attempt": 1, "error": "the device is gone"});
    let cursor = stored(2, "delivery.failed", "1.0.0", failed).append(&mut sql).await;
    let dead = json!({"channel": "in_app"});
    stored(3, "delivery.dead_lettered", "1.0.0", dead).append(&mut sql).await;

    // The notification, folded from its events.
    let shown = service.get(&format!("/v1/notifications/{id}")).await.expect(200).json();
    let delivery = json!([{
        "channel": "in_app", "status": "dead_lettered", "attempt": 1,
        "error_class": "reported", "error": "the device is gone",
    }]);
    assert_eq!(shown["deliveries"], delivery);

    // The log, as its readers list it.
    let events = service.events(&format!("aggregate_id={id}")).await;
    let lifted = json!({
        "channel": "in_app", "attempt": 1, "error": {"class": "reported", "detail": "the device is gone"},
    });
    assert_eq!((&events[1]["cursor"], &events[1]["data"]), (&cursor.into(), &lifted));

    // A command, decided on all of it: only a failed delivery can be retried.
    let retried = service.post(&format!("/v1/notifications/{id}/retry"), &Value::Null).await;
    retried.expect(200);
    service.mark(&id, "read").await;
    let names: Vec<Value> = service
        .events(&format!("aggregate_id={id}"))
        .await
        .iter()
        .map(|event| event["type"].clone())
        .collect();
    let story = [
        "notification.created",
        "delivery.failed",
        "delivery.dead_lettered",
        "delivery.retry_requested",
        "notification.read",
        "delivery.succeeded",
    ];
    assert_eq!(names, story);

    // The inbox and its sockets went past it.
    assert_eq!(service.counts("alice").await, (0, 0));
    socket.event("notification.read").await;

    // The log still has what was written.
    let (version, payload): (String, String) = sqlx::query_as(
        "SELECT event_version, payload::text FROM events WHERE aggregate_id = $1 AND sequence = 2",
    )
    .bind(&id)
    .fetch_one(&mut sql)
    .await
    .unwrap();
    assert_eq!(version, "1.0.0");
    assert!(payload.contains(r#""error":"the device is gone""#), "{payload}");
}
