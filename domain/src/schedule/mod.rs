//! One schedule: what it asks for again and again, and when it asks next.
//!
//! Cron expressions and time zones are read outside: instants come in with the commands. Each fact says when the next tick is and
//! which definition it belongs to, so that the last fact and that definition are all it takes to go on.

mod due;
mod event;
mod identity;

pub use due::{DUE_MAX, RUN_MAX, Step, step};
pub use event::{Created, Definition, Event, Missed, Reason, Request};
pub use identity::{ScheduleId, ScheduleKey};

use time::OffsetDateTime;

use crate::Tenant;

/// Whoever may act for the tenant as a whole may say it.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub tenant: Tenant,
    pub key: ScheduleKey,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Replaces what was said of it. `next_at` is its first tick from then on, if one comes.
    Change {
        definition: Box<Definition>,
        next_at: Option<OffsetDateTime>,
    },
    /// What became of the tick that was the next.
    Record(Tick),
    Delete,
}

/// What became of the tick at `from`, and of those that were missed with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    pub from: OffsetDateTime,
    pub result: Outcome,
    pub next_at: Option<OffsetDateTime>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// `missed` others went with it.
    Created {
        at: OffsetDateTime,
        missed: u32,
        created: Created,
    },
    Failed {
        at: OffsetDateTime,
        missed: u32,
        reason: Reason,
    },
    /// Nothing was asked for, from `from` to here.
    Skipped {
        to: OffsetDateTime,
        count: u32,
    },
}

/// Why a schedule refuses a command. A refusal changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no such schedule")]
    NotFound,
    /// Somebody else recorded it, or the schedule was changed.
    #[error("this tick is not the next one")]
    StaleTick,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    #[default]
    Absent,
    Active,
    Deleted,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    pub life: Life,
    pub definition: Option<Definition>,
    /// The sequence of the event that said it; 0 before the first.
    pub defined_by: i64,
    /// `None` where no tick comes any more: it is paused, at its end or deleted.
    pub next_at: Option<OffsetDateTime>,
}

impl Schedule {
    /// The type of aggregate.
    pub const TYPE: &'static str = "schedule";

    /// What follows from the command. Nothing, when everything it asks for is already so.
    pub fn decide(&self, command: &Command) -> Result<Option<Event>, Error> {
        let Command { tenant, key, action } = command;
        let (tenant, key, defined_by) = (tenant.clone(), key.clone(), self.defined_by);
        match action {
            Action::Change { definition, .. }
                if self.life == Life::Active && self.definition.as_ref() == Some(definition) =>
            {
                Ok(None)
            }
            Action::Change { definition, next_at } => {
                Ok(Some(Event::Changed { tenant, key, definition: definition.clone(), next_at: *next_at }))
            }
            Action::Record(tick) => self.record(tick).map(Some),
            Action::Delete => match self.life {
                Life::Absent => Err(Error::NotFound),
                Life::Deleted => Ok(None),
                Life::Active => Ok(Some(Event::Deleted { tenant, key, defined_by })),
            },
        }
    }

    fn record(&self, tick: &Tick) -> Result<Event, Error> {
        let Tick { from, result, next_at } = tick.clone();
        if self.life != Life::Active || self.next_at != Some(from) {
            return Err(Error::StaleTick);
        }
        let defined_by = self.defined_by;
        Ok(match result {
            Outcome::Created { at, missed, created } => {
                Event::Ticked { defined_by, at, missed, created: vec![created], next_at }
            }
            Outcome::Failed { at, missed, reason } => {
                Event::Failed { defined_by, at, missed, reason, next_at }
            }
            Outcome::Skipped { to, count } => Event::Skipped { defined_by, from, to, count, next_at },
        })
    }

    /// Folds one fact, the one with this sequence, into the state.
    pub fn evolve(&mut self, sequence: i64, event: &Event) {
        match event {
            Event::Changed { definition, next_at, .. } => {
                let (life, definition) = (Life::Active, Some(definition.as_ref().clone()));
                *self = Self { life, definition, defined_by: sequence, next_at: *next_at };
            }
            Event::Ticked { next_at, .. }
            | Event::Failed { next_at, .. }
            | Event::Skipped { next_at, .. } => {
                self.next_at = *next_at;
            }
            Event::Deleted { .. } => (self.life, self.next_at) = (Life::Deleted, None),
        }
    }
}

#[cfg(test)]
mod tests;
