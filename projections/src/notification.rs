//! One notification, folded on demand from its own events: always current, never behind.

use std::collections::HashMap;
use std::sync::Arc;

use tidings_domain::notification::{
    Channel, Created, Delivery, Event, Failure, Life, Notification, PlanStep,
};
use tidings_domain::{NotificationId, UserId};
use time::OffsetDateTime;

use crate::log::{Recorded, Unreadable};

/// One step of a plan, and how it stands.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryOverview<'a> {
    pub step: &'a PlanStep,
    pub delivery: &'a Delivery,
    /// Why the latest failed attempt failed, unless a later one succeeded.
    pub failure: Option<&'a Failure>,
    /// What the provider calls it.
    pub provider_ref: Option<&'a str>,
}

/// Everything a backend may want to know of a notification it made.
#[derive(Clone, Debug)]
pub struct Overview {
    pub id: NotificationId,
    pub user: UserId,
    /// With what a digest says in the end.
    pub created: Created,
    pub created_at: OffsetDateTime,
    pub seen_at: Option<OffsetDateTime>,
    pub read_at: Option<OffsetDateTime>,
    pub archived_at: Option<OffsetDateTime>,
    /// Why the latest failed attempt failed, per channel of the plan.
    failures: HashMap<Channel, Failure>,
    /// What providers call what they took over.
    provider_refs: HashMap<Channel, String>,
    pub state: Notification,
    /// What a digest holds.
    pub collected: Option<u32>,
    /// The last event.
    pub position: i64,
}

impl Overview {
    /// `None` without events, and for a log that does not begin with the creation.
    pub fn fold(events: &[Arc<Recorded>]) -> Result<Option<Self>, Unreadable> {
        let Some((first, rest)) = events.split_first() else { return Ok(None) };
        let Some((id, Event::Created(created))) = first.notification()? else { return Ok(None) };
        let mut overview = Self {
            id,
            user: created.user_id.clone(),
            created: (**created).clone(),
            created_at: first.recorded_at,
            seen_at: None,
            read_at: None,
            archived_at: None,
            failures: HashMap::new(),
            provider_refs: HashMap::new(),
            state: Notification::default(),
            collected: None,
            position: first.position,
        };
        overview.state.evolve(&Event::Created(created.clone()));
        rest.iter().try_for_each(|event| overview.evolve(event))?;
        Ok(Some(overview))
    }

    fn evolve(&mut self, event: &Recorded) -> Result<(), Unreadable> {
        let Some((_, fact)) = event.notification()? else { return Ok(()) };
        let now = Some(event.recorded_at);
        match fact {
            Event::Seen {} => self.seen_at = self.seen_at.or(now),
            Event::Read {} => (self.seen_at, self.read_at) = (self.seen_at.or(now), now),
            Event::Unread {} => self.read_at = None,
            Event::Archived {} => self.archived_at = now,
            Event::Unarchived {} => self.archived_at = None,
            Event::Collected(item) => self.collected = Some(item.number),
            Event::Digested(digested) => {
                (self.created.content, self.created.data) = (digested.content.clone(), digested.data.clone());
            }
            Event::DeliveryFailed { channel, error, .. } => {
                self.failures.insert(*channel, error.clone());
            }
            Event::DeliverySucceeded { channel, provider_ref, .. } => {
                self.failures.remove(channel);
                self.provider_refs.extend(provider_ref.clone().map(|provider_ref| (*channel, provider_ref)));
            }
            _ => {}
        }
        self.state.evolve(fact);
        self.position = event.position;
        Ok(())
    }

    /// `scheduled`, `active`, `cancelled` or `expired`.
    pub fn status(&self) -> &'static str {
        match self.state.life {
            Life::Scheduled { .. } => "scheduled",
            Life::Absent | Life::Released => "active",
            Life::Cancelled => "cancelled",
            Life::Expired => "expired",
        }
    }

    /// Step by step of the plan.
    pub fn deliveries(&self) -> impl Iterator<Item = DeliveryOverview<'_>> {
        self.state.plan.iter().zip(&self.state.deliveries).map(|(step, delivery)| DeliveryOverview {
            step,
            delivery,
            failure: self.failures.get(&delivery.channel),
            provider_ref: self.provider_refs.get(&delivery.channel).map(String::as_str),
        })
    }
}
