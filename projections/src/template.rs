//! One template, folded on demand from its own events: always current, never behind.

use std::sync::Arc;

use tidings_domain::template::Template;

use crate::log::{Fact, Recorded, Unreadable};

/// `None` where nothing was ever published.
pub fn fold(events: &[Arc<Recorded>]) -> Result<Option<Template>, Unreadable> {
    let mut template = Template::default();
    for event in events {
        match &event.fact {
            Fact::Template(_, fact) => template.evolve(fact),
            Fact::Unreadable(why) => return Err(Unreadable { position: event.position, why: why.clone() }),
            Fact::Notification(..)
            | Fact::Recipient(..)
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
    Ok((!template.versions.is_empty()).then_some(template))
}
