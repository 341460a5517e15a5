//! What endpoints answer, and what follows.

use serde_json::{Value, json};

use super::{by_webhook, delivery, instant, names, planned, put, reach, service, story};
use crate::channel_calls::{OK, Server};
use crate::support::{Door, Endpoint, Says};

/// Attempts that are made without anybody's asking.
const ATTEMPTS: usize = 4;

#[tokio::test]
async fn an_endpoint_that_fails_at_first_is_called_until_it_takes_it() {
    let service = service().await;
    let endpoint = Endpoint::start(|number, _| Says::Status(if number < 3 { 503 } else { 200 })).await;
    reach(&service, "alice", &endpoint).await;
    let id = service.create_with(&by_webhook("alice")).await;
    let events = story(&service, &id, "delivery.succeeded").await;
    let expected = [
        "notification.created",
        "delivery.started 1",
        "delivery.failed 1",
        "delivery.retry_scheduled 2",
        "delivery.started 2",
        "delivery.failed 2",
        "delivery.retry_scheduled 3",
        "delivery.started 3",
        "delivery.succeeded 3",
    ];
    assert_eq!(names(&events), expected);
    for (event, next) in [(3, 4), (6, 7)] {
        let due_at = instant(&events[event]["data"]["due_at"]);
        assert!(instant(&events[next]["recorded_at"]) >= due_at, "nobody is called early");
        assert!(instant(&events[1]["data"]["deadline"]) > instant(&events[1]["recorded_at"]));
    }
    let calls = endpoint.so_far();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| call.id == format!("{id}/webhook")), "one key: {calls:?}");
    let stands = delivery(&service, &id).await;
    assert_eq!(
        (&stands["status"], &stands["attempt"], &stands["error"]),
        (&"delivered".into(), &3.into(), &Value::Null)
    );
}

#[tokio::test]
async fn what_never_works_is_dead_lettered_and_tried_once_more_for_who_asks() {
    let service = service().await;
    let endpoint =
        Endpoint::start(|number, _| Says::Status(if number <= ATTEMPTS { 500 } else { 204 })).await;
    reach(&service, "alice", &endpoint).await;
    let id = service.create_with(&by_webhook("alice")).await;
    let events = story(&service, &id, "delivery.dead_lettered").await;
    let started = events.iter().filter(|event| event["type"] == "delivery.started").count();
    assert_eq!((started, endpoint.so_far().len()), (ATTEMPTS, ATTEMPTS));
    let stands = delivery(&service, &id).await;
    assert_eq!((&stands["status"], &stands["error_class"]), (&"dead_lettered".into(), &"transient".into()));

    service.mark(&id, "retry").await;
    let events = story(&service, &id, "delivery.succeeded").await;
    assert_eq!(names(&events).last().unwrap(), "delivery.succeeded 5");
    assert_eq!(endpoint.so_far().len(), ATTEMPTS + 1);
}

#[tokio::test]
async fn each_answer_has_its_consequence() {
    let service = service().await;
    let asks_for_time = Endpoint::start(|number, _| match number {
        1 => Says::Busy(429, 2),
        _ => Says::Status(200),
    });
    let (asks_for_time, gone) = (asks_for_time.await, Endpoint::saying(410).await);
    let silent = Endpoint::start(|number, _| if number == 1 { Says::Gated } else { Says::Status(200) }).await;
    for (user, endpoint) in [("alice", &asks_for_time), ("bob", &gone), ("carol", &silent)] {
        reach(&service, user, endpoint).await;
    }
    let alice = service.create_with(&by_webhook("alice")).await;
    let bob = service.create_with(&by_webhook("bob")).await;
    let carol = service.create_with(&by_webhook("carol")).await;

    let events = story(&service, &alice, "delivery.succeeded").await;
    let apart = instant(&events[3]["data"]["due_at"]) - instant(&events[1]["recorded_at"]);
    assert!(apart >= time::Duration::seconds(2), "it asked for two seconds: {apart}");

    let events = story(&service, &bob, "delivery.dead_lettered").await;
    assert_eq!((&events[2]["data"]["error"]["class"], gone.so_far().len()), (&"gone".into(), 1));

    let events = story(&service, &carol, "delivery.succeeded").await;
    let error = json!({"class": "transient", "detail": "no answer within 1000 ms"});
    assert_eq!(events[2]["data"]["error"], error);
}

#[tokio::test]
async fn where_nobody_can_be_called_the_next_channel_is() {
    let service = service().await;
    let endpoint = Endpoint::saying(200).await;
    reach(&service, "alice", &endpoint).await;
    let plan = json!([{"channel": "email"}, {"channel": "webhook", "after": "1h"}]);
    let id = service.create_with(&planned("alice", plan)).await;
    let events = story(&service, &id, "delivery.succeeded").await;
    let expected = [
        "notification.created",
        "delivery.skipped",
        "delivery.fallback_activated",
        "delivery.started 1",
        "delivery.succeeded 1",
    ];
    assert_eq!(names(&events), expected);
    assert_eq!(events[1]["data"]["reason"], "not_configured");
    // Who has no address there.
    let id = service.create_with(&by_webhook("bob")).await;
    let events = story(&service, &id, "delivery.skipped").await;
    assert_eq!(events[1]["data"]["reason"], "no_address");
}

/// Says where a user's webhooks go.
async fn reach_at(service: &Door, user: &str, url: &str) {
    put(service, &format!("/v1/users/{user}"), &json!({"addresses": {"webhook": url}})).await;
}

#[tokio::test]
async fn redirects_are_not_followed_and_what_is_no_answer_is_asked_again() {
    let service = service().await;
    let elsewhere = Endpoint::saying(200).await;
    let location = format!("location: {}\r\n", elsewhere.url());
    let moved = Server::saying(&format!("HTTP/1.1 302 Found\r\n{location}content-length: 0\r\n\r\n")).await;
    // The second says a byte of its header, and then no more.
    let odd = ["SMTP ready\r\n", "HTTP/1.1 200 OK\r\nx-slow: *", OK];
    let odd = Server::answering(odd.map(str::to_owned).to_vec()).await;
    reach_at(&service, "alice", &moved.url).await;
    reach_at(&service, "bob", &odd.url).await;
    let (alice, bob) =
        (service.create_with(&by_webhook("alice")).await, service.create_with(&by_webhook("bob")).await);

    let events = story(&service, &alice, "delivery.dead_lettered").await;
    assert_eq!(events[2]["data"]["error"], json!({"class": "permanent", "detail": "HTTP 302 Found"}));
    let told = ["delivery.started 1", "delivery.failed 1", "delivery.exhausted", "delivery.dead_lettered"];
    assert_eq!(names(&events)[1..], told);
    assert!(elsewhere.so_far().is_empty(), "nobody asked where it is now");

    let events = story(&service, &bob, "delivery.succeeded").await;
    let failed: Vec<&Value> = events.iter().filter(|event| event["type"] == "delivery.failed").collect();
    let classes: Vec<&Value> = failed.iter().map(|event| &event["data"]["error"]["class"]).collect();
    assert_eq!(classes, ["transient", "transient"]);
    assert_eq!(failed[1]["data"]["error"]["detail"], "no answer within 1000 ms");
}

#[tokio::test]
async fn an_address_that_is_no_more_is_not_called_again() {
    let service = service().await;
    let gone = Endpoint::saying(410).await;
    reach(&service, "alice", &gone).await;
    let id = service.create_with(&by_webhook("alice")).await;
    story(&service, &id, "delivery.dead_lettered").await;
    let next = service.create_with(&by_webhook("alice")).await;
    let events = story(&service, &next, "delivery.skipped").await;
    assert_eq!(events[1]["data"]["reason"], "no_address");
    assert_eq!(gone.so_far().len(), 1);
    let events = service.events("user_id=alice").await;
    let disabled = events.iter().find(|event| event["type"] == "recipient.address_disabled");
    assert_eq!(disabled.expect("it is told")["data"]["channel"], "webhook");
    // Who says a new one is reached there.
    let mended = Endpoint::saying(200).await;
    reach(&service, "alice", &mended).await;
    let id = service.create_with(&by_webhook("alice")).await;
    story(&service, &id, "delivery.succeeded").await;
}

#[tokio::test]
async fn what_waits_for_an_endpoint_that_asked_for_time_says_until_when() {
    let service = service().await;
    let busy = Endpoint::start(|_, _| Says::Busy(429, 120)).await;
    reach(&service, "alice", &busy).await;
    let first = service.create_with(&by_webhook("alice")).await;
    story(&service, &first, "delivery.retry_scheduled").await;

    // Nothing has failed, so nobody takes its place either.
    let plan = json!([{"channel": "webhook"}, {"channel": "slack"}]);
    let waits = service.create_with(&planned("alice", plan)).await;
    let events = story(&service, &waits, "delivery.deferred").await;
    assert_eq!(names(&events)[1..], ["delivery.deferred 1"]);
    assert_eq!(events[1]["data"]["reason"], "endpoint_failing");
    *service.done.lock().unwrap() = Some(service.head().await);
    let query = "/v1/deliveries?user_id=alice&channel=webhook";
    let listed = service.read(query).await.expect(200).json();
    let listed = listed["deliveries"].as_array().unwrap();
    let one = listed.iter().find(|one| one["notification_id"] == waits.as_str()).unwrap();
    assert_eq!((&one["status"], &one["reason"]), (&json!("scheduled"), &json!("endpoint_failing")));
    assert_eq!(busy.so_far().len(), 1);
}

#[tokio::test]
async fn while_an_endpoint_is_left_alone_a_channel_that_stands_by_takes_over_at_the_times_of_the_policy() {
    let service = service().await;
    let (broken, slack) = (Endpoint::saying(503).await, Endpoint::saying(200).await);
    let addresses = json!({"addresses": {"webhook": broken.url(), "slack": slack.url()}});
    put(&service, "/v1/users/alice", &addresses).await;
    put(&service, "/v1/channels/slack", &json!({"providers": [{"name": "main", "slack": {}}]})).await;
    // Four attempts each: the second notification meets an endpoint that has failed five times.
    for _ in 0..2 {
        service.create_with(&by_webhook("alice")).await;
    }
    let _ = broken.calls(5).await;
    let plan = json!([{"channel": "webhook"}, {"channel": "slack"}]);
    let id = service.create_with(&planned("alice", plan.clone())).await;
    let events = story(&service, &id, "delivery.succeeded").await;
    let failures: Vec<&Value> = events.iter().filter(|event| event["type"] == "delivery.failed").collect();
    assert_eq!(failures.len(), ATTEMPTS, "{:?}", names(&events));
    let told = failures[ATTEMPTS - 1]["data"]["error"]["detail"].as_str().unwrap();
    assert!(told.starts_with("nobody was called"), "{told}");

    // A channel that reaches nobody stands by for nobody.
    put(&service, "/v1/users/alice", &json!({"addresses": {"webhook": broken.url()}})).await;
    let id = service.create_with(&planned("alice", plan)).await;
    let events = story(&service, &id, "delivery.deferred").await;
    let told: Vec<&str> =
        events.iter().filter_map(|event| event["data"]["error"]["detail"].as_str()).collect();
    assert!(told.iter().all(|told| told.contains("503")), "{told:?}");
}
