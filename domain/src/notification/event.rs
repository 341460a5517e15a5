//! The facts of a notification, as they are stored, listed, mirrored and sent: one name everywhere.
//!
//! A stored event never changes meaning. A new meaning is a new version here, an upcaster in
//! [`crate::upcast`] and a golden file under `golden/`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{Category, Channel, Content, Failure, Plan, Priority, SkipReason, Tags};
use crate::decode::{DecodeError, Stored, check_version, tagged};
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

/// Everything that was decided when the notification was made; nothing of it changes afterwards.
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
}

impl Event {
    /// The stored name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created(_) => "notification.created",
            Self::Released {} => "notification.released",
            Self::Woken {} => "notification.woken",
            Self::Seen {} => "notification.seen",
            Self::Read {} => "notification.read",
            Self::Unread {} => "notification.unread",
            Self::Archived {} => "notification.archived",
            Self::Unarchived {} => "notification.unarchived",
            Self::Snoozed { .. } => "notification.snoozed",
            Self::Cancelled {} => "notification.cancelled",
            Self::Expired {} => "notification.expired",
            Self::DeliveryFallbackActivated { .. } => "delivery.fallback_activated",
            Self::DeliveryStarted { .. } => "delivery.started",
            Self::DeliverySucceeded { .. } => "delivery.succeeded",
            Self::DeliveryFailed { .. } => "delivery.failed",
            Self::DeliveryRetryScheduled { .. } => "delivery.retry_scheduled",
            Self::DeliverySkipped { .. } => "delivery.skipped",
            Self::DeliveryExhausted { .. } => "delivery.exhausted",
            Self::DeliveryDeadLettered { .. } => "delivery.dead_lettered",
            Self::DeliveryRetryRequested { .. } => "delivery.retry_requested",
        }
    }

    /// Whose delivery it is about, if it is about one.
    pub fn channel(&self) -> Option<Channel> {
        match self {
            Self::DeliveryFallbackActivated { channel, .. }
            | Self::DeliveryStarted { channel, .. }
            | Self::DeliverySucceeded { channel, .. }
            | Self::DeliveryFailed { channel, .. }
            | Self::DeliveryRetryScheduled { channel, .. }
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
            | Self::Expired {} => None,
        }
    }
}

impl Stored for Event {
    fn version_of(name: &str) -> Option<&'static str> {
        match name {
            "notification.created"
            | "notification.released"
            | "notification.woken"
            | "notification.seen"
            | "notification.read"
            | "notification.unread"
            | "notification.archived"
            | "notification.unarchived"
            | "notification.snoozed"
            | "notification.cancelled"
            | "notification.expired"
            | "delivery.fallback_activated"
            | "delivery.started"
            | "delivery.succeeded"
            | "delivery.retry_scheduled"
            | "delivery.skipped"
            | "delivery.exhausted"
            | "delivery.dead_lettered"
            | "delivery.retry_requested" => Some("1.0.0"),
            // 1.0.0 held the error as one text.
            "delivery.failed" => Some("2.0.0"),
            _ => None,
        }
    }

    fn decode(name: &str, version: &str, payload: &Value) -> Result<Self, DecodeError> {
        check_version::<Self>(name, version)?;
        // By far the largest, and most of a log: read without a copy of it.
        if name == "notification.created" {
            let created = Created::deserialize(payload);
            let created = created.map_err(|source| DecodeError::malformed(name, version, source))?;
            return Ok(Self::Created(Box::new(created)));
        }
        tagged(name, version, payload)
    }
}

impl cqrs_es::DomainEvent for Event {
    fn event_type(&self) -> String {
        self.name().into()
    }

    fn event_version(&self) -> String {
        Self::version_of(self.name()).expect("every event of the enum has a version").into()
    }
}
