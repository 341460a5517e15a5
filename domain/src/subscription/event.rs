//! The facts of a subscription, as they are stored.

use serde::{Deserialize, Serialize};

use super::Topic;
use crate::decode::stored;
use crate::{Tenant, UserId};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    #[serde(rename = "topic.subscribed")]
    Subscribed { tenant: Tenant, topic: Topic, user_id: UserId },
    #[serde(rename = "topic.unsubscribed")]
    Unsubscribed { tenant: Tenant, topic: Topic, user_id: UserId },
}

stored! { Event {
    Self::Subscribed { .. } => "topic.subscribed" @ "1.0.0",
    Self::Unsubscribed { .. } => "topic.unsubscribed" @ "1.0.0",
} }
