//! Schedules: said, deleted, and their ticks. A tick and what it makes are one job that takes the place after the schedule's last
//! event: whatever ends in between, and on however many nodes, each has its effect once.

use cqrs_es::persist::SerializedEvent;
use cqrs_es::{Aggregate, DomainEvent};
use serde_json::{Value, json};
use tidings_domain::broadcast::{self, Broadcast};
use tidings_domain::notification::{self, Create};
use tidings_domain::schedule::{
    Action, Command, Created, DUE_MAX, Definition, Event, Life, Outcome, Reason, Request, Schedule,
    ScheduleId, Step, Tick, step,
};
use tidings_domain::{BroadcastId, NotificationId};
use tidings_projections::log::Fact;
use tidings_projections::schedule::Overview;
use time::OffsetDateTime;
use tokio::sync::MutexGuard;
use tokio::time::Instant;

use super::changes::repeated;
use super::many::Beginning;
use super::{CONFLICT_PAUSE, Changed, CommandError, Commands, Context, DEADLINE, Item};
use crate::clock;
use crate::cron::Ticks;
use crate::log::{AppendError, Appended, Job, JobEvent, Lane};

/// What a tick asks for.
pub enum Asked {
    Notification(Box<Create>),
    Broadcast(Box<broadcast::Request>),
}

/// A tick whose time has come, as its schedule stood.
pub struct DueTick {
    pub step: Step,
    /// Since when its ticks are looked at.
    pub from: OffsetDateTime,
    next_at: Option<OffsetDateTime>,
    overview: Overview,
}

impl DueTick {
    /// What is to be asked for; `None` where nobody knows any more.
    pub fn request(&self) -> Option<&Request> {
        self.overview.state.definition.as_ref()?.content.as_ref()
    }

    /// Whether no other tick is due at `now`.
    pub fn is_last(&self, now: OffsetDateTime) -> bool {
        self.next_at.is_none_or(|next| next > now)
    }
}

/// What a tick made, and the turn of its recipient where that counts or collects it: of many that tick at a time none is in vain.
struct Made<'a> {
    created: Created,
    events: Vec<JobEvent>,
    turn: Option<MutexGuard<'a, ()>>,
}

impl Commands {
    /// Says what a schedule is, with the ticks of its expression.
    pub async fn change_schedule(
        &self,
        context: &Context,
        id: &ScheduleId,
        (definition, ticks): (Definition, &Ticks),
    ) -> Result<Changed, CommandError> {
        let action = |stands: &Schedule| {
            let next_at = first_tick(stands, &definition, ticks, clock::now());
            Action::Change { definition: Box::new(definition.clone()), next_at }
        };
        self.say_of_schedule(context, id, action).await
    }

    /// Nothing more is made of it.
    pub async fn delete_schedule(&self, context: &Context, id: &ScheduleId) -> Result<Changed, CommandError> {
        self.say_of_schedule(context, id, |_| Action::Delete).await
    }

    async fn say_of_schedule(
        &self,
        context: &Context,
        id: &ScheduleId,
        action: impl Fn(&Schedule) -> Action,
    ) -> Result<Changed, CommandError> {
        if let Some(earlier) = self.earlier_change(context).await? {
            return Ok(earlier);
        }
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            let reading = Overview::read((&self.reader, &self.pool), id, i64::MAX, 1);
            let overview = tokio::time::timeout_at(deadline, reading).await;
            let overview = overview.map_err(|_| CommandError::Append(AppendError::Expired))??;
            let action = action(&overview.state);
            let result = self.append_to_schedule(context, (id, &overview), &action, deadline).await;
            match result {
                Err(CommandError::Append(AppendError::Conflict)) => tokio::time::sleep(CONFLICT_PAUSE).await,
                result => {
                    let replayed = |appended: &Appended| matches!(appended, Appended::Replayed(_));
                    self.metrics.count(&action, result.as_ref().map(replayed));
                    return match result? {
                        Appended::Stored { position } => Ok(Changed { position, replayed: false }),
                        Appended::Replayed(answer) => repeated(context, &answer),
                    };
                }
            }
        }
        Err(CommandError::Conflict)
    }

    async fn append_to_schedule(
        &self,
        context: &Context,
        (id, overview): (&ScheduleId, &Overview),
        action: &Action,
        deadline: Instant,
    ) -> Result<Appended, CommandError> {
        let (command_id, epoch) = (clock::new_uuid(), self.log.epoch());
        let metadata = json!(context.metadata(command_id, None));
        let event = self.schedule_event((id, overview), action.clone(), &metadata).await?;
        let key = context.idempotency.as_ref();
        let record = key.map(|key| key.record(&context.principal, 0, 200, json!({})));
        let job = Job { command_id, epoch, events: event.into_iter().collect(), record, deadline };
        self.log.append(job, Lane::Single).await.map_err(CommandError::Append)
    }

    /// The next step of a schedule at `now`, if it has one.
    pub async fn due_tick(
        &self,
        id: &ScheduleId,
        now: OffsetDateTime,
    ) -> Result<Option<DueTick>, CommandError> {
        let overview = Overview::read((&self.reader, &self.pool), id, i64::MAX, 1).await?;
        let (Some(from), Some(definition)) = (overview.state.next_at, overview.state.definition.clone())
        else {
            return Ok(None);
        };
        if from > now {
            return Ok(None);
        }
        // Thousands that were missed are work for the processor.
        let looking = tokio::task::spawn_blocking(move || {
            let zone = definition.time_zone.as_str();
            let ticks = Ticks::new(&definition.cron, zone, definition.ends_at)?;
            let (due, more) = ticks.due(from, now, DUE_MAX);
            let step = step(definition.missed, &due, more, now);
            let last = |step: Step| match step {
                Step::Run { at, .. } => at,
                Step::Skip { to, .. } => to,
            };
            Ok(step.map(|step| (step, ticks.after(last(step)))))
        });
        let looked = looking.await.map_err(|error| CommandError::Fault(error.to_string()))?;
        let looked =
            looked.map_err(|error: crate::cron::InvalidCron| CommandError::Fault(error.to_string()))?;
        Ok(looked.map(|(step, next_at)| DueTick { step, from, next_at, overview }))
    }

    /// Records a tick with what was made of its request: a command, or why there is none; nothing for one that is skipped. Gives
    /// the position of it.
    pub async fn tick(
        &self,
        context: &Context,
        id: &ScheduleId,
        tick: DueTick,
        asked: Option<Result<Asked, Reason>>,
    ) -> Result<i64, CommandError> {
        let (command_id, epoch) = (clock::new_uuid(), self.log.epoch());
        let metadata = json!(context.metadata(command_id, None));
        let DueTick { step, from, next_at, overview } = tick;
        let (mut events, mut _turn) = (Vec::new(), None);
        let result = match (step, asked) {
            (Step::Skip { to, count }, _) => Outcome::Skipped { to, count },
            (Step::Run { at, missed }, Some(Ok(asked))) => match self.made(context, asked, &metadata).await {
                Ok(made) => {
                    (events, _turn) = (made.events, made.turn);
                    Outcome::Created { at, missed, created: made.created }
                }
                Err(error @ (CommandError::Refused(_) | CommandError::BroadcastRefused(_))) => {
                    failed(at, missed, &error)
                }
                Err(error) => return Err(error),
            },
            (Step::Run { at, missed }, Some(Err(reason))) => Outcome::Failed { at, missed, reason },
            (Step::Run { at, missed }, None) => failed(at, missed, &"asks for nothing"),
        };
        let action = Action::Record(Tick { from, result, next_at });
        events.extend(self.schedule_event((id, &overview), action.clone(), &metadata).await?);
        let job = Job { command_id, epoch, events, record: None, deadline: Instant::now() + DEADLINE };
        let result = match self.log.append(job, Lane::Bulk).await {
            Ok(Appended::Stored { position }) => Ok(position),
            Ok(Appended::Replayed(_)) | Err(AppendError::Conflict) => Err(CommandError::Conflict),
            Err(error) => Err(CommandError::Append(error)),
        };
        self.metrics.count(&action, result.as_ref().map(|_| false));
        result
    }

    /// What a tick asks for, as part of a job with these metadata.
    async fn made(
        &self,
        context: &Context,
        asked: Asked,
        metadata: &Value,
    ) -> Result<Made<'_>, CommandError> {
        match asked {
            Asked::Notification(create) => {
                let id = NotificationId::new(clock::new_uuid());
                let item = Item { id, action: notification::Action::Create(create), part: 0 };
                let turn = match self.bound(context, &item.action).await? {
                    Some(bound) => Some(self.locks.lock(&bound).await),
                    None => None,
                };
                let mut admissions = self.admissions();
                // Where its category is collected, that is a digest's.
                let beginning = self.beginning(context, &item, &mut admissions, metadata).await?;
                let Beginning { id, mut events, .. } = beginning;
                events.extend(admissions.into_events(metadata).await?);
                Ok(Made { created: Created::Notification(id), events, turn })
            }
            Asked::Broadcast(request) => {
                let id = BroadcastId::new(clock::new_uuid());
                let tenant = context.principal.tenant().clone();
                let command = broadcast::Command { tenant, action: broadcast::Action::Request(request) };
                let decided =
                    Broadcast::default().decide(&command).map_err(CommandError::BroadcastRefused)?;
                let mut events = Vec::with_capacity(decided.len());
                for (sequence, event) in (1..).zip(decided) {
                    let serialized = SerializedEvent {
                        aggregate_id: id.to_string(),
                        sequence,
                        aggregate_type: Broadcast::TYPE.into(),
                        event_type: event.event_type(),
                        event_version: event.event_version(),
                        payload: json!(event),
                        metadata: metadata.clone(),
                    };
                    let fact = Fact::Broadcast(id, event);
                    let tenant = command.tenant.as_str();
                    let codec = self.reader.codec();
                    events.push(JobEvent::prepare(codec, &serialized, fact, tenant, None).await?);
                }
                Ok(Made { created: Created::Broadcast(id), events, turn: None })
            }
        }
    }

    /// What follows from an action, in the place after the schedule's last event.
    async fn schedule_event(
        &self,
        (id, overview): (&ScheduleId, &Overview),
        action: Action,
        metadata: &Value,
    ) -> Result<Option<JobEvent>, CommandError> {
        let ScheduleId { tenant, key } = id.clone();
        let command = Command { tenant, key, action };
        let decided = overview.state.decide(&command).map_err(CommandError::ScheduleRefused)?;
        let Some(event) = decided else { return Ok(None) };
        let serialized = SerializedEvent {
            aggregate_id: id.to_string(),
            sequence: (overview.sequence + 1).cast_unsigned() as usize,
            aggregate_type: Schedule::TYPE.into(),
            event_type: Event::event_type(&event),
            event_version: event.event_version(),
            payload: json!(event),
            metadata: metadata.clone(),
        };
        let fact = Fact::Schedule(id.clone(), event);
        let tenant = id.tenant.as_str();
        Ok(Some(JobEvent::prepare(self.reader.codec(), &serialized, fact, tenant, None).await?))
    }
}

fn failed(at: OffsetDateTime, missed: u32, refusal: &impl std::fmt::Display) -> Outcome {
    let reason = Reason { pointer: String::new(), detail: refusal.to_string() };
    Outcome::Failed { at, missed, reason }
}

/// One whose times stay as they were keeps its next tick, which may be due; one with other times begins anew, from now on. Only
/// what was not there before makes up for ticks from its `starts_at`.
fn first_tick(
    stands: &Schedule,
    definition: &Definition,
    ticks: &Ticks,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    if definition.paused {
        return None;
    }
    let starts_at = definition.starts_at.unwrap_or(now);
    match (&stands.definition, stands.life) {
        (Some(before), Life::Active) => {
            let same = (&before.cron, &before.time_zone, before.starts_at)
                == (&definition.cron, &definition.time_zone, definition.starts_at);
            let next_at = stands.next_at.filter(|_| same);
            ticks.from(next_at.unwrap_or(starts_at.max(now)))
        }
        _ => ticks.from(starts_at),
    }
}
