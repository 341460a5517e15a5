//! Creation: once per id, with everything that was decided about the notification in one event.

use serde_json::{Map, json};
use time::macros::datetime;

use crate::notification::{
    Action, Category, Channel, Content, Create, Created, Delivery, DeliveryStatus, Error, Event, Life, Plan,
    Priority, Tags,
};

use super::harness::given;
use super::samples::*;

#[test]
fn creating_a_notification_records_everything_that_was_asked() {
    let deliver_at = datetime!(2026-08-01 09:00 +02:00);
    let content = Content::new("T".into(), "B".into(), Some("/x".into())).unwrap();
    let data = Map::from_iter([("amount".to_owned(), json!(12.5))]);
    let tags = Tags::new(vec!["vip".into(), "q3".into()]).unwrap();
    let category = Category::new("billing".into()).unwrap();
    let asked = Create {
        user: user("ada"),
        content: content.clone(),
        category: Some(category.clone()),
        priority: Priority::Urgent,
        plan: Plan::default(),
        data: Some(data.clone()),
        tags: tags.clone(),
        deliver_at: Some(deliver_at),
        expires_at: Some(EXPIRES_AT),
        now: NOW,
        opening: None,
    };
    let recorded = Created {
        tenant: tenant("acme"),
        user_id: user("ada"),
        content: Some(content),
        category: Some(category),
        priority: Priority::Urgent,
        plan: Plan::default(),
        data: Some(data),
        tags,
        deliver_at: Some(deliver_at),
        expires_at: Some(EXPIRES_AT),
        digest: None,
    };
    given([]).when(Action::Create(Box::new(asked))).then([Event::Created(Box::new(recorded))]);
}

#[test]
fn a_notification_without_a_delivery_time_is_in_the_inbox_at_once() {
    let notification = given([]).when(Action::Create(Box::new(create()))).then([created()]);
    assert_eq!(notification.life, Life::Released);
    assert_eq!(notification.owner, Some((tenant("acme"), user("ada"))));
    assert_eq!(notification.expires_at, Some(EXPIRES_AT));
    assert!(!notification.seen && !notification.read && !notification.archived);
    assert_eq!(notification.snoozed_until, None);
}

#[test]
fn a_notification_with_a_delivery_time_waits_for_it() {
    let asked = Create { deliver_at: Some(RELEASE_AT), ..create() };
    let notification = given([]).when(Action::Create(Box::new(asked))).then([scheduled()]);
    assert_eq!(notification.life, Life::Scheduled { release_at: RELEASE_AT });
}

#[test]
fn the_first_attempt_of_every_planned_channel_is_pending() {
    let notification = given([]).when(Action::Create(Box::new(create()))).then([created()]);
    let first = Delivery::planned(&in_app(), true);
    assert_eq!((first.channel, first.attempt), (Channel::InApp, 1));
    assert_eq!(first.status, DeliveryStatus::Pending);
    assert_eq!(notification.deliveries, [first]);
}

#[test]
fn a_second_create_is_refused_in_every_stage_of_life() {
    for history in [
        vec![created()],
        vec![scheduled()],
        created_and([Event::Cancelled {}]),
        created_and([Event::Expired {}]),
    ] {
        given(history).when(Action::Create(Box::new(create()))).then_err(Error::AlreadyExists);
    }
}
