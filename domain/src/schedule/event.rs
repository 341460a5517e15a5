//! The facts of a schedule, as they are stored.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::serde::rfc3339;

use super::ScheduleKey;
use crate::decode::stored;
use crate::recipient::TimeZone;
use crate::{BroadcastId, NotificationId, Tenant};

/// `defined_by` is the sequence of the `schedule.changed` that was in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    #[serde(rename = "schedule.changed")]
    Changed {
        tenant: Tenant,
        key: ScheduleKey,
        #[serde(flatten)]
        definition: Box<Definition>,
        #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
        next_at: Option<OffsetDateTime>,
    },
    /// It asked, and this was made of it.
    #[serde(rename = "schedule.ticked")]
    Ticked {
        defined_by: i64,
        #[serde(with = "rfc3339")]
        at: OffsetDateTime,
        /// Ticks before it that it stands for, too.
        #[serde(default, skip_serializing_if = "is_zero")]
        missed: u32,
        created: Vec<Created>,
        #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
        next_at: Option<OffsetDateTime>,
    },
    /// It asked, and was refused.
    #[serde(rename = "schedule.failed")]
    Failed {
        defined_by: i64,
        #[serde(with = "rfc3339")]
        at: OffsetDateTime,
        #[serde(default, skip_serializing_if = "is_zero")]
        missed: u32,
        reason: Reason,
        #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
        next_at: Option<OffsetDateTime>,
    },
    /// These ticks were missed, and are not made up for.
    #[serde(rename = "schedule.skipped")]
    Skipped {
        defined_by: i64,
        #[serde(with = "rfc3339")]
        from: OffsetDateTime,
        #[serde(with = "rfc3339")]
        to: OffsetDateTime,
        count: u32,
        #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
        next_at: Option<OffsetDateTime>,
    },
    #[serde(rename = "schedule.deleted")]
    Deleted { tenant: Tenant, key: ScheduleKey, defined_by: i64 },
}

/// What was said of a schedule. The expression was read before it got here: the domain only keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    pub cron: String,
    pub time_zone: TimeZone,
    pub missed: Missed,
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<OffsetDateTime>,
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<OffsetDateTime>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused: bool,
    /// Sealed. `None` once the key it was sealed with was destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Request>,
}

/// What becomes of ticks that nobody was there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    Skip,
    /// One stands for all of them.
    #[default]
    Once,
    All,
}

impl Missed {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

/// What is asked for at each tick, as a client would ask for it: what it means is decided then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Notification(Map<String, Value>),
    Broadcast(Map<String, Value>),
}

/// What a tick made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Created {
    Notification(NotificationId),
    Broadcast(BroadcastId),
}

impl std::fmt::Display for Created {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Notification(id) => id.fmt(f),
            Self::Broadcast(id) => id.fmt(f),
        }
    }
}

/// Why a tick was refused, in words that hold nothing of what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// A JSON Pointer (RFC 6901) into the schedule.
    pub pointer: String,
    pub detail: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

stored! { Event {
    Self::Changed { .. } => "schedule.changed" @ "1.0.0",
    Self::Ticked { .. } => "schedule.ticked" @ "1.0.0",
    Self::Failed { .. } => "schedule.failed" @ "1.0.0",
    Self::Skipped { .. } => "schedule.skipped" @ "1.0.0",
    Self::Deleted { .. } => "schedule.deleted" @ "1.0.0",
} }
