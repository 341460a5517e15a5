//! Folds events into intervals, those that begin in a batch and those from before it that end there, and into how far
//! broadcasts have come.

use std::collections::HashMap;

use tidings_domain::broadcast::{self, Audience, Life};
use tidings_domain::subscription::Event;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::log::{Fact, Recorded, Unreadable};
use crate::read_model::FoldError;

/// Tenant, topic and user.
pub(super) type Key = (String, String, String);
/// Tenant and broadcast.
pub(super) type BroadcastKey = (String, Uuid);

/// From the event that began it to the one that ended it, if one did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub since: i64,
    pub until: Option<i64>,
}

impl Interval {
    /// Its last change.
    pub fn position(self) -> i64 {
        self.until.unwrap_or(self.since)
    }
}

/// What never changes of a broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub topic: Option<String>,
    pub total: Option<i64>,
    pub created: i64,
    pub created_at: OffsetDateTime,
}

/// How far a broadcast has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    pub life: Life,
    pub notifications: i64,
    pub position: i64,
}

/// What a batch leaves behind.
#[derive(Default)]
pub(super) struct Rows {
    pub begun: HashMap<Key, Vec<Interval>>,
    /// Where the interval that stood open before the batch ends.
    pub ended: HashMap<Key, i64>,
    pub broadcasts: HashMap<BroadcastKey, Begun>,
    /// Of those, and of those that stood before the batch.
    pub reached: HashMap<BroadcastKey, Reached>,
}

impl Rows {
    pub fn is_empty(&self) -> bool {
        self.begun.is_empty() && self.ended.is_empty() && self.reached.is_empty()
    }

    /// An error leaves everything as it was.
    pub fn fold(&mut self, event: &Recorded) -> Result<(), FoldError> {
        match &event.fact {
            Fact::Subscription(_, fact) => self.subscription(event.position, fact),
            Fact::Broadcast(id, fact) => self.broadcast(event, id.uuid(), fact),
            Fact::Unreadable(why) => {
                return Err(Unreadable { position: event.position, why: why.clone() }.into());
            }
            Fact::Notification(..)
            | Fact::Recipient(..)
            | Fact::Template(..)
            | Fact::Settings(..)
            | Fact::Source(..)
            | Fact::Hook(..)
            | Fact::Admission(..)
            | Fact::Schedule(..)
            | Fact::Digest(..) => {}
        }
        Ok(())
    }

    fn subscription(&mut self, position: i64, fact: &Event) {
        let key = |tenant: &dyn ToString, topic: &dyn ToString, user: &dyn ToString| {
            (tenant.to_string(), topic.to_string(), user.to_string())
        };
        match fact {
            Event::Subscribed { tenant, topic, user_id } => {
                let begun = self.begun.entry(key(tenant, topic, user_id)).or_default();
                begun.push(Interval { since: position, until: None });
            }
            Event::Unsubscribed { tenant, topic, user_id } => {
                let key = key(tenant, topic, user_id);
                match self.begun.get_mut(&key).and_then(|begun| begun.last_mut()) {
                    Some(open) => open.until = Some(position),
                    None => _ = self.ended.insert(key, position),
                }
            }
        }
    }

    fn broadcast(&mut self, event: &Recorded, id: Uuid, fact: &broadcast::Event) {
        let (key, position) = ((event.tenant.clone(), id), event.position);
        let (life, notifications) = match fact {
            broadcast::Event::Created(created) => {
                let (topic, total) = match &created.audience {
                    Audience::Topic(topic) => (Some(topic.to_string()), None),
                    Audience::UserIds(users) => (None, Some(users.as_slice().len() as i64)),
                };
                let begun = Begun { topic, total, created: position, created_at: event.recorded_at };
                self.broadcasts.insert(key.clone(), begun);
                (Life::Running, 0)
            }
            broadcast::Event::Progressed { notifications, .. } => {
                (Life::Running, notifications.cast_signed())
            }
            broadcast::Event::Completed { notifications } => (Life::Completed, notifications.cast_signed()),
            broadcast::Event::Cancelled { notifications } => (Life::Cancelled, notifications.cast_signed()),
        };
        self.reached.insert(key, Reached { life, notifications, position });
    }
}
