//! The facts of a broadcast, as they are stored. How far it has come stands in each of them as a whole, so that the first and
//! the last are all it takes to know.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::Audience;
use crate::decode::stored;
use crate::notification::{Category, Content, Create, Plan, Priority, Tags};
use crate::{Tenant, UserId};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    #[serde(rename = "broadcast.created")]
    Created(Box<Created>),
    #[serde(rename = "broadcast.progressed")]
    Progressed {
        /// Counted from 1.
        chunk: u32,
        /// Everybody up to here, in the order of users, has a notification.
        last_user_id: UserId,
        /// Of this chunk.
        count: u32,
        /// Made so far, with those of this chunk.
        notifications: u64,
    },
    #[serde(rename = "broadcast.completed")]
    Completed { notifications: u64 },
    #[serde(rename = "broadcast.cancelled")]
    Cancelled { notifications: u64 },
}

/// Everything that was asked for; nothing of it changes afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Created {
    pub tenant: Tenant,
    pub audience: Audience,
    #[serde(flatten)]
    pub message: Message,
}

/// What every recipient's notification says and how it is delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `None` once the key it was sealed with was destroyed.
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

impl Message {
    /// The notification of one recipient, made `now`; `None` where nobody knows the words any more.
    pub fn to(self, user: UserId, now: OffsetDateTime) -> Option<Create> {
        let Self { content, category, priority, plan, data, tags, deliver_at, expires_at } = self;
        let deliver_at = deliver_at.filter(|at| *at > now);
        Some(Create {
            user,
            content: content?,
            category,
            priority,
            plan,
            data,
            tags,
            deliver_at,
            expires_at,
            now,
            opening: None,
        })
    }
}

stored!(Event {
    Self::Created(_) => "broadcast.created" @ "1.0.0",
    Self::Progressed { .. } => "broadcast.progressed" @ "1.0.0",
    Self::Completed { .. } => "broadcast.completed" @ "1.0.0",
    Self::Cancelled { .. } => "broadcast.cancelled" @ "1.0.0",
});
