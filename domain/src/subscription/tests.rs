//! A subscription is begun and ended, and nothing is said twice.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::collections::BTreeMap;

use super::*;
use crate::SubscriptionId;
use crate::golden::Contract;

fn tenant(name: &str) -> Tenant {
    Tenant::try_from(name.to_owned()).unwrap()
}

fn topic(name: &str) -> Topic {
    Topic::try_from(name.to_owned()).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::try_from(name.to_owned()).unwrap()
}

fn subscribed() -> Event {
    Event::Subscribed { tenant: tenant("acme"), topic: topic("news:de"), user_id: user("ada") }
}

fn unsubscribed() -> Event {
    Event::Unsubscribed { tenant: tenant("acme"), topic: topic("news:de"), user_id: user("ada") }
}

fn decided(events: &[Event], action: Action) -> Option<Event> {
    let mut subscription = Subscription::default();
    events.iter().for_each(|event| subscription.evolve(event));
    let (tenant, topic, user) = (tenant("acme"), topic("news:de"), user("ada"));
    subscription.decide(&Command { tenant, topic, user, action })
}

#[test]
fn the_log_is_read_for_ever() {
    let expectations = BTreeMap::from([
        ("topic.subscribed@1.0.0", subscribed()),
        ("topic.unsubscribed@1.0.0", unsubscribed()),
    ]);
    Contract { families: &["topic."], expectations }.check(&[subscribed(), unsubscribed()]);
}

#[test]
fn whoever_is_not_subscribed_can_subscribe_and_whoever_is_can_leave_and_come_back() {
    assert_eq!(decided(&[], Action::Subscribe), Some(subscribed()));
    assert_eq!(decided(&[subscribed()], Action::Unsubscribe), Some(unsubscribed()));
    assert_eq!(decided(&[subscribed(), unsubscribed()], Action::Subscribe), Some(subscribed()));
}

#[test]
fn what_is_already_so_is_no_event() {
    assert_eq!(decided(&[], Action::Unsubscribe), None);
    assert_eq!(decided(&[subscribed()], Action::Subscribe), None);
    assert_eq!(decided(&[subscribed(), unsubscribed()], Action::Unsubscribe), None);
}

#[test]
fn a_topic_is_named_by_what_a_path_can_hold() {
    for name in ["a", "0", "Weather.Vienna_1:x-y", &"t".repeat(128)] {
        assert_eq!(topic(name).as_str(), name);
    }
    for name in ["", ".", "..", "-a", ":a", "_", "a b", "a/b", "ä", "a\n", "a%20b", &"t".repeat(129)] {
        assert!(Topic::try_from(name.to_owned()).is_err(), "{name:?}");
    }
}

#[test]
fn an_id_tells_the_tenant_from_the_topic_and_the_topic_from_the_user() {
    let id = |tenant_name: &str, topic_name: &str, user_name: &str| SubscriptionId {
        tenant: tenant(tenant_name),
        topic: topic(topic_name),
        user: user(user_name),
    };
    assert_eq!(id("acme", "news", "ada").to_string(), "sub_4:acme4:newsada");
    for id in
        [id("acme", "news", "ada"), id("acme4", "new", "sada"), id("a", "1:b", "2:cd"), id("a", "b", "💶")]
    {
        assert_eq!(id.to_string().parse::<SubscriptionId>().unwrap(), id);
    }
    for text in ["", "sub_", "sub_4:acme", "sub_4:acme4:news", "sub_4:acme04:newsada", "rcp_4:acme4:newsada"]
    {
        assert!(text.parse::<SubscriptionId>().is_err(), "{text:?}");
    }
}
