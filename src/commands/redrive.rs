//! Redrives: one more attempt of everything that failed for good and fits a filter. Each delivery is asked for by a command of
//! its own, so that its notification decides whether there is one, whoever asks at the same time.
//!
//! A request looks at a bounded number of deliveries, the last changed first, and says where the next one goes on. What fails
//! again meanwhile lies before that, so going on comes to an end even while an endpoint is still broken. With an idempotency
//! key it is kept as bulk marks are: part 0 fixes the position up to which deliveries are looked at, each one's record stands
//! under a key of its own, and the finishing record keeps the answer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_domain::NotificationId;
use tidings_domain::notification::Action;
use tidings_projections::delivery::{self, DeliveryFilter, Failed, ListError, Place};
use tokio::time::Instant;
use tracing::Instrument;

use super::bulk::{Begun, FINISH, stored};
use super::many::{Item, Ran};
use super::{CommandError, Commands, Context, DEADLINE};
use crate::log::{Answer, Appended, Record};

/// Deliveries that are redriven at a time; each chunk has a deadline of its own.
const CHUNK_ITEMS: i64 = 250;
/// Matches are counted up to here: a greater number needs no more exactness, and each request counts anew.
const COUNTED_MAX: i64 = 100_000;
/// How long it may take the deliveries to reach the position.
const DELIVERIES_TIMEOUT: Duration = Duration::from_secs(2);

/// What to redrive.
#[derive(Clone, Debug)]
pub struct Redrive {
    /// Those that are dead-lettered, unless it names another status.
    pub filter: DeliveryFilter,
    /// Deliveries to look at.
    pub limit: i64,
    /// Only count them.
    pub dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redriven {
    /// Deliveries that fit, counted up to [`COUNTED_MAX`].
    pub matched: i64,
    /// Those that are tried once more.
    pub redriven: i64,
    /// Those of which their notifications want no further attempt: seen or cancelled meanwhile, or redriven by others.
    pub refused: i64,
    /// Where to go on, if more may fit.
    pub next: Option<Place>,
    /// Everything it did is at or before this position.
    pub position: i64,
    /// An earlier request with the same idempotency key had begun it; what was missing is done now.
    pub replayed: bool,
}

impl Commands {
    /// Redrives to the end, even if the caller does not wait for it. An error leaves some chunks done; a repetition does
    /// the rest.
    pub async fn redrive(
        self: &Arc<Self>,
        context: &Context,
        redrive: Redrive,
    ) -> Result<Redriven, CommandError> {
        let (commands, context) = (Arc::clone(self), context.clone());
        let redriving = async move { commands.redrive_each(&context, redrive).await };
        let redriving = tokio::spawn(redriving.in_current_span());
        redriving.await.map_err(|error| CommandError::Fault(error.to_string()))?
    }

    async fn redrive_each(&self, context: &Context, redrive: Redrive) -> Result<Redriven, CommandError> {
        let unrecorded = Context { idempotency: None, ..context.clone() };
        let context = if redrive.dry_run { &unrecorded } else { context };
        let Begun { up_to, replayed, finished } = self.begin_bulk(context, None).await?;
        if let Some(answer) = finished {
            return self::finished(context, &answer);
        }
        let reached = self.history.delivery_reached(&self.pool, up_to);
        let reached = tokio::time::timeout(DELIVERIES_TIMEOUT, reached).await;
        reached.map_err(|_| CommandError::Behind(up_to))??;

        let Redrive { mut filter, limit, dry_run } = redrive;
        let end = Place::after(up_to);
        if filter.before.position > end.position {
            filter.before = end;
        }
        let tenant = context.principal.tenant().as_str();
        // Without a key nothing was done before.
        let before = self.count_changed(context).await?.unwrap_or(0).cast_signed();
        let matched = match delivery::count_failed(&self.pool, tenant, &filter, COUNTED_MAX).await {
            Ok(count) => count + before,
            // What a parked recipient has is not known.
            Err(ListError::Parked) => return Err(CommandError::Behind(up_to)),
            Err(ListError::Database(error)) => return Err(error.into()),
        };
        let mut left = limit - before;
        // Where earlier requests with the key have done that many, the rest is where they began: what they did left it.
        let next = (left <= 0).then_some(filter.before);
        let mut done = Redriven { matched, redriven: before, refused: 0, next, position: up_to, replayed };
        if dry_run {
            return Ok(done);
        }
        while left > 0 {
            let wanted = left.min(CHUNK_ITEMS);
            let found = delivery::failed(&self.pool, tenant, &filter, wanted).await?;
            let full = found.len() as i64 == wanted;
            done.next = found.last().map(|last| last.place).filter(|_| full);
            self.redrive_chunk(context, &found, &mut done).await?;
            let Some(next) = done.next else { break };
            filter.before = next;
            left -= wanted;
        }
        // Each that fits was looked at, unless there are more than were counted.
        done.next = done.next.filter(|_| done.redriven + done.refused < done.matched);
        self.finish_redrive(context, done).await
    }

    async fn redrive_chunk(
        &self,
        context: &Context,
        found: &[Failed],
        done: &mut Redriven,
    ) -> Result<(), CommandError> {
        let item = |(failed, part): (&Failed, i32)| Item {
            id: NotificationId::new(failed.notification),
            action: Action::Retry { channel: Some(failed.channel) },
            part,
        };
        let items: Vec<Item> = found.iter().zip(1..).map(item).collect();
        let deadline = Instant::now() + DEADLINE;
        for result in self.run_many(context, &items, Default::default(), record, deadline).await? {
            match result {
                Ok(Ran { done: one, changed }) => {
                    done.redriven += i64::from(changed);
                    done.position = done.position.max(one.position);
                }
                Err(CommandError::Refused(_)) => done.refused += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// With a key, the answer is what the records of the deliveries say, and is kept.
    async fn finish_redrive(&self, context: &Context, done: Redriven) -> Result<Redriven, CommandError> {
        let Some(redriven) = self.count_changed(context).await? else { return Ok(done) };
        let done = Redriven { redriven: redriven.cast_signed(), ..done };
        match self.record_part(context, FINISH, result(&done)).await? {
            Some(Appended::Replayed(answer)) => finished(context, &answer),
            Some(Appended::Stored { position }) => Ok(Redriven { position, ..done }),
            None => Ok(done),
        }
    }
}

/// A delivery's record: under its own key, so that it can be redriven once only.
fn record(context: &Context, item: &Item, changed: bool) -> Option<Record> {
    let Action::Retry { channel: Some(channel) } = &item.action else { return None };
    let key = context.idempotency.as_ref()?.of_item(format_args!("{} {}", item.id, channel.as_str()));
    Some(key.record(&context.principal, 0, 200, json!({"id": item.id, "changed": changed})))
}

fn result(done: &Redriven) -> Value {
    let Redriven { matched, redriven, refused, next, .. } = done;
    let next = next.map(|place| json!([place.position, place.step]));
    json!({"matched": matched, "redriven": redriven, "refused": refused, "next": next})
}

fn finished(context: &Context, answer: &Answer) -> Result<Redriven, CommandError> {
    let number = |member| stored(context, answer, member, Value::as_i64);
    let next = &answer.result["next"];
    let next = next[0].as_i64().zip(next[1].as_i64());
    Ok(Redriven {
        matched: number("matched")?,
        redriven: number("redriven")?,
        refused: number("refused")?,
        next: next.map(|(position, step)| Place { position, step: i16::try_from(step).unwrap_or(0) }),
        position: answer.position,
        replayed: true,
    })
}
