//! Who goes first where there is more to do than can be done at once.

use serde_json::{Value, json};

use super::{by_webhook, reach, service_with, story};
use crate::support::{Endpoint, Says};

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
