//! The facts of a notification, as they are stored, listed, mirrored and sent: one name everywhere.
//!
//! A stored event never changes meaning. A new meaning is a new version here, an upcaster in
//! [`crate::upcast`] and a golden file under `golden/`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{
    Category, Channel, Collected, Content, DeferReason, Digest, Digested, Failure, Plan, Priority,
    SkipReason, Tags,
};
use crate::decode::{DecodeError, stored, tagged};
use crate::{Tenant, UserId};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    #[serde(rename = "notification.created")]
    Created(Box<Created>),
    #[serde(rename = "notification.released")]
    Released {},
    #[serde(rename = "notification.woken")]
    Woken {},
    #[serde(rename = "notification.seen")]
    Seen {},
    /// Read implies seen.
    #[serde(rename = "notification.read")]
    Read {},
    #[serde(rename = "notification.unread")]
    Unread {},
    #[serde(rename = "notification.archived")]
    Archived {},
    #[serde(rename = "notification.unarchived")]
    Unarchived {},
    #[serde(rename = "notification.snoozed")]
    Snoozed {
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
    },
    #[serde(rename = "notification.cancelled")]
    Cancelled {},
    #[serde(rename = "notification.expired")]
    Expired {},
    /// One more item of a digest, which waits for its release.
    #[serde(rename = "notification.collected")]
    Collected(Box<Collected>),
    /// What a digest says from here on; its release follows.
    #[serde(rename = "notification.digested")]
    Digested(Box<Digested>),
    /// The turn of a step has come, because the one before it failed or was skipped, or by time.
    #[serde(rename = "delivery.fallback_activated")]
    DeliveryFallbackActivated {
        from: Channel,
        channel: Channel,
        #[serde(with = "time::serde::rfc3339")]
        due_at: OffsetDateTime,
    },
    /// Somebody is about to call, and has the attempt to himself until the deadline.
    #[serde(rename = "delivery.started")]
    DeliveryStarted {
        channel: Channel,
        attempt: u32,
        #[serde(with = "time::serde::rfc3339")]
        deadline: OffsetDateTime,
    },
    #[serde(rename = "delivery.succeeded")]
    DeliverySucceeded {
        channel: Channel,
        attempt: u32,
        /// What the provider calls it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider_ref: Option<String>,
    },
    #[serde(rename = "delivery.failed")]
    DeliveryFailed { channel: Channel, attempt: u32, error: Failure },
    /// The next attempt, numbered here, may begin then.
    #[serde(rename = "delivery.retry_scheduled")]
    DeliveryRetryScheduled {
        channel: Channel,
        attempt: u32,
        #[serde(with = "time::serde::rfc3339")]
        due_at: OffsetDateTime,
    },
    /// The attempt, numbered here, waits until then, though nothing has failed.
    #[serde(rename = "delivery.deferred")]
    DeliveryDeferred {
        channel: Channel,
        attempt: u32,
        #[serde(with = "time::serde::rfc3339")]
        due_at: OffsetDateTime,
        reason: DeferReason,
    },
    /// The channel is not used. That is no failure.
    #[serde(rename = "delivery.skipped")]
    DeliverySkipped { channel: Channel, reason: SkipReason },
    /// The channel has no attempt left.
    #[serde(rename = "delivery.exhausted")]
    DeliveryExhausted { channel: Channel, attempts: u32 },
    /// No channel of the plan is left to try.
    #[serde(rename = "delivery.dead_lettered")]
    DeliveryDeadLettered { channel: Channel },
    /// Somebody asked for one more attempt, numbered here.
    #[serde(rename = "delivery.retry_requested")]
    DeliveryRetryRequested { channel: Channel, attempt: u32 },
}

/// Everything that was decided when the notification was made; nothing of it changes afterwards, but for what a digest says
/// in the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Created {
    pub tenant: Tenant,
    pub user_id: UserId,
    /// `None` once the recipient's key was destroyed: the words are forgotten, the fact stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    pub priority: Priority,
    pub plan: Plan,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub deliver_at: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<OffsetDateTime>,
    /// It collects until its release, and says this of what it has collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

stored! { Event {
    Self::Created(_) => "notification.created" @ "1.0.0",
    Self::Released {} => "notification.released" @ "1.0.0",
    Self::Woken {} => "notification.woken" @ "1.0.0",
    Self::Seen {} => "notification.seen" @ "1.0.0",
    Self::Read {} => "notification.read" @ "1.0.0",
    Self::Unread {} => "notification.unread" @ "1.0.0",
    Self::Archived {} => "notification.archived" @ "1.0.0",
    Self::Unarchived {} => "notification.unarchived" @ "1.0.0",
    Self::Snoozed { .. } => "notification.snoozed" @ "1.0.0",
    Self::Cancelled {} => "notification.cancelled" @ "1.0.0",
    Self::Expired {} => "notification.expired" @ "1.0.0",
    Self::Collected(_) => "notification.collected" @ "1.0.0",
    Self::Digested(_) => "notification.digested" @ "1.0.0",
    Self::DeliveryFallbackActivated { .. } => "delivery.fallback_activated" @ "1.0.0",
    Self::DeliveryStarted { .. } => "delivery.started" @ "1.0.0",
    Self::DeliverySucceeded { .. } => "delivery.succeeded" @ "1.0.0",
    // 1.0.0 held the error as one text.
    Self::DeliveryFailed { .. } => "delivery.failed" @ "2.0.0",
    Self::DeliveryRetryScheduled { .. } => "delivery.retry_scheduled" @ "1.0.0",
    Self::DeliveryDeferred { .. } => "delivery.deferred" @ "1.0.0",
    Self::DeliverySkipped { .. } => "delivery.skipped" @ "1.0.0",
    Self::DeliveryExhausted { .. } => "delivery.exhausted" @ "1.0.0",
    Self::DeliveryDeadLettered { .. } => "delivery.dead_lettered" @ "1.0.0",
    Self::DeliveryRetryRequested { .. } => "delivery.retry_requested" @ "1.0.0",
} by decode }

impl Event {
    /// Whose delivery it is about, if it is about one.
    pub fn channel(&self) -> Option<Channel> {
        match self {
            Self::DeliveryFallbackActivated { channel, .. }
            | Self::DeliveryStarted { channel, .. }
            | Self::DeliverySucceeded { channel, .. }
            | Self::DeliveryFailed { channel, .. }
            | Self::DeliveryRetryScheduled { channel, .. }
            | Self::DeliveryDeferred { channel, .. }
            | Self::DeliverySkipped { channel, .. }
            | Self::DeliveryExhausted { channel, .. }
            | Self::DeliveryDeadLettered { channel }
            | Self::DeliveryRetryRequested { channel, .. } => Some(*channel),
            Self::Created(_)
            | Self::Released {}
            | Self::Woken {}
            | Self::Seen {}
            | Self::Read {}
            | Self::Unread {}
            | Self::Archived {}
            | Self::Unarchived {}
            | Self::Snoozed { .. }
            | Self::Cancelled {}
            | Self::Expired {}
            | Self::Collected(_)
            | Self::Digested(_) => None,
        }
    }
}

fn decode(name: &str, version: &str, payload: &Value) -> Result<Event, DecodeError> {
    // By far the largest, and most of a log: read without a copy of it.
    if name == "notification.created" {
        let created = Created::deserialize(payload);
        let created = created.map_err(|source| DecodeError::malformed(name, version, source))?;
        return Ok(Event::Created(Box::new(created)));
    }
    tagged(name, version, payload)
}
