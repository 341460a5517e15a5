//! Folds events into rows, one per notification and channel, in memory and in order. No SQL, no clock: the same events
//! give the same rows, whoever folds them and however often.

use std::collections::{HashMap, HashSet};

use tidings_domain::notification::{
    Category, Created, DeferReason, Delivery, DeliveryStatus, Event, Failure, Priority,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::log::Recorded;
use crate::read_model::{FoldError, recipient};

/// Where a notification stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// As the aggregate folds it.
    pub delivery: Delivery,
    /// Its place in the plan, from 0.
    pub step: i16,
    /// The position of the notification's creation.
    pub created: i64,
    pub life: Life,
    /// The lane of workers that it is served in.
    pub priority: Priority,
    pub category: Option<Category>,
    /// Why its attempt waits though nothing has failed, where it does.
    pub deferred: Option<DeferReason>,
    /// Why the latest failed attempt failed, until another succeeds.
    pub error: Option<Failure>,
    /// Its last change.
    pub position: i64,
    pub changed_at: OffsetDateTime,
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
        | Event::DeliveryFallbackActivated { .. }
        | Event::DeliveryStarted { .. }
        | Event::DeliverySucceeded { .. }
        | Event::DeliveryFailed { .. }
        | Event::DeliveryRetryScheduled { .. }
        | Event::DeliveryDeferred { .. }
        | Event::DeliverySkipped { .. }
        | Event::DeliveryExhausted { .. }
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
        | Event::Collected(_)
        | Event::Digested(_) => false,
    }
}

impl Rows {
    pub fn loaded(&mut self, rows: impl IntoIterator<Item = (DeliveryKey, Row)>) {
        for (key, row) in rows {
            self.rows.entry(key).or_default().push(row);
        }
    }

    /// In what was made or changed.
    pub fn earliest_work(&self) -> Option<OffsetDateTime> {
        let touched = self.made.union(&self.moved).filter_map(|key| self.rows.get(key));
        touched.flatten().filter_map(Row::work_at).min()
    }

    /// An error leaves the rows as they were.
    pub fn fold(&mut self, event: &Recorded) -> Result<(), FoldError> {
        let Some((id, fact)) = event.notification()? else { return Ok(()) };
        let (tenant, user_id) = recipient(event)?;
        let key = (tenant, user_id, id.uuid());
        if let Event::Created(created) = fact {
            self.made.insert(key.clone());
            self.rows.insert(key, planned(created, event));
            return Ok(());
        }
        if !alters(fact) {
            return Ok(());
        }
        let rows = self.rows.get_mut(&key).ok_or_else(|| FoldError::never_created(event))?;
        rows.iter_mut().for_each(|row| row.evolve(fact, event));
        if !self.made.contains(&key) {
            self.moved.insert(key);
        }
        Ok(())
    }
}

fn planned(created: &Created, event: &Recorded) -> Vec<Row> {
    let life = if created.deliver_at.is_some() { Life::Scheduled } else { Life::Active };
    let row = |(index, delivery)| Row {
        delivery,
        step: index as i16,
        created: event.position,
        life,
        priority: created.priority,
        category: created.category.clone(),
        deferred: None,
        error: None,
        position: event.position,
        changed_at: event.recorded_at,
    };
    created.plan.deliveries().enumerate().map(row).collect()
}

impl Row {
    fn evolve(&mut self, fact: &Event, event: &Recorded) {
        if fact.channel().is_some_and(|channel| channel != self.delivery.channel) {
            return;
        }
        match fact {
            Event::Released {} => self.life = Life::Active,
            Event::Cancelled {} => self.life = Life::Cancelled,
            Event::Expired {} => self.life = Life::Expired,
            Event::DeliverySucceeded { .. } => self.error = None,
            Event::DeliveryFailed { error, .. } => self.error = Some(error.clone()),
            _ => {}
        }
        self.delivery.evolve(fact);
        self.deferred = match fact {
            Event::DeliveryDeferred { reason, .. } => Some(*reason),
            Event::DeliveryRetryScheduled { .. } => None,
            _ => self.deferred.filter(|_| self.delivery.status == DeliveryStatus::Scheduled),
        };
        if let Event::DeliveryRetryRequested { channel, .. } = fact
            && channel.calls_outside()
        {
            // The aggregate lets it begin whenever; who serves the longest due first must know since when it is.
            self.delivery.due_at = Some(event.recorded_at);
        }
        (self.position, self.changed_at) = (event.position, event.recorded_at);
    }

    /// From when on there is work for somebody: the attempt may begin, or the one that is under way is overdue.
    pub fn work_at(&self) -> Option<OffsetDateTime> {
        let Delivery { channel, status, due_at, deadline, .. } = self.delivery;
        match status {
            DeliveryStatus::Started => deadline,
            DeliveryStatus::Pending | DeliveryStatus::Scheduled if channel.calls_outside() => {
                due_at.filter(|_| self.life == Life::Active)
            }
            _ => None,
        }
    }
}
