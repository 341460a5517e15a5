//! What a webhook leads to: its notifications, what became of it, and the record that its repetitions are answered from, in
//! one job. So it has one effect, whenever it comes again and whatever ends in between.

use cqrs_es::DomainEvent;
use cqrs_es::persist::SerializedEvent;
use serde_json::{Value, json};
use tidings_domain::NotificationId;
use tidings_domain::notification::{Action, Create};
use tidings_domain::source::{Fault, Hook, HookId, SourceId};
use tidings_projections::log::Fact;
use tokio::time::Instant;

use super::{CONFLICT_PAUSE, CommandError, Commands, Context, DEADLINE, Item};
use crate::clock;
use crate::log::{Answer, AppendError, Appended, Job, JobEvent, Lane};

/// What the source's mapping made of a hook.
pub enum Verdict {
    Accepted(Vec<Create>),
    Ignored,
    Failed(Fault),
}

/// What a hook led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooked {
    /// One for each that was asked for: its own, or the digest it is an item of.
    pub notifications: Vec<NotificationId>,
    /// Everything it did is at or before this position.
    pub position: i64,
    /// Answered from the record of an earlier delivery that was the same.
    pub replayed: bool,
}

impl Commands {
    /// What an earlier delivery with this id, or its alias, led to. One that failed or was ignored led to nothing: it may come
    /// again.
    pub async fn hooked(&self, context: &Context) -> Result<Option<Hooked>, CommandError> {
        let answer = match self.first_answer(context).await? {
            Some(answer) => Some(answer),
            None => self.first_answer_by_alias(context).await?,
        };
        answer.map(|answer| repeated(context, &answer)).transpose()
    }

    /// Records what became of a hook, with all that follows.
    pub async fn take_hook(
        &self,
        context: &Context,
        (source, delivery_id): (&SourceId, &str),
        verdict: Verdict,
    ) -> Result<Hooked, CommandError> {
        let creates = if let Verdict::Accepted(creates) = &verdict { creates.as_slice() } else { &[] };
        let item = |create: &Create| Item {
            id: NotificationId::new(clock::new_uuid()),
            action: Action::Create(Box::new(create.clone())),
            part: 0,
        };
        let items: Vec<Item> = creates.iter().map(item).collect();
        let (tenant, name) = (source.tenant.clone(), source.name.clone());
        let delivery_id = delivery_id.to_owned();
        let hook = match verdict {
            // Which ones they are is known when they are made.
            Verdict::Accepted(_) => {
                Hook::Accepted { tenant, source: name, delivery_id, notifications: Vec::new() }
            }
            Verdict::Ignored => Hook::Ignored { tenant, source: name, delivery_id },
            Verdict::Failed(reason) => Hook::Failed { tenant, source: name, delivery_id, reason },
        };
        let id = HookId { source: source.clone(), uuid: clock::new_uuid() };
        let result = self.append_hook(context, (id, hook), &items).await;
        for item in &items {
            self.metrics.count(&item.action, result.as_ref().map(|hooked| hooked.replayed));
        }
        result
    }

    async fn append_hook(
        &self,
        context: &Context,
        (id, mut hook): (HookId, Hook),
        items: &[Item],
    ) -> Result<Hooked, CommandError> {
        let deadline = Instant::now() + DEADLINE;
        let lane = if items.len() > 1 { Lane::Bulk } else { Lane::Single };
        while Instant::now() < deadline {
            let (command_id, epoch) = (clock::new_uuid(), self.log.epoch());
            let metadata = json!(context.metadata(command_id, None));
            let (mut events, mut ids) =
                (Vec::with_capacity(items.len() + 1), Vec::with_capacity(items.len()));
            let mut admissions = self.admissions();
            for item in items {
                let beginning = self.beginning(context, item, &mut admissions, &metadata).await?;
                events.extend(beginning.events);
                ids.push(beginning.id);
            }
            events.extend(admissions.into_events(&metadata).await?);
            if let Hook::Accepted { notifications, .. } = &mut hook {
                notifications.clone_from(&ids);
            }
            events.push(self.hook_event(&id, &hook, &metadata).await?);
            // What came to nothing may come again.
            let key = context.idempotency.as_ref().filter(|_| !items.is_empty());
            let record = key.map(|key| key.record(&context.principal, 0, 201, json!({ "ids": ids })));
            match self.log.append(Job { command_id, epoch, events, record, deadline }, lane).await {
                Ok(Appended::Stored { position }) => {
                    return Ok(Hooked { notifications: ids, position, replayed: false });
                }
                Ok(Appended::Replayed(answer)) => return repeated(context, &answer),
                // Somebody else was let in meanwhile, or a new epoch began.
                Err(AppendError::Conflict) => tokio::time::sleep(CONFLICT_PAUSE).await,
                Err(error) => return Err(CommandError::Append(error)),
            }
        }
        Err(CommandError::Conflict)
    }

    async fn hook_event(&self, id: &HookId, hook: &Hook, metadata: &Value) -> Result<JobEvent, CommandError> {
        let serialized = SerializedEvent {
            aggregate_id: id.to_string(),
            sequence: 1,
            aggregate_type: Hook::TYPE.into(),
            event_type: hook.event_type(),
            event_version: hook.event_version(),
            payload: json!(hook),
            metadata: metadata.clone(),
        };
        let fact = Fact::Hook(id.clone(), hook.clone());
        let tenant = id.source.tenant.as_str();
        Ok(JobEvent::prepare(self.reader.codec(), &serialized, fact, tenant, None).await?)
    }
}

fn repeated(context: &Context, answer: &Answer) -> Result<Hooked, CommandError> {
    context.check(answer)?;
    let notifications = serde_json::from_value(answer.result["ids"].clone());
    let damaged = |error| CommandError::Fault(format!("a stored answer is damaged: {error}"));
    Ok(Hooked { notifications: notifications.map_err(damaged)?, position: answer.position, replayed: true })
}
