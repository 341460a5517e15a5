//! Folds events into items, counters and changes, in memory and in order. No SQL, no clock: the same events
//! give the same rows, whoever folds them and however often.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidings_domain::notification::{Created, Digested, Event};
use uuid::Uuid;

use super::item::{Change, Counts, Ended, Fixed, Item, ItemState};
use crate::log::Recorded;
use crate::read_model::{FoldError, UserKey, recipient};

/// An event that was folded in, with the change it made where it made one.
#[derive(Clone, Debug)]
pub struct Folded {
    pub event: Arc<Recorded>,
    pub change: Option<Change>,
}

/// Tenant, user and notification.
pub(super) type ItemKey = (String, String, Uuid);

/// The rows a batch touches: loaded before, folded, written after.
#[derive(Default)]
pub(super) struct Rows {
    pub items: HashMap<ItemKey, ItemState>,
    /// With the last event of the batch that touched them.
    pub counters: HashMap<UserKey, (Counts, Option<i64>)>,
    /// Items that this batch creates.
    pub made: HashSet<ItemKey>,
    /// Items that stood before and were changed.
    pub moved: HashSet<ItemKey>,
    /// Those of them that say something else now.
    pub reworded: HashSet<ItemKey>,
}

/// The item an event alters, unless it creates it or alters none.
pub(super) fn altered_item(event: &Recorded) -> Option<ItemKey> {
    let (id, fact) = event.notification().ok()??;
    match fact {
        Event::Created(_)
        | Event::Collected(_)
        | Event::DeliveryFallbackActivated { .. }
        | Event::DeliveryStarted { .. }
        | Event::DeliverySucceeded { .. }
        | Event::DeliveryFailed { .. }
        | Event::DeliveryRetryScheduled { .. }
        | Event::DeliveryDeferred { .. }
        | Event::DeliverySkipped { .. }
        | Event::DeliveryExhausted { .. }
        | Event::DeliveryDeadLettered { .. }
        | Event::DeliveryRetryRequested { .. } => None,
        Event::Released {}
        | Event::Woken {}
        | Event::Seen {}
        | Event::Read {}
        | Event::Unread {}
        | Event::Archived {}
        | Event::Unarchived {}
        | Event::Snoozed { .. }
        | Event::Cancelled {}
        | Event::Expired {}
        | Event::Digested(_) => Some((event.tenant.clone(), event.recipient.clone()?, id.uuid())),
    }
}

impl Rows {
    /// Folds one event; the answer is what its user sees of it, if anything. An error leaves the rows as they were.
    pub fn fold(&mut self, event: &Recorded) -> Result<Option<Change>, FoldError> {
        let Some((id, fact)) = event.notification()? else { return Ok(None) };
        let (tenant, user_id) = recipient(event)?;
        let key = (tenant, user_id, id.uuid());
        if let Event::Created(created) = fact {
            return Ok(self.create(event, key, created));
        }
        if altered_item(event).is_none() {
            return Ok(None);
        }
        let Some(item) = self.items.get_mut(&key) else {
            return Err(FoldError::never_created(event));
        };
        if item.is_elsewhere() {
            return Ok(None);
        }
        let reworded = match fact {
            Event::Digested(digested) => Some(reworded(&item.content, digested)),
            _ => None,
        };
        let reworded = reworded.transpose().map_err(|_| FoldError::Damaged { position: event.position })?;
        if !self.made.contains(&key) {
            self.moved.insert(key.clone());
            self.reworded.extend(reworded.is_some().then(|| key.clone()));
        }
        let before = item.counts();
        let was_listed = item.listed.is_some();
        alter(item, event, fact);
        reworded.into_iter().for_each(|content| item.content = content);
        let (after, state) = (item.counts(), item.clone());
        let counts = self.count(&key, event.position, before, after);
        Ok((was_listed || state.listed.is_some()).then(|| change(event, key, state, counts)))
    }

    fn create(&mut self, event: &Recorded, key: ItemKey, created: &Created) -> Option<Change> {
        if !created.plan.is_in_inbox() {
            self.made.insert(key.clone());
            self.items.insert(key, ItemState::elsewhere(event.position));
            return None;
        }
        let fixed = Fixed::of(created, event.recorded_at);
        let content = serde_json::to_string(&fixed).expect("strings and JSON values always serialise");
        let state = ItemState {
            listed: created.deliver_at.is_none().then_some(event.position),
            position: event.position,
            category: fixed.category.as_deref().map(Arc::from),
            tags: fixed.tags.into(),
            content: content.into(),
            seen_at: None,
            read_at: None,
            archived_at: None,
            snoozed_until: None,
            ended: None,
        };
        let counts = self.count(&key, event.position, Counts::default(), state.counts());
        self.made.insert(key.clone());
        self.items.insert(key.clone(), state.clone());
        state.listed.is_some().then(|| change(event, key, state, counts))
    }

    fn count(
        &mut self,
        (tenant, user_id, _): &ItemKey,
        position: i64,
        before: Counts,
        after: Counts,
    ) -> Counts {
        let (counts, touched) = self.counters.entry((tenant.clone(), user_id.clone())).or_default();
        *touched = Some(position);
        counts.unread += after.unread - before.unread;
        counts.unseen += after.unseen - before.unseen;
        *counts
    }
}

fn alter(item: &mut ItemState, event: &Recorded, fact: &Event) {
    item.position = event.position;
    let now = Some(event.recorded_at);
    match fact {
        Event::Released {} => item.listed = Some(event.position),
        Event::Woken {} => item.snoozed_until = None,
        Event::Seen {} => item.seen_at = item.seen_at.or(now),
        Event::Read {} => (item.seen_at, item.read_at) = (item.seen_at.or(now), now),
        Event::Unread {} => item.read_at = None,
        Event::Archived {} => item.archived_at = now,
        Event::Unarchived {} => item.archived_at = None,
        Event::Snoozed { until } => item.snoozed_until = Some(*until),
        Event::Cancelled {} => item.ended = Some(Ended::Cancelled),
        Event::Expired {} => item.ended = Some(Ended::Expired),
        Event::Created(_)
        | Event::Collected(_)
        | Event::Digested(_)
        | Event::DeliveryFallbackActivated { .. }
        | Event::DeliveryStarted { .. }
        | Event::DeliverySucceeded { .. }
        | Event::DeliveryFailed { .. }
        | Event::DeliveryRetryScheduled { .. }
        | Event::DeliveryDeferred { .. }
        | Event::DeliverySkipped { .. }
        | Event::DeliveryExhausted { .. }
        | Event::DeliveryDeadLettered { .. }
        | Event::DeliveryRetryRequested { .. } => {}
    }
}

/// What an item says, in the words of its digest.
fn reworded(content: &str, digested: &Digested) -> serde_json::Result<Arc<str>> {
    let fixed: Fixed = serde_json::from_str(content)?;
    let fixed = fixed.saying(digested.content.clone(), digested.data.clone());
    Ok(serde_json::to_string(&fixed)?.into())
}

fn change(
    event: &Recorded,
    (tenant, user_id, notification): ItemKey,
    state: ItemState,
    counts: Counts,
) -> Change {
    Change { tenant, user_id, event: event.event_type.clone(), item: Item { notification, state }, counts }
}
