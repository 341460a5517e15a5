//! Why a broadcast does not go on.

use tidings_domain::{InvalidIdentity, broadcast};
use tidings_projections::log::codec::CodecError;
use tidings_projections::log::{KeyError, Outage, ReadError, Unreadable};

use crate::log::AppendError;

#[derive(Debug, thiserror::Error)]
pub enum FanOutError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Refused(#[from] broadcast::Error),
    #[error("{0}")]
    Notification(#[from] tidings_domain::notification::Error),
    #[error("a subscriber cannot be: {0}")]
    Subscriber(#[from] InvalidIdentity),
    #[error("there is no such broadcast")]
    Absent,
    #[error("nobody knows its words any more")]
    Forgotten,
    #[error("a chunk broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

impl Outage for FanOutError {
    fn is_outage(&self) -> bool {
        match self {
            Self::Database(error) => error.is_outage(),
            Self::Read(error) => error.is_outage(),
            Self::Key(error) => error.is_outage(),
            Self::Codec(error) => error.is_outage(),
            Self::Append(error) => error.is_outage(),
            Self::Unreadable(_)
            | Self::Refused(_)
            | Self::Notification(_)
            | Self::Subscriber(_)
            | Self::Absent
            | Self::Forgotten
            | Self::Broken(_) => false,
        }
    }
}
