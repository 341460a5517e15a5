//! The fold, without a database: who was subscribed where, however the log is cut and repeated.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;
use tidings_domain::subscription::{Action, Command, Event, Subscription, Topic};
use tidings_domain::{SubscriptionId, Tenant, UserId};
use time::OffsetDateTime;

use super::fold::{Interval, Key, Rows};
use crate::log::{Fact, Recorded};
use crate::read_model::FoldError;
use crate::tests::histories::Xorshift;

type Table = BTreeMap<(Key, i64), Option<i64>>;

/// As `store` does it in SQL.
fn store(table: &mut Table, batch: &[Recorded]) {
    let mut rows = Rows::default();
    batch.iter().for_each(|event| rows.fold(event).unwrap());
    for (key, position) in rows.ended {
        let of_key = table.range_mut((key.clone(), 0)..(key, position));
        of_key.filter(|(_, until)| until.is_none()).for_each(|(_, until)| *until = Some(position));
    }
    for (key, begun) in rows.begun {
        table.extend(begun.into_iter().map(|Interval { since, until }| ((key.clone(), since), until)));
    }
}

fn id(random: &mut Xorshift) -> SubscriptionId {
    SubscriptionId {
        tenant: Tenant::try_from(["acme", "other"][random.below(2)].to_owned()).unwrap(),
        topic: Topic::try_from(["news", "weather"][random.below(2)].to_owned()).unwrap(),
        user: UserId::try_from(["ada", "bob"][random.below(2)].to_owned()).unwrap(),
    }
}

fn recorded(position: i64, id: SubscriptionId, event: Event) -> Recorded {
    Recorded {
        position,
        recorded_at: OffsetDateTime::UNIX_EPOCH,
        tenant: id.tenant.to_string(),
        recipient: Some(id.user.to_string()),
        aggregate_type: "subscription".into(),
        aggregate_id: id.to_string(),
        sequence: 0,
        event_type: event.name().into(),
        event_version: String::new(),
        payload: Value::Null,
        metadata: RawValue::NULL.to_owned(),
        stored_bytes: 0,
        fact: Fact::Subscription(id, event),
    }
}

/// What the aggregates decide, and who is subscribed after each event.
fn history(random: &mut Xorshift) -> Vec<(Recorded, Vec<Key>)> {
    let mut states: BTreeMap<Key, Subscription> = BTreeMap::new();
    let mut log = Vec::new();
    for _ in 0..80 {
        let id = id(random);
        let SubscriptionId { tenant, topic, user } = id.clone();
        let key = (tenant.to_string(), topic.to_string(), user.to_string());
        let action = [Action::Subscribe, Action::Unsubscribe][random.below(2)];
        let state = states.entry(key).or_default();
        let Some(event) = state.decide(&Command { tenant, topic, user, action }) else { continue };
        state.evolve(&event);
        let subscribed = states.iter().filter(|(_, state)| state.subscribed).map(|(key, _)| key.clone());
        let after = subscribed.collect();
        log.push((recorded(log.len() as i64 + 1, id, event), after));
    }
    log
}

#[test]
fn who_was_subscribed_at_any_position_is_told_however_the_log_is_cut_and_repeated() {
    for number in 1..=200_u64 {
        let mut random = Xorshift(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number) | 1);
        let history = history(&mut random);
        let (log, after): (Vec<_>, Vec<_>) = history.into_iter().unzip();
        let (mut table, mut at) = (Table::new(), 0);
        while at < log.len() {
            let end = (at + 1 + random.below(12)).min(log.len());
            store(&mut table, &log[at..end]);
            let once = table.clone();
            store(&mut table, &log[at..end]);
            assert_eq!(table, once, "the same events twice");
            at = end;
        }
        for (position, expected) in (1..).zip(&after) {
            let held = |since: i64, until: Option<i64>| {
                since <= position && until.is_none_or(|until| until > position)
            };
            let told = table.iter().filter(|((_, since), until)| held(*since, **until));
            let told: Vec<Key> = told.map(|((key, _), _)| key.clone()).collect();
            assert_eq!(told, *expected, "at {position}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_refused_and_changes_nothing() {
    let id = id(&mut Xorshift(1));
    let SubscriptionId { tenant, topic, user } = id.clone();
    let event = Event::Subscribed { tenant, topic, user_id: user };
    let unreadable = Recorded { fact: Fact::Unreadable("a broken seal".into()), ..recorded(1, id, event) };
    let mut rows = Rows::default();
    assert!(matches!(rows.fold(&unreadable), Err(FoldError::Unreadable(_))));
    assert!(rows.is_empty());
}
