//! Folds events into what becomes of timers: set to an instant, or gone. Only the last word of a batch on each timer is
//! kept; what stood before it does not matter, so the same events give the same rows however often.

use std::collections::HashMap;

use tidings_domain::notification::{Channel, Delivery, DeliveryStatus, Event};
use tidings_domain::schedule;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::log::{Fact, Recorded};
use crate::read_model::{FoldError, recipient};

/// What happens when a timer is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A scheduled notification appears.
    Release,
    /// A snoozed one comes back.
    Wake,
    /// It leaves for good.
    Expire,
    /// The turn of the plan's step on this channel comes by time.
    Activate(Channel),
}

impl Kind {
    /// Nobody is activated in the app: that is the first step of a plan, or none.
    pub const ALL: [Self; 7] = [
        Self::Release,
        Self::Wake,
        Self::Expire,
        Self::Activate(Channel::Email),
        Self::Activate(Channel::Slack),
        Self::Activate(Channel::Webhook),
        Self::Activate(Channel::WebPush),
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Wake => "wake",
            Self::Expire => "expire",
            Self::Activate(Channel::InApp) => "activate_in_app",
            Self::Activate(Channel::Email) => "activate_email",
            Self::Activate(Channel::Slack) => "activate_slack",
            Self::Activate(Channel::Webhook) => "activate_webhook",
            Self::Activate(Channel::WebPush) => "activate_web_push",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Tenant, user, notification and kind.
pub(super) type TimerKey = (String, String, Uuid, Kind);

/// Tenant and aggregate.
pub(super) type ScheduleKey = (String, String);

/// When a timer is due, and the event that set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Set {
    pub due_at: OffsetDateTime,
    pub position: i64,
}

/// What a batch leaves of each timer and schedule it touches; `None` is gone.
#[derive(Default)]
pub(super) struct Moves {
    pub timers: HashMap<TimerKey, Option<Set>>,
    pub schedules: HashMap<ScheduleKey, Option<Set>>,
}

impl Moves {
    pub fn is_empty(&self) -> bool {
        self.timers.is_empty() && self.schedules.is_empty()
    }

    /// An error leaves everything as it was.
    pub fn fold(&mut self, event: &Recorded) -> Result<(), FoldError> {
        if let Fact::Schedule(_, fact) = &event.fact {
            self.schedule(event, fact);
            return Ok(());
        }
        let Some((id, fact)) = event.notification()? else { return Ok(()) };
        let (tenant, user_id) = recipient(event)?;
        let mut put = |kind: Kind, due_at: Option<OffsetDateTime>| {
            let set = due_at.map(|due_at| Set { due_at, position: event.position });
            self.timers.insert((tenant.clone(), user_id.clone(), id.uuid(), kind), set);
        };
        match fact {
            // What is never set needs no deletion either: most notifications have no timer at all.
            Event::Created(created) => {
                created.deliver_at.into_iter().for_each(|at| put(Kind::Release, Some(at)));
                created.expires_at.into_iter().for_each(|at| put(Kind::Expire, Some(at)));
                // The first step that is used waits for nothing but the release.
                let waits = |delivery: &Delivery| delivery.status == DeliveryStatus::Waiting;
                for delivery in created.plan.deliveries().filter(|it| waits(it) && it.due_at.is_some()) {
                    put(Kind::Activate(delivery.channel), delivery.due_at);
                }
            }
            Event::Released {} => put(Kind::Release, None),
            Event::Snoozed { until } => put(Kind::Wake, Some(*until)),
            Event::Woken {} => put(Kind::Wake, None),
            // However a step's turn came, or passed.
            Event::DeliveryFallbackActivated { channel, .. } | Event::DeliverySkipped { channel, .. } => {
                put(Kind::Activate(*channel), None);
            }
            Event::Cancelled {} | Event::Expired {} => Kind::ALL.into_iter().for_each(|kind| put(kind, None)),
            Event::Seen {}
            | Event::Read {}
            | Event::Unread {}
            | Event::Archived {}
            | Event::Unarchived {}
            | Event::Collected(_)
            | Event::Digested(_)
            | Event::DeliveryStarted { .. }
            | Event::DeliverySucceeded { .. }
            | Event::DeliveryFailed { .. }
            | Event::DeliveryRetryScheduled { .. }
            | Event::DeliveryDeferred { .. }
            | Event::DeliveryExhausted { .. }
            | Event::DeliveryDeadLettered { .. }
            | Event::DeliveryRetryRequested { .. } => {}
        }
        Ok(())
    }

    fn schedule(&mut self, event: &Recorded, fact: &schedule::Event) {
        let next_at = match fact {
            schedule::Event::Changed { next_at, .. }
            | schedule::Event::Ticked { next_at, .. }
            | schedule::Event::Failed { next_at, .. }
            | schedule::Event::Skipped { next_at, .. } => *next_at,
            schedule::Event::Deleted { .. } => None,
        };
        let set = next_at.map(|due_at| Set { due_at, position: event.position });
        self.schedules.insert((event.tenant.clone(), event.aggregate_id.clone()), set);
    }

    pub fn earliest(&self) -> Option<OffsetDateTime> {
        self.timers.values().chain(self.schedules.values()).flatten().map(|set| set.due_at).min()
    }
}
