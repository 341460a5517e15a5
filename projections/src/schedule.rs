//! One schedule, folded on demand from its definition and its last events: always current, never behind, and no dearer after a
//! year of ticks.

use std::sync::Arc;

use sqlx::PgPool;
use tidings_domain::schedule::{Event, Schedule, ScheduleId};

use crate::log::{Fact, ReadError, Reader, Recorded, Unreadable};

/// A schedule as it stood at a position.
#[derive(Clone, Debug)]
pub struct Overview {
    pub state: Schedule,
    /// Of its last event; 0 where there is none.
    pub sequence: i64,
    pub position: i64,
    /// Its last events, in their order.
    pub last: Vec<Arc<Recorded>>,
}

impl Overview {
    /// Reads its last events up to a position, at most `limit` and at least one.
    pub async fn read(
        (reader, pool): (&Reader, &PgPool),
        id: &ScheduleId,
        up_to: i64,
        limit: i64,
    ) -> Result<Self, ReadError> {
        let id = id.to_string();
        let last = reader.end_of(pool, (Schedule::TYPE, &id), up_to, limit.max(1)).await?;
        let first = last.first().map_or(1, |event| event.sequence);
        let definition = match last.last() {
            Some(event) => defined_by(event)?.filter(|sequence| *sequence < first),
            None => None,
        };
        let definition = match definition {
            Some(sequence) => reader.at_sequences(pool, Schedule::TYPE, (&[id], &[sequence])).await?,
            None => Vec::new(),
        };
        let mut overview = Self { state: Schedule::default(), sequence: 0, position: 0, last: Vec::new() };
        for event in definition.iter().chain(&last) {
            overview.fold(event)?;
        }
        Ok(Self { last, ..overview })
    }

    /// At most `limit` of those whose ids begin with `prefix` and lie beyond `after`, deleted ones without a definition among
    /// them.
    pub async fn list(
        (reader, pool): (&Reader, &PgPool),
        range: (&str, &str),
        limit: i64,
    ) -> Result<Vec<(ScheduleId, Self)>, ReadError> {
        let ends = reader.latest(pool, Schedule::TYPE, range, limit).await?;
        let mut wanted = (Vec::new(), Vec::new());
        for event in &ends {
            if let Some(sequence) = defined_by(event)? {
                wanted.0.push(event.aggregate_id.clone());
                wanted.1.push(sequence);
            }
        }
        let definitions = reader.at_sequences(pool, Schedule::TYPE, (&wanted.0, &wanted.1)).await?;
        let mut listed = Vec::with_capacity(ends.len());
        for end in ends {
            let Fact::Schedule(id, _) = &end.fact else { continue };
            let id = id.clone();
            let mut overview =
                Self { state: Schedule::default(), sequence: 0, position: 0, last: Vec::new() };
            let definition = definitions.iter().find(|event| event.aggregate_id == end.aggregate_id);
            for event in definition.into_iter().chain([&end]) {
                overview.fold(event)?;
            }
            listed.push((id, overview));
        }
        Ok(listed)
    }

    fn fold(&mut self, event: &Recorded) -> Result<(), Unreadable> {
        if let Some(fact) = fact(event)? {
            self.state.evolve(event.sequence, fact);
            (self.sequence, self.position) = (event.sequence, event.position);
        }
        Ok(())
    }
}

/// The sequence of the definition that was in force; `None` where the event is that itself.
fn defined_by(event: &Recorded) -> Result<Option<i64>, Unreadable> {
    Ok(fact(event)?.and_then(|fact| match fact {
        Event::Changed { .. } => None,
        Event::Ticked { defined_by, .. }
        | Event::Failed { defined_by, .. }
        | Event::Skipped { defined_by, .. }
        | Event::Deleted { defined_by, .. } => Some(*defined_by),
    }))
}

fn fact(event: &Recorded) -> Result<Option<&Event>, Unreadable> {
    match &event.fact {
        Fact::Schedule(_, fact) => Ok(Some(fact)),
        Fact::Unreadable(why) => Err(Unreadable { position: event.position, why: why.clone() }),
        _ => Ok(None),
    }
}
