//! The facts of a notification, as they are stored, listed, mirrored and sent: one name everywhere.
//!
//! A stored event never changes meaning. A new meaning is a new version here, an upcaster in
//! [`crate::upcast`] and a golden file under `golden/`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{Category, Channel, Content, Failure, PlanStep, Priority, Tags};
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
    #[serde(rename = "delivery.succeeded")]
    DeliverySucceeded { channel: Channel, attempt: u32 },
    #[serde(rename = "delivery.failed")]
    DeliveryFailed { channel: Channel, attempt: u32, error: Failure },
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
    pub plan: Vec<PlanStep>,
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
            Self::DeliverySucceeded { .. } => "delivery.succeeded",
            Self::DeliveryFailed { .. } => "delivery.failed",
            Self::DeliveryExhausted { .. } => "delivery.exhausted",
            Self::DeliveryDeadLettered { .. } => "delivery.dead_lettered",
            Self::DeliveryRetryRequested { .. } => "delivery.retry_requested",
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
            | "delivery.succeeded"
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
