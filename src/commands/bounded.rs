//! Notifications of a category of which a recipient gets only so many, or that are collected: made one after the other per
//! recipient on this node, each in one job with what was granted to it.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::json;
use tidings_domain::admission::AdmissionId;
use tidings_domain::notification::Action;
use tokio::time::Instant;

use super::idempotency::COLLECTED;
use super::many::{Answers, Beginning, Ran, is_create, record};
use super::{CONFLICT_PAUSE, CommandError, Commands, Context, Done, Item, describe};
use crate::admissions::Admissions;
use crate::clock;
use crate::log::{AppendError, Appended, Job, Lane};
use crate::telemetry::traces::Span;

impl Commands {
    pub(super) fn admissions(&self) -> Admissions<'_> {
        Admissions::new(&self.pool, &self.reader, &self.directory)
    }

    /// What it counts for, where its category has a bound or is collected.
    pub(super) async fn bound(
        &self,
        context: &Context,
        action: &Action,
    ) -> Result<Option<AdmissionId>, CommandError> {
        let Action::Create(create) = action else { return Ok(None) };
        let tenant = context.principal.tenant();
        if !self.directory.is_bound(tenant, create).await? {
            return Ok(None);
        }
        let id = |category| AdmissionId { tenant: tenant.clone(), category, user: create.user.clone() };
        Ok(create.category.clone().map(id))
    }

    pub(super) async fn create_bounded(
        &self,
        context: &Context,
        item: &Item,
        bound: &AdmissionId,
        lane: Lane,
        deadline: Instant,
    ) -> Result<Done, CommandError> {
        let turn = tokio::time::timeout_at(deadline, self.locks.lock(bound)).await;
        let _turn = turn.map_err(|_| CommandError::Append(AppendError::Expired))?;
        while Instant::now() < deadline {
            let deciding = tokio::time::timeout_at(deadline, self.deciding(context, item, deadline)).await;
            let (job, done, mut append) =
                deciding.unwrap_or(Err(CommandError::Append(AppendError::Expired)))?;
            let appended = self.log.append(job, lane).await;
            if let Some(append) = &mut append {
                describe(append, Some(&appended));
            }
            match appended {
                Ok(Appended::Stored { position }) => {
                    return Ok(Done { position, ..done });
                }
                Ok(Appended::Replayed(answer)) => return context.replayed(&answer),
                Err(AppendError::Conflict) => tokio::time::sleep(CONFLICT_PAUSE).await,
                Err(error) => return Err(CommandError::Append(error)),
            }
        }
        Err(CommandError::Conflict)
    }

    async fn deciding(
        &self,
        context: &Context,
        item: &Item,
        deadline: Instant,
    ) -> Result<(Job, Done, Option<Span>), CommandError> {
        let append = self.tracing.child(context.trace, "append");
        let (command_id, epoch) = (clock::new_uuid(), self.log.epoch());
        let metadata = json!(context.metadata(command_id, append.as_ref()));
        let mut admissions = self.admissions();
        let beginning = self.beginning(context, item, &mut admissions, &metadata).await?;
        let Beginning { id, collected, mut events } = beginning;
        events.extend(admissions.into_events(&metadata).await?);
        let mut record = record(context, &Item { id, ..item.clone() }, true);
        if let Some(record) = record.as_mut().filter(|_| collected) {
            record.result[COLLECTED] = true.into();
        }
        let done = Done { collected, ..Done::stored(id, 0) };
        Ok((Job { command_id, epoch, events, record, deadline }, done, append))
    }

    /// Makes those of many that have a bound; a recipient's one after the other, in their order.
    pub(super) async fn run_bounded(
        &self,
        context: &Context,
        items: &[Item],
        answers: &mut Answers,
        deadline: Instant,
    ) -> Result<(), CommandError> {
        let mut bounded: BTreeMap<AdmissionId, Vec<&Item>> = BTreeMap::new();
        for item in items.iter().filter(|item| is_create(item) && !answers.contains_key(&item.part)) {
            if let Some(bound) = self.bound(context, &item.action).await? {
                bounded.entry(bound).or_default().push(item);
            }
        }
        let each = bounded.into_iter().map(async |(bound, items)| {
            let mut made = Vec::with_capacity(items.len());
            for item in items {
                let done = self.create_bounded(context, item, &bound, Lane::Bulk, deadline).await;
                made.push((item.part, done.map(|done| Ran { done, changed: true })));
            }
            made
        });
        answers.extend(join_all(each).await.into_iter().flatten());
        Ok(())
    }
}
