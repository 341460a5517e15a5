//! The one source of time and of ids. Everything else gets them as arguments.

use time::OffsetDateTime;
use uuid::Uuid;

/// The instant, cut to the milliseconds in which the API writes it.
pub fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_millisecond(now.millisecond()).expect("a millisecond taken from an instant fits one")
}

/// The instant with every digit the system has, for measuring.
pub fn instant() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// A UUIDv7: unique, and sortable by the moment it was made.
pub fn new_uuid() -> Uuid {
    Uuid::now_v7()
}
