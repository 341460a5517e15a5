//! What the golden files of a notification's events mean.

use std::collections::BTreeMap;

use serde_json::{Map, json};
use time::macros::datetime;

use crate::golden::Contract;
use crate::notification::{
    Category, Channel, Content, Created, Event, Failure, FailureClass, PlanStep, Priority, Tags,
};

use super::samples::*;

fn created_with_everything() -> Created {
    let words = ("Rechnung 42 – fällig", "Bitte bis Montag zahlen. 💶", "https://app.example/invoices/42");
    Created {
        tenant: tenant("acme"),
        user_id: user("user-7@example.com"),
        content: Content::new(words.0.into(), words.1.into(), Some(words.2.into())).ok(),
        category: Category::new("billing".into()).ok(),
        priority: Priority::Urgent,
        plan: vec![PlanStep { channel: Channel::InApp }],
        data: Some(Map::from_iter([
            ("amount".to_owned(), json!(12.5)),
            ("lines".to_owned(), json!([{"sku": "A-1", "count": 2}, null, true])),
        ])),
        tags: Tags::new(vec!["vip".into(), "q3".into()]).unwrap(),
        deliver_at: Some(datetime!(2026-08-01 09:30:00.25 UTC)),
        expires_at: Some(datetime!(2026-09-01 00:00 +02:00)),
    }
}

fn created_with_the_least() -> Created {
    Created {
        tenant: tenant("acme"),
        user_id: user("ada"),
        content: Content::new("Invoice 42".into(), String::new(), None).ok(),
        category: None,
        priority: Priority::Normal,
        plan: vec![PlanStep { channel: Channel::InApp }],
        data: None,
        tags: Tags::default(),
        deliver_at: None,
        expires_at: None,
    }
}

/// What each file means, in the words of today.
fn expectations() -> BTreeMap<&'static str, Event> {
    let channel = Channel::InApp;
    let error = |detail: &str| Failure { class: FailureClass::Reported, detail: detail.into() };
    let failed = |detail| Event::DeliveryFailed { channel, attempt: 1, error: error(detail) };
    BTreeMap::from([
        ("notification.created@1.0.0", Event::Created(Box::new(created_with_everything()))),
        ("notification.created@1.0.0-minimal", Event::Created(Box::new(created_with_the_least()))),
        ("notification.released@1.0.0", Event::Released {}),
        ("notification.woken@1.0.0", Event::Woken {}),
        ("notification.seen@1.0.0", Event::Seen {}),
        ("notification.read@1.0.0", Event::Read {}),
        ("notification.unread@1.0.0", Event::Unread {}),
        ("notification.archived@1.0.0", Event::Archived {}),
        ("notification.unarchived@1.0.0", Event::Unarchived {}),
        ("notification.snoozed@1.0.0", Event::Snoozed { until: datetime!(2026-08-02 07:00 UTC) }),
        ("notification.cancelled@1.0.0", Event::Cancelled {}),
        ("notification.expired@1.0.0", Event::Expired {}),
        ("delivery.succeeded@1.0.0", Event::DeliverySucceeded { channel, attempt: 1 }),
        ("delivery.failed@1.0.0", failed("the device is gone")),
        ("delivery.failed@2.0.0", failed("the device is gone")),
        ("delivery.exhausted@1.0.0", Event::DeliveryExhausted { channel, attempts: 1 }),
        ("delivery.dead_lettered@1.0.0", Event::DeliveryDeadLettered { channel }),
        ("delivery.retry_requested@1.0.0", Event::DeliveryRetryRequested { channel, attempt: 2 }),
    ])
}

#[test]
fn the_log_is_read_for_ever() {
    let contract = Contract { families: &["notification.", "delivery."], expectations: expectations() };
    contract.check(&one_event_of_each_kind().collect::<Vec<_>>());
}
