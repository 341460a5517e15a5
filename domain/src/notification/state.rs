//! The decider: `decide` turns a command into events or a refusal, `evolve` folds an event. Neither does more.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::delivering::Decision;
use super::{Action, Collected, Command, Create, Created, Delivery, Error, Event, Gathering, PlanStep};
use crate::{Issuer, Tenant, UserId};

/// Where a notification stands in its life. Time moves it only through events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Life {
    /// No event yet.
    #[default]
    Absent,
    /// Hidden until released.
    Scheduled {
        #[serde(with = "time::serde::rfc3339")]
        release_at: OffsetDateTime,
    },
    /// In the inbox.
    Released,
    Cancelled,
    Expired,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    pub owner: Option<(Tenant, UserId)>,
    pub life: Life,
    pub seen: bool,
    pub read: bool,
    /// Read, and perhaps marked unread since.
    pub was_read: bool,
    pub archived: bool,
    #[serde(with = "time::serde::rfc3339::option")]
    pub snoozed_until: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
    /// What was planned, and how that stands, step by step.
    pub plan: Vec<PlanStep>,
    pub deliveries: Vec<Delivery>,
    /// What a digest holds until its release.
    pub gathering: Option<Box<Gathering>>,
}

impl Notification {
    /// What follows from the command. Nothing, when everything it asks for is already so.
    pub fn decide(&self, command: &Command) -> Result<Vec<Event>, Error> {
        if !matches!(command.action, Action::Create(_)) {
            self.check_owner(&command.issuer)?;
        }
        match &command.action {
            Action::Create(create) => self.create(&command.issuer, create),
            Action::Release { at } => Ok(self.release(*at)),
            Action::Wake { at } => Ok(self.wake(*at)),
            Action::Expire { at } => Ok(self.expire(*at)),
            Action::Activate { channel, at } => Ok(self.activate(*channel, *at)),
            Action::Start { channel, attempt, now, deadline } => {
                self.start(*channel, *attempt, *now, *deadline)
            }
            Action::Defer { channel, attempt, now, until, reason } => {
                self.defer((*channel, *attempt), (*now, *until), *reason)
            }
            Action::Deliver { channel, attempt, outcome, at } => {
                self.deliver(*channel, *attempt, outcome, *at)
            }
            Action::Retry { channel } => self.retry(*channel),
            Action::MarkSeen => self.mark(!self.seen, [Event::Seen {}]),
            Action::MarkRead => self.mark(!self.read, [Event::Read {}]),
            Action::MarkUnread => self.mark(self.read, [Event::Unread {}]),
            Action::Archive if self.read => self.mark(!self.archived, [Event::Archived {}]),
            Action::Archive => self.mark(!self.archived, [Event::Read {}, Event::Archived {}]),
            Action::Unarchive => self.mark(self.archived, [Event::Unarchived {}]),
            Action::Snooze { until } => {
                self.mark(self.snoozed_until != Some(*until), [Event::Snoozed { until: *until }])
            }
            Action::Cancel => self.cancel(),
        }
    }

    fn create(&self, issuer: &Issuer, create: &Create) -> Result<Vec<Event>, Error> {
        if self.life != Life::Absent {
            return Err(Error::AlreadyExists);
        }
        let created = Created {
            tenant: issuer.tenant.clone(),
            user_id: create.user.clone(),
            content: Some(create.content.clone()),
            category: create.category.clone(),
            priority: create.priority,
            plan: create.plan.counted_from(create.deliver_at.unwrap_or(create.now)),
            data: create.data.clone(),
            tags: create.tags.clone(),
            deliver_at: create.deliver_at,
            expires_at: create.expires_at,
            digest: create.opening.as_ref().map(|opening| opening.digest.clone()),
        };
        let first = create.opening.as_ref().map(|opening| Collected::first(opening.first.clone()));
        let first = first.map(|first| Event::Collected(Box::new(first)));
        Ok([Event::Created(Box::new(created))].into_iter().chain(first).collect())
    }

    fn check_owner(&self, issuer: &Issuer) -> Result<(), Error> {
        let (tenant, user) = self.owner.as_ref().ok_or(Error::NotFound)?;
        let same_user = issuer.user.as_ref().is_none_or(|issuer| issuer == user);
        if *tenant == issuer.tenant && same_user { Ok(()) } else { Err(Error::NotFound) }
    }

    fn release(&self, at: OffsetDateTime) -> Vec<Event> {
        if self.life != (Life::Scheduled { release_at: at }) {
            return vec![];
        }
        let digested = self.gathering.as_ref().and_then(|gathering| gathering.digested());
        let digested = digested.map(|digested| Event::Digested(Box::new(digested)));
        digested.into_iter().chain([Event::Released {}]).collect()
    }

    fn wake(&self, at: OffsetDateTime) -> Vec<Event> {
        let due = self.life == Life::Released && self.snoozed_until == Some(at);
        if due { vec![Event::Woken {}] } else { vec![] }
    }

    fn expire(&self, at: OffsetDateTime) -> Vec<Event> {
        let alive = matches!(self.life, Life::Scheduled { .. } | Life::Released);
        if alive && self.expires_at == Some(at) { vec![Event::Expired {}] } else { vec![] }
    }

    pub(super) fn check_released(&self) -> Result<(), Error> {
        match self.life {
            Life::Absent => Err(Error::NotFound),
            Life::Scheduled { .. } => Err(Error::NotReleased),
            Life::Released => Ok(()),
            Life::Cancelled => Err(Error::Cancelled),
            Life::Expired => Err(Error::Expired),
        }
    }

    /// A mark the user makes. Any of them shows that the notification reached its reader; what has been seen or read stops
    /// what still waits.
    fn mark<const N: usize>(&self, changes: bool, events: [Event; N]) -> Result<Vec<Event>, Error> {
        self.check_released()?;
        if !changes {
            return Ok(vec![]);
        }
        let mut decision = Decision::from(self);
        events.into_iter().for_each(|event| decision.emit(event));
        decision.settle_in_app();
        decision.stop();
        decision.skip_needless();
        Ok(decision.events)
    }

    fn cancel(&self) -> Result<Vec<Event>, Error> {
        match self.life {
            Life::Absent => Err(Error::NotFound),
            Life::Scheduled { .. } | Life::Released => Ok(vec![Event::Cancelled {}]),
            Life::Cancelled => Ok(vec![]),
            Life::Expired => Err(Error::Expired),
        }
    }

    /// Folds one fact into the state. It never judges: whatever was stored has happened.
    pub fn evolve(&mut self, event: &Event) {
        match event {
            Event::Created(created) => *self = Self::created(created),
            Event::Released {} => (self.life, self.gathering) = (Life::Released, None),
            Event::Woken {} => self.snoozed_until = None,
            Event::Seen {} => self.seen = true,
            Event::Read {} => (self.seen, self.read, self.was_read) = (true, true, true),
            Event::Unread {} => self.read = false,
            Event::Archived {} => self.archived = true,
            Event::Unarchived {} => self.archived = false,
            Event::Snoozed { until } => self.snoozed_until = Some(*until),
            Event::Cancelled {} => (self.life, self.gathering) = (Life::Cancelled, None),
            Event::Expired {} => (self.life, self.gathering) = (Life::Expired, None),
            Event::Collected(collected) => {
                self.gathering.get_or_insert_default().add(collected);
            }
            Event::Digested(_)
            | Event::DeliveryFallbackActivated { .. }
            | Event::DeliveryStarted { .. }
            | Event::DeliverySucceeded { .. }
            | Event::DeliveryFailed { .. }
            | Event::DeliveryRetryScheduled { .. }
            | Event::DeliveryDeferred { .. }
            | Event::DeliverySkipped { .. }
            | Event::DeliveryExhausted { .. }
            | Event::DeliveryDeadLettered { .. }
            | Event::DeliveryRetryRequested { .. } => {}
        }
        self.deliveries.iter_mut().for_each(|delivery| delivery.evolve(event));
    }

    fn created(created: &Created) -> Self {
        Self {
            owner: Some((created.tenant.clone(), created.user_id.clone())),
            life: match created.deliver_at {
                Some(release_at) => Life::Scheduled { release_at },
                None => Life::Released,
            },
            expires_at: created.expires_at,
            plan: created.plan.steps().to_vec(),
            deliveries: created.plan.deliveries().collect(),
            gathering: created.digest.clone().map(|digest| Box::new(Gathering::new(digest))),
            ..Self::default()
        }
    }
}
