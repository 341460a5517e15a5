//! Many commands at once: one query to load, one job per aggregate to append, in the bulk lane. Each item
//! succeeds or fails by itself.

use std::collections::HashMap;

use cqrs_es::persist::SerializedEvent;
use cqrs_es::{Aggregate, DomainEvent};
use futures_util::future::{join_all, maybe_done};
use futures_util::poll;
use serde_json::{Value, json};
use tidings_domain::notification::{Action, Command, Notification};
use tidings_domain::{NotificationId, RecipientId};
use tidings_projections::log::Fact;
use tokio::time::Instant;

use super::error::check_time;
use super::{CONFLICT_PAUSE, CommandError, Commands, Context, DEADLINE, Done, describe};
use crate::admissions::{Admissions, Joined};
use crate::clock;
use crate::log::{AppendError, Appended, Job, JobEvent, Lane, Record};
use crate::telemetry::traces::Span;

/// One command of many.
#[derive(Clone, Debug)]
pub struct Item {
    pub id: NotificationId,
    pub action: Action,
    /// Its number among the parts of the request, from 1; a retry does the parts that are missing.
    pub part: i32,
}

/// What became of many commands.
pub struct Many {
    /// In the order of the items.
    pub results: Vec<Result<Done, CommandError>>,
    /// An earlier request with this idempotency key had begun it.
    pub replayed: bool,
}

/// An aggregate as loaded: its state, its last sequence, its recipient.
#[derive(Default)]
struct Loaded {
    state: Notification,
    sequence: i64,
    recipient: Option<String>,
    /// Why its state is not known.
    unreadable: Option<String>,
}

/// What one item asks of the log, and the span of that.
struct Prepared {
    job: Job,
    append: Option<Span>,
}

/// What one item came to, and whether that took an event.
#[derive(Clone, Debug)]
pub(super) struct Ran {
    pub done: Done,
    pub changed: bool,
}

/// What became of a notification that was asked for.
pub(super) struct Beginning {
    /// Its own id, or that of the digest it is an item of.
    pub id: NotificationId,
    pub collected: bool,
    pub events: Vec<JobEvent>,
}

/// By part.
pub(super) type Answers = HashMap<i32, Result<Ran, CommandError>>;

/// What is stored beside an item's events, which are there or not.
pub(super) type Recording = fn(&Context, &Item, bool) -> Option<Record>;

impl Commands {
    /// Executes all items; the log keeps their order, but for those that a conflict sends back. An error means
    /// that nothing was begun.
    pub async fn execute_many(&self, context: &Context, items: Vec<Item>) -> Result<Many, CommandError> {
        let deadline = Instant::now() + DEADLINE;
        let earlier = self.begin(context, &items, deadline).await?;
        let replayed = earlier.is_some();
        let earlier = earlier.unwrap_or_default();
        let results = self.run_many(context, &items, earlier, record, deadline).await?;
        Ok(Many { results: results.into_iter().map(|result| result.map(|ran| ran.done)).collect(), replayed })
    }

    /// Executes the items that have no answer yet; gives the answers in the order of the items.
    pub(super) async fn run_many(
        &self,
        context: &Context,
        items: &[Item],
        mut answers: Answers,
        record: Recording,
        deadline: Instant,
    ) -> Result<Vec<Result<Ran, CommandError>>, CommandError> {
        let _turns = self.locks.lock_all(items.iter().filter(|i| !is_create(i)).map(|i| i.id)).await;
        self.meet(context, items, &answers).await?;
        self.run_bounded(context, items, &mut answers, deadline).await?;
        loop {
            let open: Vec<&Item> = items.iter().filter(|item| !answers.contains_key(&item.part)).collect();
            if open.is_empty() {
                break;
            }
            let loaded = tokio::time::timeout_at(deadline, self.load(&open)).await;
            let loaded = loaded.unwrap_or(Err(CommandError::Append(AppendError::Expired)))?;
            // Keys are fetched for all together; only then is the order of the log decided.
            let jobs = open.iter().map(async |item| {
                let mut prepared = self.prepare(context, item, loaded.get(&item.id), deadline).await?;
                prepared.job.record = record(context, item, !prepared.job.events.is_empty());
                Ok(prepared)
            });
            let results = self.append_in_order(join_all(jobs).await).await;
            let late = Instant::now() >= deadline;
            for (item, result) in open.into_iter().zip(results) {
                match result {
                    Err(CommandError::Conflict) if !late => {}
                    result => {
                        let ran = result.and_then(|appended| self.ran(context, item, appended));
                        answers.insert(item.part, ran);
                    }
                }
            }
            if answers.len() < items.len() {
                tokio::time::sleep(CONFLICT_PAUSE).await;
            }
        }
        let result = |item: &Item| {
            let result = answers.remove(&item.part).unwrap_or(Err(CommandError::Conflict));
            self.metrics.count(&item.action, result.as_ref().map(|ran| ran.done.replayed));
            result
        };
        Ok(items.iter().map(result).collect())
    }

    /// Looks up at once whom what is to be created is for, where they are asked what they want.
    async fn meet(&self, context: &Context, items: &[Item], answers: &Answers) -> Result<(), CommandError> {
        let tenant = context.principal.tenant();
        let asked = |item: &&Item| !answers.contains_key(&item.part);
        let recipient = |item: &Item| match &item.action {
            Action::Create(create) if create.plan.is_in_inbox() => {
                Some(RecipientId { tenant: tenant.clone(), user: create.user.clone() })
            }
            _ => None,
        };
        let recipients: Vec<RecipientId> = items.iter().filter(asked).filter_map(recipient).collect();
        if recipients.is_empty() || !self.directory.describes_anybody(tenant).await? {
            return Ok(());
        }
        Ok(self.directory.meet(recipients.into_iter()).await?)
    }

    /// Claims the idempotency key with part 0; where an earlier request has claimed it, finds the parts done.
    async fn begin(
        &self,
        context: &Context,
        items: &[Item],
        deadline: Instant,
    ) -> Result<Option<Answers>, CommandError> {
        let Some(key) = &context.idempotency else { return Ok(None) };
        let claim = Job {
            command_id: clock::new_uuid(),
            epoch: self.log.epoch(),
            events: Vec::new(),
            record: Some(key.record(&context.principal, 0, 200, json!({}))),
            deadline,
        };
        match self.log.append(claim, Lane::Bulk).await.map_err(CommandError::Append)? {
            Appended::Stored { .. } => return Ok(None),
            Appended::Replayed(first) if first.request_hash != key.request_hash => {
                return Err(CommandError::KeyReused);
            }
            Appended::Replayed(_) => {}
        }
        let last = items.iter().map(|item| item.part).max().unwrap_or(0);
        let done = self.answers(context, 1..=last).await?;
        let ran = |answer| context.replayed(&answer).map(|done| Ran { done, changed: false });
        Ok(Some(done.into_iter().map(|(part, answer)| (part, ran(answer))).collect()))
    }

    async fn load(&self, items: &[&Item]) -> Result<HashMap<NotificationId, Loaded>, CommandError> {
        let ids: Vec<String> = items.iter().filter(|i| !is_create(i)).map(|i| i.id.to_string()).collect();
        let mut loaded: HashMap<NotificationId, Loaded> = HashMap::new();
        if ids.is_empty() {
            return Ok(loaded);
        }
        for event in self.reader.of_aggregates(&self.pool, Notification::TYPE, &ids).await? {
            let Ok(id) = event.aggregate_id.parse() else { continue };
            let aggregate = loaded.entry(id).or_default();
            match event.notification() {
                Ok(Some((_, fact))) => aggregate.state.evolve(fact),
                Ok(None) => {}
                Err(unreadable) => aggregate.unreadable = Some(unreadable.to_string()),
            }
            aggregate.sequence = event.sequence;
            aggregate.recipient.clone_from(&event.recipient);
        }
        Ok(loaded)
    }

    /// Decides, and seals what was decided.
    async fn prepare(
        &self,
        context: &Context,
        item: &Item,
        loaded: Option<&Loaded>,
        deadline: Instant,
    ) -> Result<Prepared, CommandError> {
        check_time(&item.action, clock::now())?;
        let unborn = Loaded::default();
        let loaded = loaded.unwrap_or(&unborn);
        if let Some(why) = &loaded.unreadable {
            return Err(CommandError::Fault(why.clone()));
        }
        let mut action = item.action.clone();
        self.ask(context, &mut action).await?;
        let command = Command { issuer: context.principal.issuer(), action };
        let events = loaded.state.decide(&command).map_err(CommandError::Refused)?;
        self.job(context, item, loaded, &events, deadline).await
    }

    /// Hands the jobs to the log one after the other, then waits for all of them.
    async fn append_in_order(
        &self,
        jobs: Vec<Result<Prepared, CommandError>>,
    ) -> Vec<Result<(Appended, bool), CommandError>> {
        let mut appends: Vec<_> =
            jobs.into_iter().map(|job| Box::pin(maybe_done(self.append(job)))).collect();
        for append in &mut appends {
            // The first poll puts the job into the queue.
            let _ = poll!(append);
        }
        join_all(&mut appends).await;
        let results = appends.iter_mut().map(|append| append.as_mut().take_output());
        results.map(|result| result.unwrap_or(Err(CommandError::Conflict))).collect()
    }

    /// Says beside it whether the job has events.
    async fn append(
        &self,
        prepared: Result<Prepared, CommandError>,
    ) -> Result<(Appended, bool), CommandError> {
        let Prepared { job, mut append } = prepared?;
        let changes = !job.events.is_empty();
        let appended = self.log.append(job, Lane::Bulk).await;
        if let Some(append) = &mut append {
            describe(append, Some(&appended));
        }
        let appended = appended.map_err(|error| match error {
            AppendError::Conflict => CommandError::Conflict,
            error => CommandError::Append(error),
        });
        Ok((appended?, changes))
    }

    fn ran(
        &self,
        context: &Context,
        item: &Item,
        (appended, changed): (Appended, bool),
    ) -> Result<Ran, CommandError> {
        match appended {
            Appended::Stored { position } => Ok(Ran { done: Done::stored(item.id, position), changed }),
            Appended::Replayed(answer) => Ok(Ran { done: context.replayed(&answer)?, changed: false }),
        }
    }

    async fn job(
        &self,
        context: &Context,
        item: &Item,
        loaded: &Loaded,
        events: &[<Notification as Aggregate>::Event],
        deadline: Instant,
    ) -> Result<Prepared, CommandError> {
        let append = self.tracing.child(context.trace, "append");
        let (command_id, epoch) = (clock::new_uuid(), self.log.epoch());
        let metadata = json!(context.metadata(command_id, append.as_ref()));
        let events = self.seal(context, item, loaded, events, &metadata).await?;
        let job = Job { command_id, epoch, events, record: None, deadline };
        Ok(Prepared { job, append })
    }

    /// Decides on a notification that is to be, as part of a job with these metadata.
    pub(super) async fn beginning(
        &self,
        context: &Context,
        item: &Item,
        admissions: &mut Admissions<'_>,
        metadata: &Value,
    ) -> Result<Beginning, CommandError> {
        check_time(&item.action, clock::now())?;
        let (unborn, mut action, mut opens) = (Loaded::default(), item.action.clone(), false);
        if let Action::Create(create) = &mut action {
            let tenant = context.principal.tenant();
            if let Some(Joined { digest, sequence, event }) =
                admissions.admit(tenant, item.id, create).await?
            {
                let item = Item { id: digest, ..item.clone() };
                let loaded = Loaded { sequence: sequence - 1, ..Loaded::default() };
                let events = self.seal(context, &item, &loaded, &[event], metadata).await?;
                return Ok(Beginning { id: digest, collected: true, events });
            }
            opens = create.opening.is_some();
        }
        let command = Command { issuer: context.principal.issuer(), action };
        let events = unborn.state.decide(&command).map_err(CommandError::Refused)?;
        let events = self.seal(context, item, &unborn, &events, metadata).await?;
        Ok(Beginning { id: item.id, collected: opens, events })
    }

    async fn seal(
        &self,
        context: &Context,
        item: &Item,
        loaded: &Loaded,
        events: &[<Notification as Aggregate>::Event],
        metadata: &Value,
    ) -> Result<Vec<JobEvent>, CommandError> {
        let recipient = match &item.action {
            Action::Create(create) => Some(create.user.as_str()),
            _ => loaded.recipient.as_deref(),
        };
        let mut sealed = Vec::with_capacity(events.len());
        for (sequence, event) in (loaded.sequence + 1..).zip(events) {
            let serialized = SerializedEvent {
                aggregate_id: item.id.to_string(),
                sequence: sequence as usize,
                aggregate_type: Notification::TYPE.into(),
                event_type: event.event_type(),
                event_version: event.event_version(),
                payload: json!(event),
                metadata: metadata.clone(),
            };
            let codec = self.reader.codec();
            let fact = Fact::Notification(item.id, event.clone());
            let tenant = context.principal.tenant().as_str();
            sealed.push(JobEvent::prepare(codec, &serialized, fact, tenant, recipient).await?);
        }
        Ok(sealed)
    }
}

/// An item of a request that lists its items: under its number.
pub(super) fn record(context: &Context, item: &Item, _changed: bool) -> Option<Record> {
    let key = context.idempotency.as_ref()?;
    let status = if is_create(item) { 201 } else { 200 };
    Some(key.record(&context.principal, item.part, status, json!({"id": item.id})))
}

pub(super) fn is_create(item: &Item) -> bool {
    matches!(item.action, Action::Create(_))
}
