//! What became of one webhook, as it is stored: each is an aggregate of a single fact, so that no source grows with what it
//! sends, and none of its hooks waits for another.

use serde::{Deserialize, Serialize};

use super::SourceName;
use crate::decode::stored;
use crate::{NotificationId, Tenant};

/// `delivery_id` is what the provider calls the delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Hook {
    /// Notifications were made of it.
    #[serde(rename = "hook.accepted")]
    Accepted { tenant: Tenant, source: SourceName, delivery_id: String, notifications: Vec<NotificationId> },
    /// The mapping's `when` passed over it.
    #[serde(rename = "hook.ignored")]
    Ignored { tenant: Tenant, source: SourceName, delivery_id: String },
    /// Nothing could be made of it.
    #[serde(rename = "hook.failed")]
    Failed { tenant: Tenant, source: SourceName, delivery_id: String, reason: Fault },
}

/// What is wrong with a hook, in words that hold nothing of what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// A JSON Pointer (RFC 6901) into the mapping; empty where the hook itself is at fault.
    pub pointer: String,
    pub detail: String,
}

impl Hook {
    /// The type of aggregate it is all of.
    pub const TYPE: &'static str = "hook";
}

stored! { Hook {
    Self::Accepted { .. } => "hook.accepted" @ "1.0.0",
    Self::Ignored { .. } => "hook.ignored" @ "1.0.0",
    Self::Failed { .. } => "hook.failed" @ "1.0.0",
} }
