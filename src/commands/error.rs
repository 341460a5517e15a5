//! Why a command was not carried out; what passes by itself is kept apart from what somebody must look at.

use cqrs_es::AggregateError;
use tidings_domain::notification::{self, Action};
use tidings_domain::{broadcast, schedule, settings, source, template};
use tidings_projections::log::codec::CodecError;
use tidings_projections::log::{Outage, ReadError};
use time::OffsetDateTime;

use crate::log::AppendError;

/// What is wrong with a time that has passed.
pub const PAST: &str = "must lie in the future";

#[derive(Clone, Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Refused(notification::Error),
    #[error(transparent)]
    TemplateRefused(template::Error),
    #[error(transparent)]
    SettingsRefused(settings::Error),
    #[error(transparent)]
    BroadcastRefused(broadcast::Error),
    #[error(transparent)]
    SourceRefused(source::Error),
    #[error(transparent)]
    ScheduleRefused(schedule::Error),
    /// Others kept changing the aggregate until the deadline.
    #[error("other commands kept changing the notification; nothing was done")]
    Conflict,
    /// The key stands for another request.
    #[error("this idempotency key was used for another request")]
    KeyReused,
    #[error(transparent)]
    Append(AppendError),
    /// It asks for a time to come that has passed; `member` is a JSON Pointer into the command.
    #[error("{member}: {PAST}")]
    Past { member: &'static str },
    /// The read model that says what is meant has not followed the log up to this position in time; nothing was done.
    #[error("what is to be changed is not known up to position {0} yet")]
    Behind(i64),
    /// Something needed before the append could not be reached; nothing was done.
    #[error("the command could not be executed: {0}")]
    Unavailable(String),
    /// Something needed before the append is broken; nothing was done, and no repetition helps.
    #[error("the command cannot be executed: {0}")]
    Fault(String),
}

impl CommandError {
    fn of(error: &(impl Outage + std::fmt::Display)) -> Self {
        let told = error.to_string();
        if error.is_outage() { Self::Unavailable(told) } else { Self::Fault(told) }
    }

    /// What the framework reports of a command that did not come to its append.
    pub(super) fn of_framework<E: std::error::Error>(error: AggregateError<E>) -> Self {
        match error {
            AggregateError::UserError(refusal) => Self::Fault(refusal.to_string()),
            AggregateError::AggregateConflict => Self::Conflict,
            AggregateError::DatabaseConnectionError(error) => Self::Unavailable(error.to_string()),
            AggregateError::DeserializationError(error) => Self::Fault(error.to_string()),
            AggregateError::UnexpectedError(error) => {
                if let Some(error) = error.downcast_ref::<sqlx::Error>() {
                    Self::of(error)
                } else if let Some(error) = error.downcast_ref::<CodecError>() {
                    Self::of(error)
                } else {
                    Self::Fault(error.to_string())
                }
            }
        }
    }
}

/// The domain knows no clock, so what may only lie ahead is refused here. A repetition that has its answer already is not
/// asked again: meanwhile the time may have come.
pub(super) fn check_time(action: &Action, now: OffsetDateTime) -> Result<(), CommandError> {
    match action {
        Action::Create(create) if create.expires_at.is_some_and(|at| at <= now) => {
            Err(CommandError::Past { member: "/expires_at" })
        }
        Action::Snooze { until } if *until <= now => Err(CommandError::Past { member: "/until" }),
        _ => Ok(()),
    }
}

impl Outage for CommandError {
    /// Whether the same command may succeed later, with nothing mended.
    fn is_outage(&self) -> bool {
        match self {
            Self::Conflict | Self::Behind(_) | Self::Unavailable(_) => true,
            Self::Append(error) => error.is_outage(),
            Self::Refused(_)
            | Self::TemplateRefused(_)
            | Self::SettingsRefused(_)
            | Self::BroadcastRefused(_)
            | Self::SourceRefused(_)
            | Self::ScheduleRefused(_)
            | Self::KeyReused
            | Self::Past { .. }
            | Self::Fault(_) => false,
        }
    }
}

impl From<sqlx::Error> for CommandError {
    fn from(error: sqlx::Error) -> Self {
        Self::of(&error)
    }
}

impl From<ReadError> for CommandError {
    fn from(error: ReadError) -> Self {
        Self::of(&error)
    }
}

impl From<CodecError> for CommandError {
    fn from(error: CodecError) -> Self {
        Self::of(&error)
    }
}
