//! Subscriptions: one at a time, or up to a thousand to one topic.
//!
//! Many are appended in a few jobs in the bulk lane. Each job is all or nothing and a part of the request, so that a
//! repetition with the same key does what is missing.

use std::collections::HashMap;

use cqrs_es::persist::SerializedEvent;
use cqrs_es::{Aggregate, DomainEvent};
use serde_json::json;
use tidings_domain::subscription::{Action, Command, Subscription, Topic};
use tidings_domain::{SubscriptionId, UserId};
use tidings_projections::log::Fact;
use tokio::time::Instant;

use super::{CONFLICT_PAUSE, Changed, CommandError, Commands, Context, DEADLINE};
use crate::clock;
use crate::log::{AppendError, Appended, Job, JobEvent, Lane};

/// Subscriptions of one job: they fit one call of the log.
const CHUNK: usize = 250;

impl Commands {
    /// Subscribes one of the tenant's users to a topic, or ends that.
    pub async fn change_subscription(
        &self,
        context: &Context,
        id: &SubscriptionId,
        action: Action,
    ) -> Result<Changed, CommandError> {
        let never = |refusal: std::convert::Infallible| match refusal {};
        let SubscriptionId { tenant, topic, user } = id.clone();
        let command = Command { tenant, topic, user, action };
        let result = self.change::<Subscription>(&self.subscriptions, context, id, &command, never).await;
        self.metrics.count(&action, result.as_ref().map(|changed| changed.replayed));
        result
    }

    /// Subscribes many users, which are distinct, to one topic.
    pub async fn subscribe_many(
        &self,
        context: &Context,
        topic: &Topic,
        users: &[UserId],
    ) -> Result<Changed, CommandError> {
        let deadline = Instant::now() + DEADLINE;
        let (mut position, mut replayed) = (0, false);
        // A request without anybody to subscribe still leaves its record.
        let chunks = users.chunks(CHUNK).chain(users.is_empty().then_some(&[][..]));
        for (part, chunk) in (0..).zip(chunks) {
            let result = self.subscribe_chunk(context, topic, (part, chunk), deadline).await;
            for _ in chunk {
                self.metrics.count(&Action::Subscribe, result.as_ref().map(|changed| changed.replayed));
            }
            let changed = result?;
            position = changed.position.max(position);
            replayed |= changed.replayed;
        }
        Ok(Changed { position, replayed })
    }

    async fn subscribe_chunk(
        &self,
        context: &Context,
        topic: &Topic,
        (part, users): (i32, &[UserId]),
        deadline: Instant,
    ) -> Result<Changed, CommandError> {
        let tenant = context.principal.tenant();
        let id = |user: &UserId| SubscriptionId {
            tenant: tenant.clone(),
            topic: topic.clone(),
            user: user.clone(),
        };
        let ids: Vec<SubscriptionId> = users.iter().map(id).collect();
        let turns = tokio::time::timeout_at(deadline, self.locks.lock_all(ids.iter())).await;
        let _turns = turns.map_err(|_| CommandError::Append(AppendError::Expired))?;
        while Instant::now() < deadline {
            let mut job = self.subscribing(context, &ids, deadline).await?;
            let key = context.idempotency.as_ref();
            job.record = key.map(|key| key.record(&context.principal, part, 200, json!({})));
            match self.log.append(job, Lane::Bulk).await {
                Ok(Appended::Stored { position }) => return Ok(Changed { position, replayed: false }),
                Ok(Appended::Replayed(answer)) => {
                    context.check(&answer)?;
                    return Ok(Changed { position: answer.position, replayed: true });
                }
                Err(AppendError::Conflict) => tokio::time::sleep(CONFLICT_PAUSE).await,
                Err(error) => return Err(CommandError::Append(error)),
            }
        }
        Err(CommandError::Conflict)
    }

    /// A job that subscribes those of them who are not.
    async fn subscribing(
        &self,
        context: &Context,
        ids: &[SubscriptionId],
        deadline: Instant,
    ) -> Result<Job, CommandError> {
        let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let mut loaded: HashMap<SubscriptionId, (Subscription, i64)> = HashMap::new();
        let loading = self.reader.of_aggregates(&self.pool, Subscription::TYPE, &texts);
        let events = tokio::time::timeout_at(deadline, loading).await;
        for event in events.map_err(|_| CommandError::Append(AppendError::Expired))?? {
            match &event.fact {
                Fact::Subscription(id, fact) => {
                    let (state, sequence) = loaded.entry(id.clone()).or_default();
                    state.evolve(fact);
                    *sequence = event.sequence;
                }
                Fact::Unreadable(why) => return Err(CommandError::Fault(why.clone())),
                _ => {}
            }
        }
        let (command_id, epoch) = (clock::new_uuid(), self.log.epoch());
        let metadata = json!(context.metadata(command_id, None));
        let mut events = Vec::with_capacity(ids.len());
        for (id, text) in ids.iter().zip(texts) {
            let (state, sequence) = loaded.remove(id).unwrap_or_default();
            let SubscriptionId { tenant, topic, user } = id.clone();
            let command = Command { tenant, topic, user, action: Action::Subscribe };
            let Some(event) = state.decide(&command) else { continue };
            let serialized = SerializedEvent {
                aggregate_id: text,
                sequence: sequence as usize + 1,
                aggregate_type: Subscription::TYPE.into(),
                event_type: event.event_type(),
                event_version: event.event_version(),
                payload: json!(event),
                metadata: metadata.clone(),
            };
            let fact = Fact::Subscription(id.clone(), event);
            let (tenant, user) = (id.tenant.as_str(), Some(id.user.as_str()));
            events.push(JobEvent::prepare(self.reader.codec(), &serialized, fact, tenant, user).await?);
        }
        Ok(Job { command_id, epoch, events, record: None, deadline })
    }
}
