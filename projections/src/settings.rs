//! A tenant's settings, folded on demand from their own events: always current, never behind.

use std::sync::Arc;

use tidings_domain::settings::Settings;

use crate::log::{Fact, Recorded, Unreadable};

/// Empty where nothing was ever set.
pub fn fold(events: &[Arc<Recorded>]) -> Result<Settings, Unreadable> {
    let mut settings = Settings::default();
    for event in events {
        match &event.fact {
            Fact::Settings(_, fact) => settings.evolve(fact),
            Fact::Unreadable(why) => return Err(Unreadable { position: event.position, why: why.clone() }),
            Fact::Notification(..)
            | Fact::Recipient(..)
            | Fact::Template(..)
            | Fact::Subscription(..)
            | Fact::Broadcast(..)
            | Fact::Source(..)
            | Fact::Hook(..)
            | Fact::Admission(..)
            | Fact::Schedule(..)
            | Fact::Digest(..) => {}
        }
    }
    Ok(settings)
}
