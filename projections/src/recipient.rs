//! One recipient, folded on demand from its own events: always current, never behind.

use std::sync::Arc;

use tidings_domain::recipient::Recipient;

use crate::log::{Fact, Recorded, Unreadable};

/// Whom nobody has described is as good as empty.
pub fn fold(events: &[Arc<Recorded>]) -> Result<Recipient, Unreadable> {
    let mut recipient = Recipient::default();
    for event in events {
        match &event.fact {
            Fact::Recipient(_, fact) => recipient.evolve(fact),
            Fact::Unreadable(why) => return Err(Unreadable { position: event.position, why: why.clone() }),
            Fact::Notification(..)
            | Fact::Template(..)
            | Fact::Subscription(..)
            | Fact::Settings(..)
            | Fact::Broadcast(..)
            | Fact::Source(..)
            | Fact::Hook(..)
            | Fact::Admission(..)
            | Fact::Schedule(..)
            | Fact::Digest(..) => {}
        }
    }
    Ok(recipient)
}
