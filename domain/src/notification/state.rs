//! The decider: `decide` turns a command into events or a refusal, `evolve` folds an event. Neither does more.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Action, Channel, Command, Create, Created, Delivery, DeliveryStatus, Error, Event};
use super::{Failure, FailureClass, Outcome};
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
    pub archived: bool,
    #[serde(with = "time::serde::rfc3339::option")]
    pub snoozed_until: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
    pub deliveries: Vec<Delivery>,
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
            Action::Deliver { channel, attempt, outcome } => self.deliver(*channel, *attempt, outcome),
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
        Ok(vec![Event::Created(Box::new(Created {
            tenant: issuer.tenant.clone(),
            user_id: create.user.clone(),
            content: Some(create.content.clone()),
            category: create.category.clone(),
            priority: create.priority,
            plan: create.plan.clone(),
            data: create.data.clone(),
            tags: create.tags.clone(),
            deliver_at: create.deliver_at,
            expires_at: create.expires_at,
        }))])
    }

    fn check_owner(&self, issuer: &Issuer) -> Result<(), Error> {
        let (tenant, user) = self.owner.as_ref().ok_or(Error::NotFound)?;
        let same_user = issuer.user.as_ref().is_none_or(|issuer| issuer == user);
        if *tenant == issuer.tenant && same_user { Ok(()) } else { Err(Error::NotFound) }
    }

    fn release(&self, at: OffsetDateTime) -> Vec<Event> {
        if self.life == (Life::Scheduled { release_at: at }) { vec![Event::Released {}] } else { vec![] }
    }

    fn wake(&self, at: OffsetDateTime) -> Vec<Event> {
        let due = self.life == Life::Released && self.snoozed_until == Some(at);
        if due { vec![Event::Woken {}] } else { vec![] }
    }

    fn expire(&self, at: OffsetDateTime) -> Vec<Event> {
        let alive = matches!(self.life, Life::Scheduled { .. } | Life::Released);
        if alive && self.expires_at == Some(at) { vec![Event::Expired {}] } else { vec![] }
    }

    fn check_released(&self) -> Result<(), Error> {
        match self.life {
            Life::Absent => Err(Error::NotFound),
            Life::Scheduled { .. } => Err(Error::NotReleased),
            Life::Released => Ok(()),
            Life::Cancelled => Err(Error::Cancelled),
            Life::Expired => Err(Error::Expired),
        }
    }

    /// A mark the user makes. Any of them shows that the notification reached its reader.
    fn mark<const N: usize>(&self, changes: bool, events: [Event; N]) -> Result<Vec<Event>, Error> {
        self.check_released()?;
        if !changes {
            return Ok(vec![]);
        }
        let mut events = Vec::from(events);
        events
            .extend(self.in_app().filter(|d| !matches!(d.status, DeliveryStatus::Delivered)).map(succeeded));
        Ok(events)
    }

    fn deliver(
        &self,
        channel: Channel,
        attempt: Option<u32>,
        outcome: &Outcome,
    ) -> Result<Vec<Event>, Error> {
        self.check_released()?;
        let delivery = self.delivery(channel).ok_or(Error::ChannelNotPlanned)?;
        if attempt.is_some_and(|attempt| attempt != delivery.attempt) {
            return Err(Error::StaleAttempt { current: delivery.attempt });
        }
        match (delivery.status, outcome) {
            (DeliveryStatus::Pending, Outcome::Delivered) => Ok(vec![succeeded(delivery)]),
            (DeliveryStatus::Pending, Outcome::Failed { detail }) => Ok(failed_for_good(delivery, detail)),
            (DeliveryStatus::Delivered, Outcome::Delivered)
            | (DeliveryStatus::DeadLettered, Outcome::Failed { .. }) => Ok(vec![]),
            (status, _) => Err(Error::AttemptEnded { status }),
        }
    }

    fn retry(&self, channel: Option<Channel>) -> Result<Vec<Event>, Error> {
        self.check_released()?;
        if channel.is_some_and(|channel| self.delivery(channel).is_none()) {
            return Err(Error::ChannelNotPlanned);
        }
        let again: Vec<Event> = self
            .deliveries
            .iter()
            .filter(|d| channel.is_none_or(|channel| channel == d.channel))
            .filter(|d| d.status == DeliveryStatus::DeadLettered)
            .map(|d| Event::DeliveryRetryRequested { channel: d.channel, attempt: d.attempt + 1 })
            .collect();
        if again.is_empty() { Err(Error::NothingToRetry) } else { Ok(again) }
    }

    fn cancel(&self) -> Result<Vec<Event>, Error> {
        match self.life {
            Life::Absent => Err(Error::NotFound),
            Life::Scheduled { .. } | Life::Released => Ok(vec![Event::Cancelled {}]),
            Life::Cancelled => Ok(vec![]),
            Life::Expired => Err(Error::Expired),
        }
    }

    fn delivery(&self, channel: Channel) -> Option<&Delivery> {
        self.deliveries.iter().find(|d| d.channel == channel)
    }

    fn in_app(&self) -> impl Iterator<Item = &Delivery> {
        self.delivery(Channel::InApp).into_iter()
    }

    /// Folds one fact into the state. It never judges: whatever was stored has happened.
    pub fn evolve(&mut self, event: &Event) {
        match event {
            Event::Created(created) => *self = Self::created(created),
            Event::Released {} => self.life = Life::Released,
            Event::Woken {} => self.snoozed_until = None,
            Event::Seen {} => self.seen = true,
            Event::Read {} => (self.seen, self.read) = (true, true),
            Event::Unread {} => self.read = false,
            Event::Archived {} => self.archived = true,
            Event::Unarchived {} => self.archived = false,
            Event::Snoozed { until } => self.snoozed_until = Some(*until),
            Event::Cancelled {} => self.end(Life::Cancelled, DeliveryStatus::Cancelled),
            Event::Expired {} => self.end(Life::Expired, DeliveryStatus::Expired),
            Event::DeliverySucceeded { channel, attempt } => {
                self.set_delivery(*channel, *attempt, DeliveryStatus::Delivered);
            }
            Event::DeliveryDeadLettered { channel } => {
                if let Some(delivery) = self.deliveries.iter_mut().find(|d| d.channel == *channel) {
                    delivery.status = DeliveryStatus::DeadLettered;
                }
            }
            Event::DeliveryRetryRequested { channel, attempt } => {
                self.set_delivery(*channel, *attempt, DeliveryStatus::Pending);
            }
            // What follows from a failure is said by the events after it.
            Event::DeliveryFailed { .. } | Event::DeliveryExhausted { .. } => {}
        }
    }

    fn created(created: &Created) -> Self {
        Self {
            owner: Some((created.tenant.clone(), created.user_id.clone())),
            life: match created.deliver_at {
                Some(release_at) => Life::Scheduled { release_at },
                None => Life::Released,
            },
            expires_at: created.expires_at,
            deliveries: created.plan.iter().map(|step| Delivery::first(step.channel)).collect(),
            ..Self::default()
        }
    }

    fn end(&mut self, life: Life, status: DeliveryStatus) {
        self.life = life;
        for delivery in self.deliveries.iter_mut().filter(|d| d.status == DeliveryStatus::Pending) {
            delivery.status = status;
        }
    }

    fn set_delivery(&mut self, channel: Channel, attempt: u32, status: DeliveryStatus) {
        if let Some(delivery) = self.deliveries.iter_mut().find(|d| d.channel == channel) {
            (delivery.attempt, delivery.status) = (attempt, status);
        }
    }
}

fn succeeded(delivery: &Delivery) -> Event {
    Event::DeliverySucceeded { channel: delivery.channel, attempt: delivery.attempt }
}

/// In-app delivery calls nothing that could be called again by itself: a reported failure ends it until
/// somebody asks for a retry.
fn failed_for_good(delivery: &Delivery, detail: &str) -> Vec<Event> {
    let Delivery { channel, attempt, .. } = *delivery;
    let error = Failure { class: FailureClass::Reported, detail: detail.into() };
    vec![
        Event::DeliveryFailed { channel, attempt, error },
        Event::DeliveryExhausted { channel, attempts: attempt },
        Event::DeliveryDeadLettered { channel },
    ]
}
