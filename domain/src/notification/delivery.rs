//! Delivery of one notification on one channel, as far as the aggregate decides it.

use serde::{Deserialize, Serialize};

/// A way to reach the recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// The inbox and its sockets. Nothing outside is called: it is delivered when a client acknowledges it
    /// or the user first marks it, and until then it is pending.
    InApp,
    Email,
    /// An incoming webhook of Slack.
    Slack,
    Webhook,
}

impl Channel {
    pub const ALL: [Self; 4] = [Self::InApp, Self::Email, Self::Slack, Self::Webhook];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::InApp => "in_app",
            Self::Email => "email",
            Self::Slack => "slack",
            Self::Webhook => "webhook",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.as_str() == text)
    }
}

/// One step of a notification's plan, fixed when it is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    pub channel: Channel,
}

impl PlanStep {
    /// The plan of a notification that names none.
    pub fn default_plan() -> Vec<Self> {
        vec![Self { channel: Channel::InApp }]
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub class: FailureClass,
    /// In the reporter's words; at most 1,000 characters are accepted at the edge.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// A service reported it through the API.
    Reported,
}

/// Where the delivery on a channel stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    #[default]
    Pending,
    Delivered,
    DeadLettered,
    Cancelled,
    Expired,
}

impl DeliveryStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::DeadLettered => "dead_lettered",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// The delivery on one channel: its current attempt, counted from 1, and how that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub channel: Channel,
    pub attempt: u32,
    pub status: DeliveryStatus,
}

impl Delivery {
    pub fn first(channel: Channel) -> Self {
        Self { channel, attempt: 1, status: DeliveryStatus::Pending }
    }
}
