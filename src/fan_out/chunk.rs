//! A chunk: the notifications of some recipients and the word that they were made, as one job.

use std::sync::Arc;
use std::time::Duration;

use cqrs_es::persist::SerializedEvent;
use cqrs_es::{Aggregate, DomainEvent};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};
use sqlx::PgPool;
use tidings_domain::broadcast::{self, Action, Broadcast, Chunk, Created};
use tidings_domain::notification::{self, Create, Notification};
use tidings_domain::{BroadcastId, Issuer, NotificationId, RecipientId, Tenant, UserId};
use tidings_projections::broadcast::Overview;
use tidings_projections::log::{Fact, Reader, RecipientKey};
use tokio::time::Instant;

use super::Workshop;
use super::error::FanOutError;
use crate::admissions::{Admissions, Joined};
use crate::clock;
use crate::directory::Directory;
use crate::log::{Job, JobEvent};
use crate::telemetry::traces::TRACEPARENT;

/// Recipients of a chunk at most. With two words about the broadcast itself they fill one call of the log, after which the
/// next may go before the inbox has taken the first.
pub const RECIPIENTS_MAX: usize = 248;
/// A chunk waits behind other bulk work, and for the inbox.
const DEADLINE: Duration = Duration::from_secs(30);

/// Where a broadcast stands once all that was handed in is in the log.
pub struct Chain {
    id: BroadcastId,
    pub created: Arc<Created>,
    pub created_position: i64,
    pub state: Broadcast,
    /// Of its last event.
    sequence: i64,
    pool: PgPool,
    reader: Reader,
    directory: Directory,
    metadata: Map<String, Value>,
}

impl Chain {
    pub fn new(overview: Overview, workshop: &Workshop) -> Self {
        let Workshop { pool, reader, directory, .. } = workshop.clone();
        let Overview { id, created, created_position, state, sequence, metadata, .. } = overview;
        let mut metadata: Map<String, Value> = serde_json::from_str(metadata.get()).unwrap_or_default();
        // Whoever asked for the broadcast did all of it; what caused it is the broadcast. A trace of the request would grow
        // by as many spans as there are recipients.
        metadata.insert("causation_id".into(), json!(id));
        metadata.remove(TRACEPARENT);
        Self {
            id,
            created: Arc::new(created),
            created_position,
            state,
            sequence,
            pool,
            reader,
            directory,
            metadata,
        }
    }

    /// The job of this chunk; the next one follows it.
    pub async fn job(&mut self, users: Vec<UserId>, chunk: Chunk, epoch: i64) -> Result<Job, FanOutError> {
        let command_id = clock::new_uuid();
        let mut metadata = self.metadata.clone();
        metadata.insert("command_id".into(), json!(command_id));
        let metadata = Value::Object(metadata);
        let tenant = self.created.tenant.clone();
        let (recipients, granted) = self.addressed(users, &metadata).await?;
        let (whose, of_recipients) =
            (tenant.clone(), to_raw_value(&metadata).expect("a JSON value always serialises"));
        // Sealing is work for the processor, a few milliseconds of it.
        let sealing = tokio::task::spawn_blocking(move || notifications(&whose, recipients, &of_recipients));
        let mut events = sealing.await??;
        events.extend(granted);

        let action = Action::RecordFanOut(chunk);
        for event in self.state.decide(&broadcast::Command { tenant: tenant.clone(), action })? {
            self.state.evolve(&event);
            self.sequence += 1;
            let serialized = SerializedEvent {
                aggregate_id: self.id.to_string(),
                sequence: self.sequence as usize,
                aggregate_type: Broadcast::TYPE.into(),
                event_type: event.event_type(),
                event_version: event.event_version(),
                payload: json!(event),
                metadata: metadata.clone(),
            };
            let fact = Fact::Broadcast(self.id, event);
            events.push(
                JobEvent::prepare(self.reader.codec(), &serialized, fact, tenant.as_str(), None).await?,
            );
        }
        Ok(Job { command_id, epoch, events, record: None, deadline: Instant::now() + DEADLINE })
    }

    /// How each is told, and what is granted for that.
    async fn addressed(
        &self,
        users: Vec<UserId>,
        metadata: &Value,
    ) -> Result<(Vec<Addressed>, Vec<JobEvent>), FanOutError> {
        let Created { tenant, message, .. } = &*self.created;
        let names: Vec<&str> = users.iter().map(UserId::as_str).collect();
        let keys = self.reader.codec().keys().of_recipients(tenant.as_str(), &names).await?;
        if message.plan.is_in_inbox() && self.directory.describes_anybody(tenant).await? {
            let ids = users.iter().map(|user| RecipientId { tenant: tenant.clone(), user: user.clone() });
            self.directory.meet(ids).await?;
        }
        let now = clock::now();
        let creates = users.into_iter().map(|user| message.clone().to(user, now));
        let creates: Vec<Create> = creates.collect::<Option<_>>().ok_or(FanOutError::Forgotten)?;
        let mut admissions = Admissions::new(&self.pool, &self.reader, &self.directory);
        admissions.meet(tenant, &creates).await?;
        let mut addressed = Vec::with_capacity(creates.len());
        for (mut create, key) in creates.into_iter().zip(keys) {
            let (id, user) = (NotificationId::new(clock::new_uuid()), create.user.clone());
            let told = match admissions.admit(tenant, id, &mut create).await? {
                Some(joined) => Told::Joined(joined),
                None => Told::Made(id, Box::new(create)),
            };
            addressed.push(Addressed { user, key, told });
        }
        Ok((addressed, admissions.into_events(metadata).await?))
    }
}

/// Somebody who is to be told.
struct Addressed {
    user: UserId,
    key: Arc<RecipientKey>,
    told: Told,
}

enum Told {
    /// With what was not wanted left out.
    Made(NotificationId, Box<Create>),
    Joined(Joined),
}

/// What each recipient is told, decided and sealed.
fn notifications(
    tenant: &Tenant,
    recipients: Vec<Addressed>,
    metadata: &RawValue,
) -> Result<Vec<JobEvent>, FanOutError> {
    let issuer = Issuer { tenant: tenant.clone(), user: None };
    let unborn = Notification::default();
    let mut sealed = Vec::with_capacity(recipients.len() + 2);
    for Addressed { user, key, told } in recipients {
        let (id, first, events) = match told {
            Told::Made(id, create) => {
                let action = notification::Action::Create(create);
                (id, 1, unborn.decide(&notification::Command { issuer: issuer.clone(), action })?)
            }
            Told::Joined(Joined { digest, sequence, event }) => (digest, sequence, vec![event]),
        };
        for (sequence, event) in (first..).zip(events) {
            let serialized = SerializedEvent {
                aggregate_id: id.to_string(),
                sequence: sequence as usize,
                aggregate_type: Notification::TYPE.into(),
                event_type: event.event_type(),
                event_version: event.event_version(),
                payload: json!(event),
                metadata: Value::Null,
            };
            let whose = (tenant.as_str(), Some(user.as_str()));
            let fact = Fact::Notification(id, event);
            sealed.push(JobEvent::seal(&key, &serialized, fact, whose, metadata));
        }
    }
    Ok(sealed)
}
