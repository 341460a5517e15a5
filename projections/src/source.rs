//! One source of webhooks, folded on demand from its own events: always current, never behind.

use std::sync::Arc;

use tidings_domain::source::Source;

use crate::log::{Fact, Recorded, Unreadable};

/// What nobody has configured is as good as empty.
pub fn fold(events: &[Arc<Recorded>]) -> Result<Source, Unreadable> {
    let mut source = Source::default();
    for event in events {
        match &event.fact {
            Fact::Source(_, fact) => source.evolve(fact),
            Fact::Unreadable(why) => return Err(Unreadable { position: event.position, why: why.clone() }),
            Fact::Notification(..)
            | Fact::Recipient(..)
            | Fact::Template(..)
            | Fact::Subscription(..)
            | Fact::Settings(..)
            | Fact::Broadcast(..)
            | Fact::Hook(..)
            | Fact::Admission(..)
            | Fact::Schedule(..)
            | Fact::Digest(..) => {}
        }
    }
    Ok(source)
}
