//! Who goes first where there is more to do than can be done at once.

use serde_json::{Value, json};

use super::{by_webhook, planned, put, reach, service_with, story};
use crate::support::{Door, Endpoint, Says};

const LOWS: usize = 1_000;
const URGENTS: usize = 40;

fn with_priority(priority: &str) -> Value {
    let mut body = by_webhook("alice");
    (body["priority"], body["content"]["title"]) = (priority.into(), priority.into());
    body
}

#[tokio::test]
async fn an_urgent_one_does_not_wait_behind_a_thousand_lows_and_those_still_move() {
    let service = service_with(&[("TIDINGS_DISPATCH_CONCURRENCY", "1")]).await;
    let endpoint =
        Endpoint::start(|number, _| if number == 1 { Says::Gated } else { Says::Status(200) }).await;
    reach(&service, "alice", &endpoint).await;
    let lows = json!({"notifications": vec![with_priority("low"); LOWS]});
    service.post("/v1/notifications/batch", &lows).await.expect(200);
    endpoint.calls(1).await;
    let urgents = json!({"notifications": vec![with_priority("urgent"); URGENTS]});
    let made = service.post("/v1/notifications/batch", &urgents).await.expect(200).json();
    // Until they are listed, nobody can know of them.
    service.read("/v1/notifications").await.expect(200);
    endpoint.open();

    for urgent in made["results"].as_array().unwrap() {
        story(&service, urgent["id"].as_str().unwrap(), "delivery.succeeded").await;
    }
    let calls = endpoint.so_far();
    assert!(calls[1].body.contains("urgent"), "it goes first: {calls:?}");
    let last = calls.iter().rposition(|call| call.body.contains("urgent")).unwrap();
    let lows = calls[1..last].iter().filter(|call| !call.body.contains("urgent")).count();
    assert!((3..=8).contains(&lows), "one in nine is low while the others are urgent: {lows}");
}

/// The tenant's own Slack.
async fn slack(service: &Door, endpoint: &Endpoint) {
    let providers = json!([{"name": "main", "slack": {"url": endpoint.url()}}]);
    put(service, "/v1/channels/slack", &json!({"providers": providers, "timeout": "30s"})).await;
}

fn by_slack(priority: &str) -> Value {
    let mut body = planned("bob", json!([{"channel": "slack"}]));
    body["priority"] = priority.into();
    body
}

#[tokio::test]
async fn endpoints_that_hang_hold_up_neither_other_channels_nor_what_is_urgent() {
    // Two for each channel, and one of the four for what is loud.
    let service = service_with(&[("TIDINGS_DISPATCH_CONCURRENCY", "4")]).await;
    let providers =
        json!([{"name": "main", "webhook": {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}]);
    put(&service, "/v1/channels/webhook", &json!({"providers": providers, "timeout": "30s"})).await;
    let silent = Endpoint::start(|_, _| Says::Gated).await;
    reach(&service, "alice", &silent).await;
    let many = json!({"notifications": vec![by_webhook("alice"); 6]});
    service.post("/v1/notifications/batch", &many).await.expect(200);
    silent.calls(2).await;
    let quick = Endpoint::saying(200).await;
    slack(&service, &quick).await;
    let id = service.create_with(&by_slack("normal")).await;
    story(&service, &id, "delivery.succeeded").await;

    let silent_too = Endpoint::start(|_, _| Says::Gated).await;
    slack(&service, &silent_too).await;
    let two = json!({"notifications": vec![by_slack("normal"); 2]});
    service.post("/v1/notifications/batch", &two).await.expect(200);
    silent_too.calls(1).await;
    slack(&service, &quick).await;
    let id = service.create_with(&by_slack("urgent")).await;
    story(&service, &id, "delivery.succeeded").await;
    // Also where the lows of the same channel hang.
    reach(&service, "carol", &quick).await;
    let mut urgent = by_webhook("carol");
    urgent["priority"] = "urgent".into();
    let id = service.create_with(&urgent).await;
    story(&service, &id, "delivery.succeeded").await;
    let calls = [&silent, &silent_too, &quick].map(|endpoint| endpoint.so_far().len());
    assert_eq!(calls, [2, 1, 3], "the other places are taken");
    silent.open();
    silent_too.open();
}

#[tokio::test]
async fn a_channel_that_must_wait_does_not_hold_up_its_lane() {
    let service = service_with(&[("TIDINGS_DISPATCH_CONCURRENCY", "2")]).await;
    let endpoint = Endpoint::saying(200).await;
    reach(&service, "alice", &endpoint).await;
    let slow = json!({
        "providers": [{"name": "main", "webhook": {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}],
        "rate": {"per_second": 1},
    });
    put(&service, "/v1/channels/webhook", &slow).await;
    slack(&service, &endpoint).await;
    let many = json!({"notifications": vec![by_webhook("alice"); 300]});
    service.post("/v1/notifications/batch", &many).await.expect(200);
    endpoint.calls(1).await;
    let many = json!({"notifications": vec![by_slack("normal"); 50]});
    let made = service.post("/v1/notifications/batch", &many).await.expect(200).json();
    for id in made["results"].as_array().unwrap() {
        story(&service, id["id"].as_str().unwrap(), "delivery.succeeded").await;
    }
    let webhooks = endpoint.so_far().iter().filter(|call| !call.id.is_empty()).count();
    assert!(webhooks < 150, "nobody waited for the slow one: {webhooks}");
}

#[tokio::test]
async fn what_is_put_off_does_not_stand_in_the_way_of_another_queue() {
    let service = service_with(&[("TIDINGS_DISPATCH_CONCURRENCY", "1")]).await;
    let busy = Endpoint::start(|_, _| Says::Busy(429, 60)).await;
    reach(&service, "alice", &busy).await;
    let many = json!({"notifications": vec![by_webhook("alice"); 3]});
    service.post("/v1/notifications/batch", &many).await.expect(200);
    // The other two stay due, the longest of all, while their endpoint is left alone.
    busy.calls(1).await;
    let quick = Endpoint::saying(200).await;
    slack(&service, &quick).await;
    for _ in 0..3 {
        let id = service.create_with(&by_slack("normal")).await;
        story(&service, &id, "delivery.succeeded").await;
    }
    assert_eq!(busy.so_far().len(), 1);
}
