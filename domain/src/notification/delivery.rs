//! Delivery of one notification on one channel: how it stands, as its events say. Both the aggregate and the read model
//! fold it here, so that they cannot disagree.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Event, PlanStep};

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
    /// Every browser that subscribed for the recipient (RFC 8030).
    WebPush,
}

impl Channel {
    pub const ALL: [Self; 5] = [Self::InApp, Self::Email, Self::Slack, Self::Webhook, Self::WebPush];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::InApp => "in_app",
            Self::Email => "email",
            Self::Slack => "slack",
            Self::Webhook => "webhook",
            Self::WebPush => "web_push",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.as_str() == text)
    }

    /// Whether a worker delivers on it, whose attempts begin and end.
    pub fn calls_outside(self) -> bool {
        self != Self::InApp
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub class: FailureClass,
    /// In the reporter's words; at most 1,000 characters are accepted at the edge.
    pub detail: String,
}

impl Failure {
    /// Of an attempt that outlived its deadline.
    pub fn lost() -> Self {
        let detail = "it did not end in time, and nobody knows how it went".to_owned();
        Self { class: FailureClass::Unknown, detail }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// May pass by itself: a timeout, a refused connection, a server that is busy or broken (429, 5xx). The only one that
    /// is tried again.
    Transient,
    /// Will not: the request was refused (4xx), the address is none.
    Permanent,
    /// The endpoint said that it is no more (410).
    Gone,
    /// A service reported it through the API.
    Reported,
    /// Whether it was delivered is not known, and trying again might deliver it twice.
    Unknown,
}

impl FailureClass {
    pub const ALL: [Self; 5] = [Self::Transient, Self::Permanent, Self::Gone, Self::Reported, Self::Unknown];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Gone => "gone",
            Self::Reported => "reported",
            Self::Unknown => "unknown",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }
}

/// Why a channel was not used. That is no failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// The recipient has no address there.
    NoAddress,
    /// The recipient does not want it there.
    Preference,
    /// The recipient's quiet hours end too late for it.
    QuietHours,
    /// The tenant has not set the channel up.
    NotConfigured,
    /// The recipient got enough of it already.
    Throttled,
    Seen,
    Read,
    /// An earlier step was delivered.
    Delivered,
    /// The notification was, while an attempt was under way that failed.
    Cancelled,
    Expired,
}

impl SkipReason {
    pub const ALL: [Self; 10] = [
        Self::NoAddress,
        Self::Preference,
        Self::QuietHours,
        Self::NotConfigured,
        Self::Throttled,
        Self::Seen,
        Self::Read,
        Self::Delivered,
        Self::Cancelled,
        Self::Expired,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoAddress => "no_address",
            Self::Preference => "preference",
            Self::QuietHours => "quiet_hours",
            Self::NotConfigured => "not_configured",
            Self::Throttled => "throttled",
            Self::Seen => "seen",
            Self::Read => "read",
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// Whether the step was needless, and with it whatever would only have stood in for it. Otherwise the next step takes
    /// its place.
    pub fn is_needless(self) -> bool {
        match self {
            Self::Seen | Self::Read | Self::Delivered | Self::Cancelled | Self::Expired => true,
            Self::NoAddress | Self::Preference | Self::QuietHours | Self::NotConfigured | Self::Throttled => {
                false
            }
        }
    }
}

/// Why an attempt waits though nothing has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeferReason {
    /// It is quiet where the recipient is.
    QuietHours,
    /// Whoever would be called has failed too often lately, or asked for time.
    EndpointFailing,
}

impl DeferReason {
    pub const ALL: [Self; 2] = [Self::QuietHours, Self::EndpointFailing];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::QuietHours => "quiet_hours",
            Self::EndpointFailing => "endpoint_failing",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// What it comes to where the notification expires first.
    pub(super) fn of_the_late(self) -> SkipReason {
        match self {
            Self::QuietHours => SkipReason::QuietHours,
            Self::EndpointFailing => SkipReason::Expired,
        }
    }
}

/// Where the delivery on a channel stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Its turn in the plan has not come.
    Waiting,
    /// Its attempt may begin; in the app, the user's first look is waited for.
    #[default]
    Pending,
    /// An attempt failed or was put off, and the next one is due later.
    Scheduled,
    /// An attempt is under way.
    Started,
    Delivered,
    Skipped,
    /// It failed for good, and another step took over or had done before.
    Exhausted,
    /// It failed for good, and nothing was left that took over.
    DeadLettered,
    Cancelled,
    Expired,
}

impl DeliveryStatus {
    pub const ALL: [Self; 10] = [
        Self::Waiting,
        Self::Pending,
        Self::Scheduled,
        Self::Started,
        Self::Delivered,
        Self::Skipped,
        Self::Exhausted,
        Self::DeadLettered,
        Self::Cancelled,
        Self::Expired,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Pending => "pending",
            Self::Scheduled => "scheduled",
            Self::Started => "started",
            Self::Delivered => "delivered",
            Self::Skipped => "skipped",
            Self::Exhausted => "exhausted",
            Self::DeadLettered => "dead_lettered",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Something may still come of it.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Pending | Self::Scheduled | Self::Started)
    }

    /// Open, and no attempt of it is under way.
    pub fn is_unstarted(self) -> bool {
        self.is_open() && self != Self::Started
    }
}

/// The delivery on one channel: its current attempt, counted from 1, and how that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub channel: Channel,
    pub attempt: u32,
    pub status: DeliveryStatus,
    /// When its turn comes by itself, or its attempt may begin; `None` for whenever, and where nothing is waited for.
    #[serde(with = "time::serde::rfc3339::option")]
    pub due_at: Option<OffsetDateTime>,
    /// Until when the attempt that is under way is left to whoever began it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub deadline: Option<OffsetDateTime>,
    /// Why it was skipped, where it was.
    pub skipped: Option<SkipReason>,
}

impl Delivery {
    /// As a plan leaves its step.
    pub(super) fn planned(step: &PlanStep, is_first: bool) -> Self {
        let status = match step.skipped {
            Some(_) => DeliveryStatus::Skipped,
            None if is_first => DeliveryStatus::Pending,
            None => DeliveryStatus::Waiting,
        };
        let PlanStep { channel, due_at, skipped, .. } = *step;
        Self { channel, attempt: 1, status, due_at, deadline: None, skipped }
    }

    /// Folds one fact of its notification; those of other channels change nothing.
    pub fn evolve(&mut self, event: &Event) {
        if event.channel().is_some_and(|channel| channel != self.channel) {
            return;
        }
        match event {
            Event::Cancelled {} => self.end(DeliveryStatus::Cancelled),
            Event::Expired {} => self.end(DeliveryStatus::Expired),
            Event::DeliveryFallbackActivated { due_at, .. } => {
                self.stand(DeliveryStatus::Pending);
                self.due_at = Some(*due_at);
            }
            Event::DeliveryStarted { attempt, deadline, .. } => {
                self.stand(DeliveryStatus::Started);
                (self.attempt, self.deadline) = (*attempt, Some(*deadline));
            }
            Event::DeliverySucceeded { attempt, .. } => {
                self.stand(DeliveryStatus::Delivered);
                self.attempt = *attempt;
            }
            Event::DeliveryRetryScheduled { attempt, due_at, .. }
            | Event::DeliveryDeferred { attempt, due_at, .. } => {
                self.stand(DeliveryStatus::Scheduled);
                (self.attempt, self.due_at) = (*attempt, Some(*due_at));
            }
            Event::DeliverySkipped { reason, .. } => {
                self.stand(DeliveryStatus::Skipped);
                self.skipped = Some(*reason);
            }
            Event::DeliveryExhausted { .. } => self.stand(DeliveryStatus::Exhausted),
            Event::DeliveryDeadLettered { .. } => self.stand(DeliveryStatus::DeadLettered),
            Event::DeliveryRetryRequested { attempt, .. } => {
                self.stand(DeliveryStatus::Pending);
                self.attempt = *attempt;
            }
            // What follows from a failure is said by the events after it.
            Event::DeliveryFailed { .. }
            | Event::Created(_)
            | Event::Released {}
            | Event::Woken {}
            | Event::Seen {}
            | Event::Read {}
            | Event::Unread {}
            | Event::Archived {}
            | Event::Unarchived {}
            | Event::Snoozed { .. }
            | Event::Collected(_)
            | Event::Digested(_) => {}
        }
    }

    /// What has not begun never will; an attempt that is under way still tells how it went.
    fn end(&mut self, status: DeliveryStatus) {
        if self.status.is_unstarted() {
            self.stand(status);
        }
    }

    fn stand(&mut self, status: DeliveryStatus) {
        (self.status, self.due_at, self.deadline, self.skipped) = (status, None, None, None);
    }

    /// Why whatever would only have stood in for it is needless, if it is.
    pub(super) fn made_needless(&self) -> Option<SkipReason> {
        match self.status {
            DeliveryStatus::Delivered => Some(SkipReason::Delivered),
            _ => self.skipped.filter(|reason| reason.is_needless()),
        }
    }
}
