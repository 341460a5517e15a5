//! Which failures of the database are outages: they pass, and whoever comes back later is served. All others are
//! faults, which somebody has to look at.

use super::ReadError;
use super::codec::CodecError;
use super::keys::KeyError;

pub trait Outage {
    fn is_outage(&self) -> bool;
}

impl Outage for sqlx::Error {
    fn is_outage(&self) -> bool {
        match self {
            Self::Io(_)
            | Self::Tls(_)
            | Self::PoolTimedOut
            | Self::PoolClosed
            | Self::Protocol(_)
            | Self::WorkerCrashed => true,
            // 57xxx and 08xxx: the server is going away, coming up, or gave up after its time limit.
            Self::Database(database) => {
                database.code().is_some_and(|code| code.starts_with("57") || code.starts_with("08"))
            }
            _ => false,
        }
    }
}

impl Outage for KeyError {
    fn is_outage(&self) -> bool {
        match self {
            Self::Database(database) => database.is_outage(),
            Self::Unwrap | Self::WrongMasterKey => false,
        }
    }
}

impl Outage for CodecError {
    fn is_outage(&self) -> bool {
        match self {
            Self::Key(key) => key.is_outage(),
            Self::Damaged { .. } => false,
        }
    }
}

impl Outage for ReadError {
    fn is_outage(&self) -> bool {
        match self {
            Self::Database(database) => database.is_outage(),
            Self::Key(key) => key.is_outage(),
            Self::Hole { .. } | Self::Unknown { .. } | Self::Unreadable(_) => false,
        }
    }
}
