//! One broadcast, folded on demand from the first and the last of its own events: always current, never behind.

use std::sync::Arc;

use serde_json::value::RawValue;
use tidings_domain::BroadcastId;
use tidings_domain::broadcast::{Broadcast, Created, Event};
use time::OffsetDateTime;

use crate::log::{Fact, Recorded, Unreadable};

#[derive(Clone, Debug)]
pub struct Overview {
    pub id: BroadcastId,
    pub created: Created,
    pub created_at: OffsetDateTime,
    /// Its first event: whose subscribers it reaches.
    pub created_position: i64,
    /// Of its first event: who asked for it, as part of which request.
    pub metadata: Box<RawValue>,
    pub state: Broadcast,
    /// Of its last event.
    pub sequence: i64,
    pub position: i64,
}

/// `None` without events, and for a log that does not begin with the creation.
pub fn fold(events: &[Arc<Recorded>]) -> Result<Option<Overview>, Unreadable> {
    let mut overview: Option<Overview> = None;
    for event in events {
        let (id, fact) = match &event.fact {
            Fact::Broadcast(id, fact) => (*id, fact),
            Fact::Unreadable(why) => return Err(Unreadable { position: event.position, why: why.clone() }),
            _ => return Ok(None),
        };
        match (&mut overview, fact) {
            (None, Event::Created(created)) => {
                let mut state = Broadcast::default();
                state.evolve(fact);
                overview = Some(Overview {
                    id,
                    created: (**created).clone(),
                    created_at: event.recorded_at,
                    created_position: event.position,
                    metadata: event.metadata.clone(),
                    state,
                    sequence: event.sequence,
                    position: event.position,
                });
            }
            (None, _) => return Ok(None),
            (Some(overview), fact) => {
                overview.state.evolve(fact);
                (overview.sequence, overview.position) = (event.sequence, event.position);
            }
        }
    }
    Ok(overview)
}
