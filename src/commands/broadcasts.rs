//! Broadcasts: asked for once, and cancelled while they run.

use cqrs_es::persist::SerializedEvent;
use cqrs_es::{Aggregate, DomainEvent};
use serde_json::json;
use tidings_domain::BroadcastId;
use tidings_domain::broadcast::{Action, Broadcast, Command, Error, Request};
use tidings_projections::broadcast::fold;
use tidings_projections::log::Fact;
use tokio::time::Instant;

use super::{CONFLICT_PAUSE, Changed, CommandError, Commands, Context, DEADLINE, Execution, Order};
use crate::clock;
use crate::fan_out::Workshop;
use crate::log::{Answer, AppendError, Appended, Job, JobEvent, Lane};

/// A broadcast that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requested {
    pub id: BroadcastId,
    /// Whose subscribers it reaches: those of this position.
    pub position: i64,
    /// Answered from the record of an earlier request with the same idempotency key.
    pub replayed: bool,
}

impl Commands {
    /// What it takes to fan broadcasts out.
    pub fn workshop(&self) -> Workshop {
        let Self { pool, reader, log, history, directory, .. } = self;
        let (pool, reader, log) = (pool.clone(), reader.clone(), log.clone());
        Workshop { pool, reader, log, history: history.clone(), directory: directory.clone() }
    }

    /// Records a broadcast under a fresh id; it is fanned out by whoever reads of it.
    pub async fn request_broadcast(
        &self,
        context: &Context,
        request: Request,
    ) -> Result<Requested, CommandError> {
        let action = Action::Request(Box::new(request));
        let result = self.request_fresh(context, &action).await;
        self.metrics.count(&action, result.as_ref().map(|requested| requested.replayed));
        result
    }

    /// What an earlier request with the same key was answered.
    pub async fn earlier_broadcast(&self, context: &Context) -> Result<Option<Requested>, CommandError> {
        self.first_answer(context).await?.map(|answer| repeated(context, &answer)).transpose()
    }

    async fn request_fresh(&self, context: &Context, action: &Action) -> Result<Requested, CommandError> {
        if let Some(earlier) = self.earlier_broadcast(context).await? {
            return Ok(earlier);
        }
        if let Action::Request(request) = action
            && request.message.expires_at.is_some_and(|at| at <= clock::now())
        {
            return Err(CommandError::Past { member: "/expires_at" });
        }
        let id = BroadcastId::new(clock::new_uuid());
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            let command = Command { tenant: context.principal.tenant().clone(), action: action.clone() };
            let order =
                Order { id: id.to_string(), fresh: true, status: 201, result: json!({"id": id}), deadline };
            let refused = CommandError::BroadcastRefused;
            match self.append_with(&self.broadcasts, context, order, command, refused).await? {
                Execution::Stored { position } => return Ok(Requested { id, position, replayed: false }),
                Execution::Replayed(answer) => return repeated(context, &answer),
                // Nobody else knows the id: a new epoch began meanwhile.
                Execution::Conflict => tokio::time::sleep(CONFLICT_PAUSE).await,
            }
        }
        Err(CommandError::Conflict)
    }

    /// Stops a broadcast at the end of a chunk: what was made stays.
    pub async fn cancel_broadcast(
        &self,
        context: &Context,
        id: BroadcastId,
    ) -> Result<Changed, CommandError> {
        let result = self.cancel_between_chunks(context, id).await;
        self.metrics.count(&Action::Cancel, result.as_ref().map(|changed| changed.replayed));
        result
    }

    /// Between two chunks there are only milliseconds, and as many events as there were chunks: its first and its last
    /// are all that is read of it.
    async fn cancel_between_chunks(
        &self,
        context: &Context,
        id: BroadcastId,
    ) -> Result<Changed, CommandError> {
        let repeated = |answer: Answer| {
            context.check(&answer)?;
            Ok(Changed { position: answer.position, replayed: true })
        };
        if let Some(answer) = self.first_answer(context).await? {
            return repeated(answer);
        }
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            let loading = tokio::time::timeout_at(deadline, self.cancelling(context, id, deadline)).await;
            let job = loading.unwrap_or(Err(CommandError::Append(AppendError::Expired)))?;
            match self.log.append(job, Lane::Single).await {
                Ok(Appended::Stored { position }) => return Ok(Changed { position, replayed: false }),
                Ok(Appended::Replayed(answer)) => return repeated(answer),
                Err(AppendError::Conflict) => tokio::time::sleep(CONFLICT_PAUSE).await,
                Err(error) => return Err(CommandError::Append(error)),
            }
        }
        Err(CommandError::Conflict)
    }

    async fn cancelling(
        &self,
        context: &Context,
        id: BroadcastId,
        deadline: Instant,
    ) -> Result<Job, CommandError> {
        let events = self.reader.ends_of(&self.pool, Broadcast::TYPE, &id.to_string()).await?;
        let overview = fold(&events).map_err(|error| CommandError::Fault(error.to_string()))?;
        let overview = overview.ok_or(CommandError::BroadcastRefused(Error::NotFound))?;
        let tenant = context.principal.tenant();
        let command = Command { tenant: tenant.clone(), action: Action::Cancel };
        let decided = overview.state.decide(&command).map_err(CommandError::BroadcastRefused)?;
        let (command_id, epoch) = (clock::new_uuid(), self.log.epoch());
        let metadata = json!(context.metadata(command_id, None));
        let mut events = Vec::with_capacity(decided.len());
        for (sequence, event) in (overview.sequence + 1..).zip(decided) {
            let serialized = SerializedEvent {
                aggregate_id: id.to_string(),
                sequence: sequence as usize,
                aggregate_type: Broadcast::TYPE.into(),
                event_type: event.event_type(),
                event_version: event.event_version(),
                payload: json!(event),
                metadata: metadata.clone(),
            };
            let fact = Fact::Broadcast(id, event);
            events.push(
                JobEvent::prepare(self.reader.codec(), &serialized, fact, tenant.as_str(), None).await?,
            );
        }
        let key = context.idempotency.as_ref();
        let record = key.map(|key| key.record(&context.principal, 0, 200, json!({"id": id})));
        Ok(Job { command_id, epoch, events, record, deadline })
    }
}

fn repeated(context: &Context, answer: &Answer) -> Result<Requested, CommandError> {
    context.check(answer)?;
    let id = serde_json::from_value(answer.result["id"].clone());
    let id = id.map_err(|error| CommandError::Fault(format!("a stored answer is damaged: {error}")))?;
    Ok(Requested { id, position: answer.position, replayed: true })
}
