//! Why a notification refuses a command. A refusal changes nothing.

use super::{DeliveryStatus, SkipReason};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A second `Create` for the id.
    #[error("the notification exists already")]
    AlreadyExists,
    /// No such notification, or one of another tenant or user.
    #[error("there is no such notification")]
    NotFound,
    /// A mark or an outcome before `.released`.
    #[error("the notification has not been released yet")]
    NotReleased,
    #[error("the notification was cancelled")]
    Cancelled,
    #[error("the notification has expired")]
    Expired,
    /// The plan has no such channel.
    #[error("the notification's plan does not use this channel")]
    ChannelNotPlanned,
    /// An outcome that names an attempt other than the current one.
    #[error("the current attempt is {current}")]
    StaleAttempt { current: u32 },
    /// An outcome that contradicts the one already recorded for this attempt.
    #[error("the attempt has ended already: {}", .status.as_str())]
    AttemptEnded { status: DeliveryStatus },
    /// The step's turn in the plan has not come.
    #[error("the turn of this channel has not come yet")]
    NotActivated,
    /// `Start` on a channel that calls nobody.
    #[error("nothing is called on this channel, so no attempt begins")]
    NothingToCall,
    /// `Start` before the retry is due.
    #[error("the attempt is not due yet")]
    NotDue,
    /// `Start` while somebody else has the attempt.
    #[error("the attempt is under way")]
    AlreadyStarted,
    /// `Start` after the last attempt was lost: only its outcome is missing.
    #[error("no attempt is left")]
    NoAttemptLeft,
    /// An outcome of an attempt that never began.
    #[error("the attempt has not begun")]
    NotStarted,
    /// The user knows already, so nothing more is sent.
    #[error("nothing more is sent on this channel: {}", .reason.as_str())]
    Stopped { reason: SkipReason },
    /// `Retry` while nothing has failed.
    #[error("no delivery has failed, so there is nothing to retry")]
    NothingToRetry,
}
