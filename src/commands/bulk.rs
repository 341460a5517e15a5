//! Bulk marks: every item of an inbox up to a position. Whether a notification is read is known by it alone, so a
//! bulk mark is one command per item, found in the read model and executed in chunks.
//!
//! With an idempotency key, part 0 fixes the position, each item's record stands under a key of its own, and the
//! finishing record keeps the answer. So a repetition does what is missing, whoever works at the same request
//! meanwhile, and never comes back to an item that was done.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_domain::notification::{Action, Category};
use tidings_domain::{NotificationId, UserId};
use tidings_projections::inbox::{self, QueryError};
use tokio::time::Instant;
use tracing::Instrument;
use uuid::Uuid;

use super::many::{Item, Ran};
use super::{CommandError, Commands, Context, DEADLINE};
use crate::clock;
use crate::log::{Answer, Appended, Job, Lane, Record};

pub use tidings_projections::inbox::BulkKind;

/// Items that are marked at a time; each chunk has a deadline of its own.
const CHUNK_ITEMS: i64 = 250;
/// How long it may take the inbox to reach the position.
const INBOX_TIMEOUT: Duration = Duration::from_secs(2);
/// The part that keeps the answer.
pub(super) const FINISH: i32 = 1;

/// Mark what is in a user's inbox.
#[derive(Clone, Debug)]
pub struct BulkMark {
    pub user: UserId,
    pub mark: BulkKind,
    /// What was listed after this position stays as it is; the end of the log where it is left out.
    pub up_to: Option<i64>,
    /// Only items of this category.
    pub category: Option<Category>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkDone {
    /// Items that this request changed.
    pub marked: u64,
    /// Everything it did is at or before this position.
    pub position: i64,
    /// An earlier request with the same idempotency key had begun it; what was missing is done now.
    pub replayed: bool,
}

/// A request as it was begun, by itself or by an earlier one with its key.
pub(super) struct Begun {
    pub up_to: i64,
    pub replayed: bool,
    /// What its repetitions are answered.
    pub finished: Option<Answer>,
}

impl Commands {
    /// Marks to the end, even if the caller does not wait for it. An error leaves some chunks done; a repetition
    /// does the rest.
    pub async fn mark_all(
        self: &Arc<Self>,
        context: &Context,
        bulk: BulkMark,
    ) -> Result<BulkDone, CommandError> {
        let (commands, context) = (Arc::clone(self), context.clone());
        let marking = async move { commands.mark_each(&context, &bulk).await };
        let marking = tokio::spawn(marking.in_current_span());
        marking.await.map_err(|error| CommandError::Fault(error.to_string()))?
    }

    async fn mark_each(&self, context: &Context, bulk: &BulkMark) -> Result<BulkDone, CommandError> {
        let Begun { up_to, replayed, finished } = self.begin_bulk(context, bulk.up_to).await?;
        if let Some(answer) = finished {
            return self::finished(context, &answer);
        }
        let reached = self.history.inbox_reached(&self.pool, up_to);
        let reached = tokio::time::timeout(INBOX_TIMEOUT, reached).await;
        reached.map_err(|_| CommandError::Behind(up_to))??;

        let owner = (context.principal.tenant().as_str(), bulk.user.as_str());
        let category = bulk.category.as_ref().map(Category::as_str);
        let mut done = BulkDone { marked: 0, position: up_to, replayed };
        let mut after = 0;
        loop {
            let range = (after, up_to);
            let found = inbox::to_mark(&self.pool, owner, bulk.mark, category, range, CHUNK_ITEMS).await?;
            let Some((_, last)) = found.last() else { break };
            after = *last;
            self.mark_chunk(context, bulk.mark, &found, &mut done).await?;
            if (found.len() as i64) < CHUNK_ITEMS {
                break;
            }
        }
        // What a parked recipient has is not known, so the answer would be wrong, and with a key for ever.
        match inbox::standing(&self.pool, owner.0, owner.1).await {
            Ok(_) => self.finish_bulk(context, done).await,
            Err(QueryError::Parked) => Err(CommandError::Behind(up_to)),
            Err(QueryError::Database(error)) => Err(error.into()),
        }
    }

    async fn mark_chunk(
        &self,
        context: &Context,
        mark: BulkKind,
        found: &[(Uuid, i64)],
        done: &mut BulkDone,
    ) -> Result<(), CommandError> {
        let item = |((uuid, _), part): (&(Uuid, i64), i32)| Item {
            id: NotificationId::new(*uuid),
            action: action(mark),
            part,
        };
        let items: Vec<Item> = found.iter().zip(1..).map(item).collect();
        let deadline = Instant::now() + DEADLINE;
        for result in self.run_many(context, &items, Default::default(), record, deadline).await? {
            match result {
                Ok(Ran { done: one, changed }) => {
                    done.marked += u64::from(changed);
                    done.position = done.position.max(one.position);
                }
                // Cancelled, expired: others changed it meanwhile, and it is in the inbox no more.
                Err(CommandError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Fixes the position; with a key, once for all requests that carry it.
    pub(super) async fn begin_bulk(
        &self,
        context: &Context,
        up_to: Option<i64>,
    ) -> Result<Begun, CommandError> {
        let mut earlier = self.answers(context, 0..=FINISH).await?;
        if let Some(begun) = earlier.remove(&0) {
            return Ok(Begun { finished: earlier.remove(&FINISH), ..begun_earlier(context, &begun)? });
        }
        let up_to = match up_to {
            Some(position) => position,
            None => {
                self.history.refresh(&self.pool).await?;
                self.history.head.get()
            }
        };
        match self.record_part(context, 0, json!({"up_to": up_to})).await? {
            Some(Appended::Replayed(begun)) => begun_earlier(context, &begun),
            Some(Appended::Stored { .. }) | None => Ok(Begun { up_to, replayed: false, finished: None }),
        }
    }

    /// With a key, the answer is what the items' records say, and is kept.
    async fn finish_bulk(&self, context: &Context, done: BulkDone) -> Result<BulkDone, CommandError> {
        let Some(marked) = self.count_changed(context).await? else { return Ok(done) };
        match self.record_part(context, FINISH, json!({"marked": marked})).await? {
            Some(Appended::Replayed(answer)) => finished(context, &answer),
            Some(Appended::Stored { position }) => Ok(BulkDone { marked, position, ..done }),
            None => Ok(done),
        }
    }

    /// Stores a part that has no event; `None` without a key.
    pub(super) async fn record_part(
        &self,
        context: &Context,
        part: i32,
        result: Value,
    ) -> Result<Option<Appended>, CommandError> {
        let Some(key) = &context.idempotency else { return Ok(None) };
        let job = Job {
            command_id: clock::new_uuid(),
            epoch: self.log.epoch(),
            events: Vec::new(),
            record: Some(key.record(&context.principal, part, 200, result)),
            deadline: Instant::now() + DEADLINE,
        };
        self.log.append(job, Lane::Bulk).await.map(Some).map_err(CommandError::Append)
    }
}

fn action(mark: BulkKind) -> Action {
    match mark {
        BulkKind::Read => Action::MarkRead,
        BulkKind::Seen => Action::MarkSeen,
        BulkKind::Archive => Action::Archive,
    }
}

/// An item's record: under the item's own key, so that it can be done once only.
fn record(context: &Context, item: &Item, changed: bool) -> Option<Record> {
    let key = context.idempotency.as_ref()?.of_item(item.id);
    Some(key.record(&context.principal, 0, 200, json!({"id": item.id, "changed": changed})))
}

fn begun_earlier(context: &Context, answer: &Answer) -> Result<Begun, CommandError> {
    let up_to = stored(context, answer, "up_to", Value::as_i64)?;
    Ok(Begun { up_to, replayed: true, finished: None })
}

fn finished(context: &Context, answer: &Answer) -> Result<BulkDone, CommandError> {
    let marked = stored(context, answer, "marked", Value::as_u64)?;
    Ok(BulkDone { marked, position: answer.position, replayed: true })
}

/// A member of a stored answer; fails where that is another request's.
pub(super) fn stored<T>(
    context: &Context,
    answer: &Answer,
    member: &str,
    read: fn(&Value) -> Option<T>,
) -> Result<T, CommandError> {
    if let Some(key) = &context.idempotency {
        key.check(answer)?;
    }
    let damaged = || CommandError::Fault(format!("a stored answer is damaged: it has no {member}"));
    read(&answer.result[member]).ok_or_else(damaged)
}
