//! One entry of the stream, a public contract: other services may read it with consumer groups.
//!
//! Fields: `epoch` (first, always), `tenant`, `type`, `event` (the envelope as `/v1/events` lists it), and
//! where the event concerns a user `user_id`; where it changed his inbox also `unread`, `unseen`, `item`.

use redis::streams::StreamId;
use tidings_projections::inbox::{Counts, Folded};
use tidings_projections::log::Epochs;

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub position: i64,
    pub tenant: String,
    pub event_type: String,
    /// The envelope as JSON.
    pub event: String,
    pub user_id: Option<String>,
    pub changed: Option<Changed>,
}

/// What the event altered in its user's inbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    pub counts: Counts,
    /// The item after the change, as JSON.
    pub item: String,
}

impl Entry {
    pub fn new(folded: &Folded, epochs: &Epochs) -> Self {
        let event = &folded.event;
        Self {
            position: event.position,
            tenant: event.tenant.clone(),
            event_type: event.event_type.clone(),
            event: event.envelope(epochs).to_string(),
            user_id: event.recipient.clone(),
            changed: folded.change.as_ref().map(|change| Changed {
                counts: change.counts,
                item: change.item.to_json(epochs.cursor(event.position)),
            }),
        }
    }

    /// Names and values in turn, as XADD takes them.
    pub fn fields(&self, epoch: i64) -> Vec<String> {
        let mut fields = Vec::with_capacity(16);
        let mut field = |name: &str, value: String| fields.extend([name.to_owned(), value]);
        field("epoch", epoch.to_string());
        field("tenant", self.tenant.clone());
        field("type", self.event_type.clone());
        field("event", self.event.clone());
        if let Some(user_id) = &self.user_id {
            field("user_id", user_id.clone());
        }
        if let Some(changed) = &self.changed {
            field("unread", changed.counts.unread.to_string());
            field("unseen", changed.counts.unseen.to_string());
            field("item", changed.item.clone());
        }
        fields
    }

    /// The entry and its epoch; `None` for something that Tidings did not write.
    pub fn parse(id: &StreamId) -> Option<(i64, Self)> {
        let position = id.id.strip_suffix("-0")?.parse().ok()?;
        let changed = match id.get("item") {
            Some(item) => Some(Changed {
                counts: Counts { unread: id.get("unread")?, unseen: id.get("unseen")? },
                item,
            }),
            None => None,
        };
        let entry = Self {
            position,
            tenant: id.get("tenant")?,
            event_type: id.get("type")?,
            event: id.get("event")?,
            user_id: id.get("user_id"),
            changed,
        };
        Some((id.get("epoch")?, entry))
    }
}
