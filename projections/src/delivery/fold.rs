//! Folds events into rows, one per notification and channel, in memory and in order. No SQL, no clock: the same events
//! give the same rows, whoever folds them and however often.

use std::collections::{HashMap, HashSet};

use tidings_domain::notification::{Channel, Created, DeliveryStatus, Event};
use uuid::Uuid;

use crate::log::Recorded;
use crate::read_model::{FoldError, recipient};

/// Where a notification stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Scheduled,
    Active,
    Cancelled,
    Expired,
}

impl Life {
    pub const ALL: [Self; 4] = [Self::Scheduled, Self::Active, Self::Cancelled, Self::Expired];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Active => "active",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|life| life.as_str() == text)
    }
}

/// Tenant, user and notification.
pub(super) type DeliveryKey = (String, String, Uuid);

/// The delivery on one channel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// As it is stored.
    pub channel: String,
    /// Its place in the plan, from 0.
    pub step: i16,
    /// The position of the notification's creation.
    pub created: i64,
    pub life: Life,
    pub status: DeliveryStatus,
    pub attempt: i32,
    /// Why the latest failed attempt failed, until another succeeds.
    pub error: Option<String>,
    /// Its last change.
    pub position: i64,
}

/// The rows a batch touches: loaded before, folded, written after.
#[derive(Default)]
pub(super) struct Rows {
    /// Per notification, in the order of its plan.
    pub rows: HashMap<DeliveryKey, Vec<Row>>,
    /// Notifications that this batch creates.
    pub made: HashSet<DeliveryKey>,
    /// Notifications that stood before and were changed.
    pub moved: HashSet<DeliveryKey>,
}

/// The notification whose rows an event alters, unless it creates it or alters none.
pub(super) fn altered(event: &Recorded) -> Option<DeliveryKey> {
    let (id, fact) = event.notification().ok()??;
    alters(fact).then_some((event.tenant.clone(), event.recipient.clone()?, id.uuid()))
}

fn alters(fact: &Event) -> bool {
    match fact {
        Event::Released {}
        | Event::Cancelled {}
        | Event::Expired {}
        | Event::DeliverySucceeded { .. }
        | Event::DeliveryFailed { .. }
        | Event::DeliveryDeadLettered { .. }
        | Event::DeliveryRetryRequested { .. } => true,
        Event::Created(_)
        | Event::Woken {}
        | Event::Seen {}
        | Event::Read {}
        | Event::Unread {}
        | Event::Archived {}
        | Event::Unarchived {}
        | Event::Snoozed { .. }
        | Event::DeliveryExhausted { .. } => false,
    }
}

impl Rows {
    pub fn loaded(&mut self, rows: impl IntoIterator<Item = (DeliveryKey, Row)>) {
        for (key, row) in rows {
            self.rows.entry(key).or_default().push(row);
        }
    }

    /// An error leaves the rows as they were.
    pub fn fold(&mut self, event: &Recorded) -> Result<(), FoldError> {
        let Some((id, fact)) = event.notification()? else { return Ok(()) };
        let (tenant, user_id) = recipient(event)?;
        let key = (tenant, user_id, id.uuid());
        if let Event::Created(created) = fact {
            self.made.insert(key.clone());
            self.rows.insert(key, planned(created, event.position));
            return Ok(());
        }
        if !alters(fact) {
            return Ok(());
        }
        let rows = self.rows.get_mut(&key).ok_or_else(|| FoldError::never_created(event))?;
        rows.iter_mut().for_each(|row| row.evolve(fact, event.position));
        if !self.made.contains(&key) {
            self.moved.insert(key);
        }
        Ok(())
    }
}

fn planned(created: &Created, position: i64) -> Vec<Row> {
    let life = if created.deliver_at.is_some() { Life::Scheduled } else { Life::Active };
    let row = |(step, channel): (i16, Channel)| Row {
        channel: channel.as_str().to_owned(),
        step,
        created: position,
        life,
        status: DeliveryStatus::Pending,
        attempt: 1,
        error: None,
        position,
    };
    (0..).zip(created.plan.iter().map(|step| step.channel)).map(row).collect()
}

impl Row {
    /// As the aggregate folds it.
    fn evolve(&mut self, fact: &Event, position: i64) {
        let is_of = |channel: &Channel| channel.as_str() == self.channel;
        match fact {
            Event::Released {} => self.life = Life::Active,
            Event::Cancelled {} => self.end(Life::Cancelled, DeliveryStatus::Cancelled),
            Event::Expired {} => self.end(Life::Expired, DeliveryStatus::Expired),
            Event::DeliverySucceeded { channel, attempt } if is_of(channel) => {
                self.stand(*attempt, DeliveryStatus::Delivered);
                self.error = None;
            }
            Event::DeliveryFailed { channel, error, .. } if is_of(channel) => {
                self.error = Some(error.detail.clone());
            }
            Event::DeliveryDeadLettered { channel } if is_of(channel) => {
                self.status = DeliveryStatus::DeadLettered;
            }
            Event::DeliveryRetryRequested { channel, attempt } if is_of(channel) => {
                self.stand(*attempt, DeliveryStatus::Pending);
            }
            // Of another channel.
            _ => return,
        }
        self.position = position;
    }

    fn end(&mut self, life: Life, status: DeliveryStatus) {
        self.life = life;
        if self.status == DeliveryStatus::Pending {
            self.status = status;
        }
    }

    fn stand(&mut self, attempt: u32, status: DeliveryStatus) {
        self.attempt = i32::try_from(attempt).unwrap_or(i32::MAX);
        self.status = status;
    }
}
