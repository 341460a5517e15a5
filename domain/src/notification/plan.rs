//! The plan of a notification: on which channels it is delivered, in which order, and what makes a step needless. It is
//! fixed at the creation, with the instants at which its steps are due.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::{Channel, Delivery, InvalidContent, RetryPolicy, SkipReason};

/// What makes a step needless when its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unless {
    /// The step before it was delivered, or was needless because one before it was.
    Delivered,
    /// The user has seen the notification, wherever.
    Seen,
    /// The user has read it. A step that says so goes on while it is only seen.
    Read,
}

impl Unless {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Seen => "seen",
            Self::Read => "read",
        }
    }
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    pub channel: Channel,
    /// Its turn comes so many seconds after the release, if it has not come before: that is when the step before it is
    /// exhausted or skipped. Without it, only then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_s: Option<u32>,
    /// Asked when its turn comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unless: Option<Unless>,
    /// How often it is tried; once where it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// When its turn comes at the latest, known from the creation on: `after_s` from the release, or the release itself
    /// for the first that is used, where it calls somebody outside. Whoever asks for a plan leaves it out.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub due_at: Option<OffsetDateTime>,
    /// Why it is not used, where that is known from the creation on. Whoever asks for a plan leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<SkipReason>,
}

impl PlanStep {
    /// A step that says no more than its channel.
    pub fn on(channel: Channel) -> Self {
        Self { channel, after_s: None, unless: None, retry: None, due_at: None, skipped: None }
    }
}

/// The steps of a plan, which no channel stands in twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Plan(Vec<PlanStep>);

impl Default for Plan {
    /// The plan of a notification that names none.
    fn default() -> Self {
        Self(vec![PlanStep::on(Channel::InApp)])
    }
}

impl Plan {
    pub const STEPS_MAX: usize = 8;
    /// 30 days.
    pub const AFTER_S_MAX: u32 = 30 * 24 * 60 * 60;

    pub fn new(steps: Vec<PlanStep>) -> Result<Self, InvalidContent> {
        if !(1..=Self::STEPS_MAX).contains(&steps.len()) {
            return Err(InvalidContent::at("/plan", "must have 1 to 8 steps"));
        }
        for (index, step) in steps.iter().enumerate() {
            let refuse = |member, detail| Err(InvalidContent::at(&format!("/plan/{index}/{member}"), detail));
            if steps[..index].iter().any(|before| before.channel == step.channel) {
                return refuse("channel", "must not repeat the channel of another step");
            }
            // An inbox shows from the release on what it shows at all.
            if index > 0 && step.channel == Channel::InApp {
                return refuse("channel", "`in_app` can only be the first step");
            }
            if index == 0 && step.after_s.is_some() {
                return refuse("after", "the first step waits for nothing");
            }
            if index == 0 && step.unless.is_some() {
                return refuse("unless", "the first step waits for nothing");
            }
            if step.after_s.is_some_and(|after_s| !(1..=Self::AFTER_S_MAX).contains(&after_s)) {
                return refuse("after", "must be 1 second to 30 days");
            }
        }
        Ok(Self(steps))
    }

    pub fn steps(&self) -> &[PlanStep] {
        &self.0
    }

    /// Whether the inbox has a part in it.
    pub fn is_in_inbox(&self) -> bool {
        self.0.iter().any(|step| step.channel == Channel::InApp && step.skipped.is_none())
    }

    /// Leaves out the step on a channel.
    pub fn skip(&mut self, channel: Channel, reason: SkipReason) {
        let steps = self.0.iter_mut().filter(|step| step.channel == channel);
        steps.for_each(|step| step.skipped = Some(reason));
    }

    /// Leaves out whatever was not yet.
    pub fn skip_all(&mut self, reason: SkipReason) {
        self.0.iter_mut().for_each(|step| _ = step.skipped.get_or_insert(reason));
    }

    /// How its deliveries begin. The first step that is used is active from the release on.
    pub fn deliveries(&self) -> impl Iterator<Item = Delivery> {
        let first = self.first();
        self.0.iter().enumerate().map(move |(index, step)| Delivery::planned(step, Some(index) == first))
    }

    /// The first step that is used.
    fn first(&self) -> Option<usize> {
        self.0.iter().position(|step| step.skipped.is_none())
    }

    /// Says how often the step on a channel is tried, which whoever asks for a plan leaves to the tenant's settings.
    pub fn try_as(&mut self, channel: Channel, policy: RetryPolicy) {
        let steps = self.0.iter_mut().filter(|step| step.channel == channel);
        steps.for_each(|step| step.retry = Some(policy));
    }

    /// With the instants that follow from the release, cut to the milliseconds in which they are told.
    pub(super) fn counted_from(&self, release_at: OffsetDateTime) -> Self {
        let (mut steps, first) = (self.0.clone(), self.first());
        for (index, step) in steps.iter_mut().enumerate() {
            let wait = match step.after_s {
                _ if step.skipped.is_some() => None,
                _ if Some(index) == first && step.channel.calls_outside() => Some(Duration::ZERO),
                after_s => after_s.map(|after_s| Duration::seconds(after_s.into())),
            };
            step.due_at = wait.map(|wait| release_at.saturating_add(wait).truncate_to_millisecond());
        }
        Self(steps)
    }
}
