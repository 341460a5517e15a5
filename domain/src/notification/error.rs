//! Why a notification refuses a command. A refusal changes nothing.

use super::DeliveryStatus;

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
    /// `Retry` while nothing has failed.
    #[error("no delivery has failed, so there is nothing to retry")]
    NothingToRetry,
}
