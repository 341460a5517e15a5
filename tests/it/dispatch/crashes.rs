//! Workers that die, at any step: nothing is stuck, nothing gets a second key, and no attempt is made beyond the policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{by_webhook, delivery, names, reach, service, story};
use crate::support::{Endpoint, Says, Stored};

/// An endpoint that kills its caller at the first calls, before they are answered.
async fn deadly(victim: Arc<AtomicI32>, times: usize) -> Endpoint {
    Endpoint::start(move |number, _| {
        if number <= times {
            kill(Pid::from_raw(victim.load(Ordering::SeqCst)), Signal::SIGKILL).unwrap();
        }
        Says::Status(200)
    })
    .await
}

#[tokio::test]
async fn an_attempt_whose_worker_dies_in_it_is_lost_and_the_next_one_is_made() {
    let mut service = service().await;
    let victim = Arc::new(AtomicI32::new(service.pid()));
    let endpoint = deadly(victim, 1).await;
    reach(&service, "alice", &endpoint).await;
    let id = service.create_with(&by_webhook("alice")).await;
    endpoint.calls(1).await;
    service.killed();
    service.start_again().await;
    let events = story(&service, &id, "delivery.succeeded").await;
    let expected = [
        "notification.created",
        "delivery.started 1",
        "delivery.failed 1",
        "delivery.started 2",
        "delivery.succeeded 2",
    ];
    assert_eq!(names(&events), expected);
    assert_eq!(events[2]["data"]["error"]["class"], "unknown");
    let calls = endpoint.so_far();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.id == format!("{id}/webhook")));
}

#[tokio::test]
async fn attempts_that_others_began_and_never_ended_are_taken_over_or_given_up() {
    let service = service().await;
    let endpoint = Endpoint::saying(200).await;
    reach(&service, "alice", &endpoint).await;
    let (id, last) = ("ntf_01890a5d-ac96-774b-bcce-b302099a8057", "ntf_01890a5d-ac96-774b-bcce-b302099a8058");
    let begun = "2026-08-01T09:00:00Z";
    for (id, attempt) in [(id, 1), (last, 2)] {
        let retry = json!({"attempts_max": 2, "backoff": {"exponential": {"base_ms": 10, "cap_ms": 10}}});
        let plan = json!([{"channel": "webhook", "due_at": begun, "retry": retry}]);
        let content = json!({"title": "Rent is due", "body": ""});
        let created = json!({
            "tenant": "default", "user_id": "alice", "content": content, "priority": "normal", "plan": plan,
        });
        let started = json!({"channel": "webhook", "attempt": attempt, "deadline": begun});
        // Held back until both are there, so that no worker is faster.
        let created = Stored {
            tenant: "default",
            user: "alice",
            id,
            sequence: 1,
            name: "notification.created",
            version: "1.0.0",
            payload: created,
        };
        let started = Stored {
            tenant: "default",
            user: "alice",
            id,
            sequence: 2,
            name: "delivery.started",
            version: "1.0.0",
            payload: started,
        };
        let mut sql = service.sql().await;
        created.append(&mut sql).await;
        started.append(&mut sql).await;
    }
    let events = story(&service, last, "delivery.dead_lettered").await;
    assert_eq!(
        names(&events)[1..],
        ["delivery.started 2", "delivery.failed 2", "delivery.exhausted", "delivery.dead_lettered"]
    );
    assert_eq!(delivery(&service, last).await["error_class"], "unknown");
    let events = story(&service, id, "delivery.succeeded").await;
    assert_eq!(
        names(&events)[1..],
        ["delivery.started 1", "delivery.failed 1", "delivery.started 2", "delivery.succeeded 2"]
    );
    assert_eq!(endpoint.so_far().len(), 1);
}

#[tokio::test]
async fn two_nodes_deliver_each_notification_once() {
    const NOTIFICATIONS: usize = 60;
    let first = service().await;
    let second = first.another_node_with(&[super::NEAR]).await;
    let endpoint = Endpoint::saying(200).await;
    reach(&first, "alice", &endpoint).await;
    let mut ids = Vec::new();
    for number in 0..NOTIFICATIONS {
        let node = if number % 2 == 0 { &first } else { &second };
        ids.push(node.create_with(&by_webhook("alice")).await);
    }
    for id in &ids {
        let events = story(&first, id, "delivery.succeeded").await;
        assert_eq!(names(&events)[1..], ["delivery.started 1", "delivery.succeeded 1"]);
    }
    let mut called: Vec<String> = endpoint.so_far().into_iter().map(|call| call.id).collect();
    called.sort();
    let mut expected: Vec<String> = ids.iter().map(|id| format!("{id}/webhook")).collect();
    expected.sort();
    assert_eq!(called, expected);
}
