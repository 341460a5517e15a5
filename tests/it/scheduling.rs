//! Scheduling: notifications that are to be shown later, that expire, or that are snoozed. What fires at the instant
//! itself is another matter.

use serde_json::{Value, json};

use crate::support::{Service, Socket, note};

const FAR: &str = "2999-12-31T23:59:59.123Z";
const FARTHER: &str = "3000-01-01T00:00:00.000Z";

fn with(members: Value) -> Value {
    let mut body = note("alice");
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

async fn shown(service: &Service, id: &str) -> Value {
    service.get(&format!("/v1/notifications/{id}")).await.expect(200).json()
}

async fn snooze(service: &Service, id: &str, until: &str) -> String {
    let path = format!("/v1/notifications/{id}/snooze");
    service.post(&path, &json!({"until": until})).await.expect(200).text("cursor")
}

#[tokio::test]
async fn a_scheduled_notification_is_in_no_inbox_and_can_be_cancelled() {
    let service = Service::start().await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let body = with(json!({"deliver_at": FAR, "expires_at": FARTHER}));
    let id = service.create_with(&body).await;
    let scheduled = shown(&service, &id).await;
    assert_eq!(scheduled["status"], "scheduled");
    assert_eq!((&scheduled["deliver_at"], &scheduled["expires_at"]), (&FAR.into(), &FARTHER.into()));
    assert_eq!(service.counts("alice").await, (0, 0));
    assert_eq!(service.inbox("alice", "state=all").await["items"], json!([]));
    for word in ["read", "seen", "archive"] {
        let mark = service.post(&format!("/v1/notifications/{id}/{word}"), &Value::Null).await;
        assert_eq!(mark.problem(409), "invalid-state", "{word}");
    }
    let all = service.post("/v1/users/alice/inbox/read-all", &Value::Null).await.expect(200);
    assert_eq!(all.json()["marked"], 0);

    service.mark(&id, "cancel").await;
    let cancelled = shown(&service, &id).await;
    assert_eq!((&cancelled["status"], &cancelled["deliver_at"]), (&"cancelled".into(), &FAR.into()));
    // The next frame is that of another: nothing was told of the one that never came.
    let next = service.create("alice").await;
    assert_eq!(socket.event("notification.created").await["notification"]["id"], next);
    service.audit(&mut service.sql().await, &["alice"]).await;
}

#[tokio::test]
async fn a_delivery_time_that_has_passed_means_now() {
    let service = Service::start().await;
    for passed in ["2001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"] {
        let id = service.create_with(&with(json!({"deliver_at": passed, "expires_at": FAR}))).await;
        let shown = shown(&service, &id).await;
        assert_eq!((&shown["status"], &shown["deliver_at"]), (&"active".into(), &Value::Null));
        assert_eq!(shown["expires_at"], FAR);
    }
    assert_eq!(service.counts("alice").await, (2, 2));
}

#[tokio::test]
async fn instants_are_kept_to_the_millisecond_and_in_utc() {
    let service = Service::start().await;
    let times = json!({"deliver_at": "2999-12-31T20:59:59.123999999-03:00", "expires_at": "9999-12-31T23:59:59.999Z"});
    let id = service.create_with(&with(times)).await;
    let scheduled = shown(&service, &id).await;
    assert_eq!(
        (&scheduled["deliver_at"], &scheduled["expires_at"]),
        (&FAR.into(), &"9999-12-31T23:59:59.999Z".into())
    );
    let created = &service.events(&format!("aggregate_id={id}")).await[0]["data"];
    assert_eq!(created["deliver_at"], "2999-12-31T23:59:59.123Z");

    let id = service.create("alice").await;
    snooze(&service, &id, "2999-12-31T23:59:59.1239Z").await;
    let page = service.inbox("alice", "state=snoozed").await;
    assert_eq!(page["items"][0]["snoozed_until"], FAR, "from the read model");
    assert_eq!(shown(&service, &id).await["snoozed_until"], FAR, "from its events");
    let head = service.head().await;
    snooze(&service, &id, FAR).await;
    assert_eq!(service.head().await, head, "the same instant again changes nothing");
}

#[tokio::test]
async fn a_snoozed_notification_leaves_the_active_items_until_its_instant_is_replaced() {
    let service = Service::start().await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let id = service.create("alice").await;
    socket.event("notification.created").await;
    snooze(&service, &id, FAR).await;
    let frame = socket.event("notification.snoozed").await;
    assert_eq!((&frame["notification"]["snoozed_until"], &frame["unread"]), (&FAR.into(), &0.into()));
    assert_eq!(service.counts("alice").await, (0, 0));
    assert_eq!(service.inbox("alice", "").await["items"], json!([]));

    // She herself, too; nobody else.
    let path = format!("/v1/notifications/{id}/snooze");
    let until = json!({"until": FARTHER});
    let own = service.as_user(&service.token("alice"), "POST", &path).json(&until);
    service.send(own).await.expect(200);
    assert_eq!(socket.event("notification.snoozed").await["notification"]["snoozed_until"], FARTHER);
    let other = service.as_user(&service.token("bob"), "POST", &path).json(&until);
    assert_eq!(service.send(other).await.problem(404), "not-found");
    service.mark(&id, "cancel").await;
    assert_eq!(service.post(&path, &until).await.problem(409), "invalid-state");
}

#[tokio::test]
async fn each_of_a_batch_has_times_of_its_own() {
    let service = Service::start().await;
    let batch = json!({"notifications": [
        with(json!({"deliver_at": FAR})),
        with(json!({"expires_at": "2001-01-01T00:00:00Z"})),
        with(json!({"deliver_at": "tomorrow"})),
        note("alice"),
    ]});
    let answer = service.post("/v1/notifications/batch", &batch).await.expect(200).json();
    let statuses: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|r| r["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 422, 422, 201]);
    for (n, pointer) in [(1, "/expires_at"), (2, "/deliver_at")] {
        assert_eq!(answer["results"][n]["problem"]["errors"][0]["pointer"], pointer);
    }
    assert_eq!(service.counts("alice").await, (1, 1));
}

#[tokio::test]
async fn a_repetition_is_answered_as_the_first_even_when_its_time_has_come() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    let path = format!("/v1/notifications/{id}/snooze");
    let soon = json!({"until": service.in_ms(3_000).await});
    let first = service.post_keyed(&path, &soon, "k").await.expect(200);
    // Requests without that key are refused from the instant on.
    while service.post(&path, &soon).await.status == 200 {}
    assert_eq!(service.post(&path, &soon).await.pointers(), ["/until"]);
    let again = service.post_keyed(&path, &soon, "k").await.expect(200);
    assert_eq!((again.header("idempotent-replayed"), &again.body), (Some("true"), &first.body));
}
