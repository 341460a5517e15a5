//! The facts of a subscription, as they are stored.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Topic;
use crate::decode::{DecodeError, Stored, check_version, tagged};
use crate::{Tenant, UserId};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    #[serde(rename = "topic.subscribed")]
    Subscribed { tenant: Tenant, topic: Topic, user_id: UserId },
    #[serde(rename = "topic.unsubscribed")]
    Unsubscribed { tenant: Tenant, topic: Topic, user_id: UserId },
}

impl Event {
    /// The stored name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Subscribed { .. } => "topic.subscribed",
            Self::Unsubscribed { .. } => "topic.unsubscribed",
        }
    }
}

impl Stored for Event {
    fn version_of(name: &str) -> Option<&'static str> {
        match name {
            "topic.subscribed" | "topic.unsubscribed" => Some("1.0.0"),
            _ => None,
        }
    }

    fn decode(name: &str, version: &str, payload: &Value) -> Result<Self, DecodeError> {
        check_version::<Self>(name, version)?;
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
