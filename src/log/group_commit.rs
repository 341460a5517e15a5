//! The framework's event repository: reads through `postgres-es`, writes through the group commit.
//!
//! `CqrsFramework` knows nothing of tenants, lanes, idempotency or positions; what a call needs of them
//! travels beside it in a task-local [`Call`], and so does what became of it.

use std::sync::Mutex;

use cqrs_es::Aggregate;
use cqrs_es::persist::{
    PersistedEventRepository, PersistenceError, ReplayStream, SerializedEvent, SerializedSnapshot,
};
use postgres_es::PostgresEventRepository;
use serde_json::Value;
use sqlx::PgPool;
use tidings_projections::log::codec::Place;
use tidings_projections::log::{Codec, Fact};
use tokio::time::Instant;
use uuid::Uuid;

use super::job::{AppendError, Appended, Job, JobEvent, Lane, Record};
use super::writer::Log;

/// One execution of one command.
pub struct Call {
    pub command_id: Uuid,
    pub tenant: String,
    /// The aggregate's id is new: there is nothing to load, and the append guards the claim.
    pub fresh: bool,
    pub lane: Lane,
    pub deadline: Instant,
    pub record: Option<Record>,
    /// The user the aggregate belongs to, read from its first event.
    recipient: Mutex<Option<String>>,
    outcome: Mutex<Option<Result<Appended, AppendError>>>,
}

impl Call {
    pub fn new(command_id: Uuid, tenant: String, deadline: Instant) -> Self {
        Self {
            command_id,
            tenant,
            fresh: false,
            lane: Lane::Single,
            deadline,
            record: None,
            recipient: Mutex::default(),
            outcome: Mutex::default(),
        }
    }

    fn learn_recipient(&self, first: &SerializedEvent) {
        if let Some(user) = first.payload["user_id"].as_str() {
            *self.recipient.lock().expect("no code panics while it holds a call") = Some(user.to_owned());
        }
    }

    fn recipient(&self) -> Option<String> {
        self.recipient.lock().expect("no code panics while it holds a call").clone()
    }

    fn finish(&self, outcome: Result<Appended, AppendError>) {
        *self.outcome.lock().expect("no code panics while it holds a call") = Some(outcome);
    }
}

tokio::task_local! {
    static CALL: Call;
}

/// Runs one execution; gives back its result and what the append said, if it came that far.
pub async fn with_call<T>(
    call: Call,
    execution: impl Future<Output = T>,
) -> (T, Option<Result<Appended, AppendError>>) {
    CALL.scope(call, async {
        let result = execution.await;
        let outcome =
            CALL.with(|call| call.outcome.lock().expect("no code panics while it holds a call").take());
        (result, outcome)
    })
    .await
}

pub struct GroupCommit {
    inner: PostgresEventRepository,
    log: Log,
    codec: Codec,
}

impl GroupCommit {
    pub fn new(pool: PgPool, log: Log, codec: Codec) -> Self {
        Self { inner: PostgresEventRepository::new(pool), log, codec }
    }

    /// What was stored, as the framework expects it: opened, and with the name inside the payload.
    async fn open(&self, mut event: SerializedEvent) -> Result<SerializedEvent, PersistenceError> {
        let place = Place {
            aggregate_id: &event.aggregate_id,
            sequence: event.sequence as i64,
            event_type: &event.event_type,
        };
        let mut payload = self.codec.open(place, event.payload).await.map_err(unknown)?;
        if let Value::Object(members) = &mut payload {
            members.insert("type".into(), event.event_type.as_str().into());
        }
        event.payload = payload;
        Ok(event)
    }

    async fn job(&self, events: &[SerializedEvent]) -> Result<(Job, Lane), PersistenceError> {
        if let Some(first) = events.first().filter(|e| e.sequence == 1) {
            CALL.with(|call| call.learn_recipient(first));
        }
        let epoch = self.log.epoch();
        let (tenant, recipient) = CALL.with(|call| (call.tenant.clone(), call.recipient()));
        let mut prepared = Vec::with_capacity(events.len());
        for event in events {
            let fact = Fact::of_serialized(event).map_err(unknown)?;
            let event = JobEvent::prepare(&self.codec, event, fact, &tenant, recipient.as_deref()).await;
            prepared.push(event.map_err(unknown)?);
        }
        Ok(CALL.with(|call| {
            let job = Job {
                command_id: call.command_id,
                epoch,
                events: prepared,
                record: call.record.clone(),
                deadline: call.deadline,
            };
            (job, call.lane)
        }))
    }
}

fn unknown(error: impl std::error::Error + Send + Sync + 'static) -> PersistenceError {
    PersistenceError::UnknownError(Box::new(error))
}

impl PersistedEventRepository for GroupCommit {
    async fn get_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        if CALL.try_with(|call| call.fresh).unwrap_or(false) {
            return Ok(Vec::new());
        }
        let load = async {
            let mut events = Vec::new();
            for event in self.inner.get_events::<A>(aggregate_id).await? {
                events.push(self.open(event).await?);
            }
            Ok(events)
        };
        // A database that hangs answers nothing, not even that its own time limit has passed.
        let deadline = CALL.try_with(|call| call.deadline).ok();
        let events = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, load)
                .await
                .unwrap_or_else(|_| Err(unknown(sqlx::Error::PoolTimedOut)))?,
            None => load.await?,
        };
        if let Some(first) = events.first() {
            let _ = CALL.try_with(|call| call.learn_recipient(first));
        }
        Ok(events)
    }

    async fn get_last_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
        last_sequence: usize,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        let mut events = self.get_events::<A>(aggregate_id).await?;
        events.retain(|event| event.sequence > last_sequence);
        Ok(events)
    }

    async fn get_snapshot<A: Aggregate>(
        &self,
        aggregate_id: &str,
    ) -> Result<Option<SerializedSnapshot>, PersistenceError> {
        self.inner.get_snapshot::<A>(aggregate_id).await
    }

    /// Appends, also when there is no event: a command that changes nothing may still leave its idempotency
    /// record, and learns the position it met.
    async fn persist<A: Aggregate>(
        &self,
        events: &[SerializedEvent],
        _snapshot_update: Option<(String, Value, usize)>,
    ) -> Result<(), PersistenceError> {
        let (job, lane) = self.job(events).await?;
        let outcome = self.log.append(job, lane).await;
        CALL.with(|call| call.finish(outcome.clone()));
        match outcome {
            Ok(_) => Ok(()),
            Err(AppendError::Conflict) => Err(PersistenceError::OptimisticLockError),
            Err(error) => Err(unknown(error)),
        }
    }

    // The framework's replay reports success on a failed query and has no global order: the log's own reader
    // is the only way to replay. These answer for single aggregates, and are used by nothing.
    async fn stream_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
    ) -> Result<ReplayStream, PersistenceError> {
        let events = self.get_events::<A>(aggregate_id).await?;
        let (mut feed, stream) = ReplayStream::new(events.len().max(1));
        for event in events {
            feed.push(Ok(event)).await?;
        }
        Ok(stream)
    }

    async fn stream_all_events<A: Aggregate>(&self) -> Result<ReplayStream, PersistenceError> {
        Err(unknown(ReplayRefused))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the whole log is read by position, not by the framework's replay")]
struct ReplayRefused;
