//! What may be asked of a notification. Instants come in with the command; no rule looks at a clock.

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{Category, Channel, Content, PlanStep, Priority, Tags};
use crate::{Issuer, UserId};

#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub issuer: Issuer,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Create(Box<Create>),
    /// Its `deliver_at` has come. Named instants other than the current one change nothing.
    Release {
        at: OffsetDateTime,
    },
    /// Its snooze is over.
    Wake {
        at: OffsetDateTime,
    },
    /// Its `expires_at` has come.
    Expire {
        at: OffsetDateTime,
    },
    /// The outcome of an attempt on a channel; `attempt` defaults to the current one.
    Deliver {
        channel: Channel,
        attempt: Option<u32>,
        outcome: Outcome,
    },
    /// Try a dead-lettered channel once more; without a channel, whichever was dead-lettered.
    Retry {
        channel: Option<Channel>,
    },
    MarkSeen,
    MarkRead,
    MarkUnread,
    Archive,
    Unarchive,
    Snooze {
        until: OffsetDateTime,
    },
    Cancel,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Create {
    pub user: UserId,
    pub content: Content,
    pub category: Option<Category>,
    pub priority: Priority,
    pub plan: Vec<PlanStep>,
    pub data: Option<Map<String, Value>>,
    pub tags: Tags,
    /// Hidden until `.released`; `None` shows at once.
    pub deliver_at: Option<OffsetDateTime>,
    /// Gone from every inbox after `.expired`.
    pub expires_at: Option<OffsetDateTime>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    /// What went wrong, in the reporter's words.
    Failed {
        detail: String,
    },
}
