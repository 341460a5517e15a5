//! Folds events into intervals: those that begin in a batch, and those from before it that end there.

use std::collections::HashMap;

use tidings_domain::subscription::Event;

use crate::log::{Fact, Recorded, Unreadable};
use crate::read_model::FoldError;

/// Tenant, topic and user.
pub(super) type Key = (String, String, String);

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

/// What a batch leaves behind.
#[derive(Default)]
pub(super) struct Rows {
    pub begun: HashMap<Key, Vec<Interval>>,
    /// Where the interval that stood open before the batch ends.
    pub ended: HashMap<Key, i64>,
}

impl Rows {
    pub fn is_empty(&self) -> bool {
        self.begun.is_empty() && self.ended.is_empty()
    }

    /// An error leaves everything as it was.
    pub fn fold(&mut self, event: &Recorded) -> Result<(), FoldError> {
        let fact = match &event.fact {
            Fact::Subscription(_, fact) => fact,
            Fact::Unreadable(why) => {
                return Err(Unreadable { position: event.position, why: why.clone() }.into());
            }
            Fact::Notification(..) | Fact::Recipient(..) | Fact::Template(..) | Fact::Settings(..) => {
                return Ok(());
            }
        };
        let position = event.position;
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
        Ok(())
    }
}
