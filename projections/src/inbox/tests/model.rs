//! What an inbox must be, worked out from the whole log anew for every question: slow, and without a state of
//! its own that could be wrong.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidings_domain::notification::{Channel, Created, Event};
use uuid::Uuid;

use crate::inbox::fold::ItemKey;
use crate::inbox::item::{Change, Counts, Ended, Fixed, Item, ItemState};
use crate::log::Recorded;
use crate::read_model::UserKey;
use crate::tests::histories::{fact, item_key};

type Log = [Arc<Recorded>];

/// What the user sees of the last event of the log.
pub fn change_by_last(log: &Log) -> Option<Change> {
    let (last, before) = log.split_last().unwrap();
    let key = item_key(last);
    let state = item(log, &key)?;
    let was_listed = item(before, &key).is_some_and(|item| item.listed.is_some());
    let visible = was_listed || state.listed.is_some();
    if leaves_the_item(fact(last)) || !visible {
        return None;
    }
    let (tenant, user_id, notification) = key;
    let counts = counts(log, &(tenant.clone(), user_id.clone()));
    Some(Change {
        tenant,
        user_id,
        event: last.event_type.clone(),
        item: Item { notification, state },
        counts,
    })
}

/// Every item that the log ever made.
pub fn items(log: &Log) -> impl Iterator<Item = (ItemKey, ItemState)> {
    let keys: BTreeSet<ItemKey> = log.iter().map(|event| item_key(event)).collect();
    keys.into_iter().filter_map(|key| Some((key.clone(), item(log, &key)?)))
}

pub fn counts(log: &Log, (tenant, user): &UserKey) -> Counts {
    let own = log.iter().map(|event| item_key(event)).filter(|key| key.0 == *tenant && key.1 == *user);
    let notifications: BTreeSet<Uuid> = own.map(|key| key.2).collect();
    let items = notifications.into_iter().filter_map(|id| item(log, &(tenant.clone(), user.clone(), id)));
    let (mut unread, mut unseen) = (0, 0);
    for item in items {
        let hidden = item.listed.is_none() || item.ended.is_some();
        if hidden || item.archived_at.is_some() || item.snoozed_until.is_some() {
            continue;
        }
        unread += i64::from(item.read_at.is_none());
        unseen += i64::from(item.seen_at.is_none());
    }
    Counts { unread, unseen }
}

fn item(log: &Log, key: &ItemKey) -> Option<ItemState> {
    let own: Vec<&Recorded> = log.iter().map(Arc::as_ref).filter(|event| item_key(event) == *key).collect();
    let first = |kind: fn(&Event) -> bool| own.iter().find(|event| kind(fact(event))).copied();
    let last = |kind: fn(&Event) -> bool| own.iter().rev().find(|event| kind(fact(event))).copied();
    // The last event that does it, unless one that undoes it came later.
    let in_force = |does: fn(&Event) -> bool, undoes: fn(&Event) -> bool| {
        last(does).filter(|done| last(undoes).is_none_or(|undone| undone.position < done.position))
    };
    let (creation, created) = own.iter().find_map(|event| Some((*event, as_created(fact(event))?)))?;
    if created.plan.steps().iter().all(|step| step.channel != Channel::InApp) {
        return Some(ItemState::elsewhere(creation.position));
    }
    let mut said = created.clone();
    if let Some(Event::Digested(digested)) = last(|e| matches!(e, Event::Digested(_))).map(fact) {
        (said.content, said.data) = (digested.content.clone(), digested.data.clone());
    }
    let snooze = in_force(|e| matches!(e, Event::Snoozed { .. }), |e| matches!(e, Event::Woken {}));
    Some(ItemState {
        listed: match created.deliver_at {
            None => Some(creation.position),
            Some(_) => first(|e| matches!(e, Event::Released {})).map(|event| event.position),
        },
        position: last(|e| !leaves_the_item(e))?.position,
        category: created.category.as_ref().map(|category| category.as_str().into()),
        tags: created.tags.as_slice().into(),
        content: serde_json::to_string(&Fixed::of(&said, creation.recorded_at)).unwrap().into(),
        seen_at: first(|e| matches!(e, Event::Seen {} | Event::Read {})).map(|event| event.recorded_at),
        read_at: in_force(|e| matches!(e, Event::Read {}), |e| matches!(e, Event::Unread {}))
            .map(|event| event.recorded_at),
        archived_at: in_force(|e| matches!(e, Event::Archived {}), |e| matches!(e, Event::Unarchived {}))
            .map(|event| event.recorded_at),
        snoozed_until: snooze.and_then(|event| match fact(event) {
            Event::Snoozed { until } => Some(*until),
            _ => None,
        }),
        ended: last(|e| matches!(e, Event::Cancelled {} | Event::Expired {})).map(|event| {
            match fact(event) {
                Event::Expired {} => Ended::Expired,
                _ => Ended::Cancelled,
            }
        }),
    })
}

fn as_created(event: &Event) -> Option<&Created> {
    match event {
        Event::Created(created) => Some(created),
        _ => None,
    }
}

fn leaves_the_item(event: &Event) -> bool {
    event.name().starts_with("delivery.") || matches!(event, Event::Collected(_))
}
