//! What may be asked of a notification. Instants come in with the command; no rule looks at a clock.

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{
    Category, Channel, Content, DeferReason, Digest, Failure, FailureClass, Item, Jitter, Plan, Priority,
    SkipReason, Tags,
};
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
    /// The turn of a step of the plan has come by time.
    Activate {
        channel: Channel,
        at: OffsetDateTime,
    },
    /// An attempt begins `now` and is left to whoever began it until `deadline`. One that has outlived its own is lost,
    /// and the attempt after it is the next to begin.
    Start {
        channel: Channel,
        attempt: u32,
        now: OffsetDateTime,
        deadline: OffsetDateTime,
    },
    /// The next attempt may not begin before `until`, whoever is ready for it `now`.
    Defer {
        channel: Channel,
        attempt: u32,
        now: OffsetDateTime,
        until: OffsetDateTime,
        reason: DeferReason,
    },
    /// The outcome of an attempt on a channel, known at an instant; `attempt` defaults to the current one.
    Deliver {
        channel: Channel,
        attempt: Option<u32>,
        outcome: Outcome,
        at: OffsetDateTime,
    },
    /// Try once more what failed for good; without a channel, whichever was dead-lettered.
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
    pub plan: Plan,
    pub data: Option<Map<String, Value>>,
    pub tags: Tags,
    /// Hidden until `.released`; `None` shows at once.
    pub deliver_at: Option<OffsetDateTime>,
    /// Gone from every inbox after `.expired`.
    pub expires_at: Option<OffsetDateTime>,
    /// When it is asked for; what is shown at once has its plan counted from here.
    pub now: OffsetDateTime,
    /// It collects until its `deliver_at`.
    pub opening: Option<Opening>,
}

/// A digest as it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    pub digest: Digest,
    /// What the notification itself says, as the first of its items.
    pub first: Item,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Delivered {
        /// What the provider calls it.
        provider_ref: Option<String>,
    },
    Failed {
        failure: Failure,
        /// How long the server asks to be left alone, in seconds.
        retry_after_s: Option<u32>,
        /// Where between its bounds the wait for the next attempt lies.
        jitter: Jitter,
    },
    /// Nobody was called.
    Skipped { reason: SkipReason },
}

impl Outcome {
    pub fn delivered() -> Self {
        Self::Delivered { provider_ref: None }
    }

    /// What a service reports, in its own words. No other attempt follows, so nothing is drawn for it.
    pub fn reported(detail: String) -> Self {
        let failure = Failure { class: FailureClass::Reported, detail };
        Self::Failed { failure, retry_after_s: None, jitter: Jitter(0) }
    }
}
