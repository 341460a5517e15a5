//! The Redis Stream that mirrors the log: all events up to the inbox's checkpoint, never beyond, each with its
//! envelope and, where it changed an inbox, the item and the counts after it.
//!
//! The stream is a copy that can always be made again. What a node commits it pushes from memory; whatever
//! does not fit is refilled from Postgres, so there is never a hole, a duplicate or a second history in it.

mod entry;
mod eviction;
mod relay;

pub use entry::{Changed, Entry, Version};
pub use relay::{Batch, relay};

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Script};
use sqlx::PgPool;
use tidings_projections::inbox;
use tidings_projections::log::{ReadError, Reader};
use tidings_projections::read_model::Checkpoint;
use tokio::sync::mpsc;

use crate::clock;
use crate::log::History;
use crate::telemetry::Tracing;
use crate::telemetry::metrics::MirrorMetrics;
use relay::Outgoing;

/// The one stream of the log; the braces keep it in one slot of a cluster.
pub const STREAM: &str = "tidings:{0}:events";
/// How many entries the stream keeps, and how far back an absent one begins.
const KEPT_ENTRIES: i64 = 100_000;
const REFILL_PAGE: i64 = 500;
/// Item bytes of one call; an entry carries its item about twice.
const PUSH_BYTES_MAX: usize = 4 << 20;
/// Batches pushed in one call.
const BATCHES_AT_ONCE: usize = 8;
const CHECK_EVERY: Duration = Duration::from_secs(1);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
enum MirrorError {
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("Postgres: {0}")]
    Database(#[from] sqlx::Error),
    /// The stream belongs to a later history than this node's database: the database is the stale one.
    #[error("the stream is of epoch {0}, which this database has never seen")]
    DatabaseBehind(i64),
    /// Only what was committed is mirrored, so the database has lost events that were acknowledged: it was restored, or
    /// failed over, in a way that it does not show.
    #[error(
        "the stream is at {top} and the log ends at {head}: if the database was restored, run `tidings epoch bump`"
    )]
    DatabaseLost { top: i64, head: i64 },
}

/// How the stream stands after a call.
enum Pushed {
    Ok,
    /// It ends at this position; what it was given does not follow.
    Gap {
        top: i64,
    },
    /// It is absent, or of an older epoch.
    Foreign,
    Newer {
        epoch: i64,
    },
    /// It carries a newer generation of the inbox than this: nodes that have that one go on with it.
    NewerGeneration {
        top: i64,
    },
}

pub struct Mirror {
    pub client: Client,
    pub pool: PgPool,
    pub reader: Reader,
    pub history: History,
    /// What the projector of this node committed.
    pub committed: mpsc::Receiver<Arc<Batch>>,
    pub health: tokio::sync::watch::Sender<Health>,
    pub metrics: MirrorMetrics,
    pub tracing: Tracing,
    /// Where the stream ended at the last check, if that was behind the inbox.
    pub stands_at: Option<i64>,
}

/// Whether the stream is current, for the health check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    #[default]
    Starting,
    Current,
    /// Redis is away: sockets are fed from Postgres.
    RedisAway,
    /// See [`MirrorError::DatabaseBehind`] and `DatabaseLost`; the node must not serve.
    DatabaseBehind,
}

impl Mirror {
    /// Runs until the task is aborted.
    pub async fn run(mut self) {
        let mut connection = None;
        let mut check = tokio::time::interval(CHECK_EVERY);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batches = Vec::new();
        loop {
            batches.clear();
            let received = tokio::select! {
                count = self.committed.recv_many(&mut batches, BATCHES_AT_ONCE) => count,
                _ = check.tick() => usize::MAX,
            };
            let step = match received {
                0 => return,
                usize::MAX => self.check(&mut connection).await,
                _ => self.push_committed(&mut connection, &batches).await,
            };
            self.report(step, &mut connection);
        }
    }

    fn report(&self, step: Result<(), MirrorError>, connection: &mut Option<MultiplexedConnection>) {
        let health = match &step {
            Ok(()) => Health::Current,
            Err(MirrorError::DatabaseBehind(_) | MirrorError::DatabaseLost { .. }) => Health::DatabaseBehind,
            Err(_) => Health::RedisAway,
        };
        // What Redis shows counts until it shows something else; without Redis nothing new is known.
        match health {
            Health::Current => self.history.set_database_behind(false),
            Health::DatabaseBehind => self.history.set_database_behind(true),
            Health::Starting | Health::RedisAway => {}
        }
        let changed = self.health.send_if_modified(|known| {
            let changed = *known != health;
            *known = health;
            changed
        });
        match step {
            Err(error) => {
                *connection = None;
                if changed {
                    tracing::warn!(%error, "the stream does not follow the log");
                }
            }
            Ok(()) if changed => tracing::info!("the stream follows the log"),
            Ok(()) => {}
        }
    }

    async fn push_committed(
        &self,
        connection: &mut Option<MultiplexedConnection>,
        batches: &[Arc<Batch>],
    ) -> Result<(), MirrorError> {
        let connection = self.connected(connection).await?;
        // A new generation begins with a batch, so each call is of one.
        for batches in batches.chunk_by(|one, next| one.generation == next.generation) {
            let entries: Vec<Outgoing<'_>> = batches.iter().flat_map(|batch| batch.outgoing()).collect();
            for run in runs(&entries) {
                self.push_run(connection, batches[0].generation, run).await?;
            }
        }
        Ok(())
    }

    async fn push_run(
        &self,
        connection: &mut MultiplexedConnection,
        generation: i64,
        entries: &[Outgoing<'_>],
    ) -> Result<(), MirrorError> {
        match self.push(connection, generation, entries, false).await? {
            Pushed::Ok | Pushed::NewerGeneration { .. } => Ok(()),
            Pushed::Gap { top } if entries.last().is_none_or(|last| last.1.position <= top) => Ok(()),
            Pushed::Gap { top } => {
                self.metrics.refills.inc();
                self.refill(connection, top).await
            }
            Pushed::Foreign => self.begin(connection).await,
            Pushed::Newer { epoch } => self.meet_newer(epoch).await,
        }
    }

    /// Compares the stream with the inbox's checkpoint, and refills what is missing if it has stood still since
    /// the check before: under load it is always a little behind. A stream beyond the checkpoint is right: a
    /// crash of Postgres rewound the read model, which is folding the same events again. One beyond the log is not.
    async fn check(&mut self, connection: &mut Option<MultiplexedConnection>) -> Result<(), MirrorError> {
        let connection = self.connected(connection).await?;
        let stood_at = self.stands_at.take();
        let Checkpoint { position: reached, generation } = inbox::checkpoint(&self.pool).await?;
        match self.push(connection, generation, &[], false).await? {
            Pushed::Gap { top } if reached > top => {
                self.stands_at = Some(top);
                if stood_at != Some(top) {
                    return Ok(());
                }
                self.metrics.refills.inc();
                self.refill(connection, top).await
            }
            Pushed::Foreign if reached > 0 => self.begin(connection).await,
            Pushed::Newer { epoch } => self.meet_newer(epoch).await,
            Pushed::Gap { top } | Pushed::NewerGeneration { top } if top > reached => {
                self.meet_longer(top).await
            }
            Pushed::Ok | Pushed::Gap { .. } | Pushed::Foreign | Pushed::NewerGeneration { .. } => Ok(()),
        }
    }

    async fn begin(&self, connection: &mut MultiplexedConnection) -> Result<(), MirrorError> {
        self.metrics.refills.inc();
        let reached = inbox::checkpoint(&self.pool).await?.position;
        let from = (reached - KEPT_ENTRIES).max(0);
        let page = self.page(from).await?;
        let Some(last) = page.entries.last().map(|e| e.position) else { return Ok(()) };
        let outgoing: Vec<Outgoing<'_>> = page.outgoing().collect();
        let Some(run) = runs(&outgoing).next() else { return Ok(()) };
        let last = run.last().map_or(last, |(_, entry)| entry.position);
        match self.push(connection, page.generation, run, true).await? {
            Pushed::Ok => self.refill(connection, last).await,
            Pushed::Gap { top } => self.refill(connection, top).await,
            Pushed::Foreign | Pushed::NewerGeneration { .. } => Ok(()),
            Pushed::Newer { epoch } => self.meet_newer(epoch).await,
        }
    }

    /// Copies what the stream lacks up to where the inbox is now; what comes after arrives by itself.
    async fn refill(&self, connection: &mut MultiplexedConnection, mut top: i64) -> Result<(), MirrorError> {
        let reached = inbox::checkpoint(&self.pool).await?.position;
        while top < reached {
            let page = self.page(top).await?;
            let Some(last) = page.entries.last().map(|e| e.position) else { return Ok(()) };
            let outgoing: Vec<Outgoing<'_>> = page.outgoing().collect();
            let Some(run) = runs(&outgoing).next() else { return Ok(()) };
            let last = run.last().map_or(last, |(_, entry)| entry.position);
            top = match self.push(connection, page.generation, run, false).await? {
                Pushed::Ok => last,
                // A rival was faster, or Redis was flushed: go on from where it stands, or at the next check.
                Pushed::Gap { top: theirs } if theirs != top => theirs,
                Pushed::Gap { .. } | Pushed::Foreign | Pushed::NewerGeneration { .. } => return Ok(()),
                Pushed::Newer { epoch } => return self.meet_newer(epoch).await,
            };
        }
        Ok(())
    }

    async fn page(&self, after: i64) -> Result<Batch, MirrorError> {
        let page = inbox::folded_after(&self.pool, &self.reader, after, REFILL_PAGE).await?;
        Ok(Batch::new(page.generation, page.folded, &self.history.epochs(), self.tracing.is_on()))
    }

    /// A greater epoch in the stream is either one this node has not heard of yet, or proof that its database
    /// went back in time.
    async fn meet_newer(&self, epoch: i64) -> Result<(), MirrorError> {
        self.history.refresh(&self.pool).await?;
        if self.history.epochs().current().number < epoch {
            return Err(MirrorError::DatabaseBehind(epoch));
        }
        Ok(())
    }

    /// The stream was asked first: a head that is read after it can only be greater.
    async fn meet_longer(&self, top: i64) -> Result<(), MirrorError> {
        let head = sqlx::query_scalar("SELECT position FROM log_head").fetch_one(&self.pool).await?;
        if head < top { Err(MirrorError::DatabaseLost { top, head }) } else { Ok(()) }
    }

    async fn push(
        &self,
        connection: &mut MultiplexedConnection,
        generation: i64,
        entries: &[Outgoing<'_>],
        begin: bool,
    ) -> Result<Pushed, RedisError> {
        let began = clock::instant();
        let script = Script::new(include_str!("append.lua"));
        let epochs = self.history.epochs();
        let version = Version { epoch: epochs.current().number, generation };
        // Without entries the call only asks: no stream ends at -2, so it answers with its top.
        let first = entries.first().map_or(-1, |e| e.1.position);
        let keep = entries.last().map_or(0, |e| (e.1.position - KEPT_ENTRIES).max(0));
        let mut call = script.key(STREAM);
        call.arg(version.epoch).arg(generation).arg(first).arg(keep).arg(if begin { "1" } else { "0" });
        for (folded, entry) in entries {
            entry.add_to(&mut call, version, &folded.event.to_json(&epochs));
        }
        let (verdict, theirs, top): (String, i64, i64) = call.invoke_async(connection).await?;
        // Absent, it ends at 0.
        self.metrics.position.set(top);
        if verdict == "ok" {
            self.metrics.pushed.inc_by(entries.len() as u64);
            for (_, entry) in entries {
                entry.trace.iter().for_each(|trace| {
                    self.tracing.followed(*trace, "mirror", began, entry.position);
                });
            }
        }
        Ok(match verdict.as_str() {
            "ok" => Pushed::Ok,
            "gap" => Pushed::Gap { top },
            "newer" => Pushed::Newer { epoch: theirs },
            "newer-generation" => Pushed::NewerGeneration { top },
            _ => Pushed::Foreign,
        })
    }

    async fn connected<'a>(
        &self,
        connection: &'a mut Option<MultiplexedConnection>,
    ) -> Result<&'a mut MultiplexedConnection, RedisError> {
        if connection.is_none() {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(RESPONSE_TIMEOUT))
                .set_response_timeout(Some(RESPONSE_TIMEOUT));
            let mut open = self.client.get_multiplexed_async_connection_with_config(&config).await?;
            eviction::warn(&mut open).await;
            *connection = Some(open);
        }
        Ok(connection.as_mut().expect("it was set a line above"))
    }
}

/// Cuts entries where another node's lie between them, and where a call would grow too large: the script
/// numbers what it is given one by one.
fn runs<'a, 'b>(entries: &'a [Outgoing<'b>]) -> impl Iterator<Item = &'a [Outgoing<'b>]> {
    let ranges = cut(entries.len(), |at| (entries[at].1.position, size_of_item(entries[at].1)));
    ranges.into_iter().map(|range| &entries[range])
}

fn size_of_item(entry: &Entry) -> usize {
    entry.changed.as_ref().map_or(0, |changed| changed.item.len())
}

fn cut(count: usize, position_and_bytes: impl Fn(usize) -> (i64, usize)) -> Vec<Range<usize>> {
    let (mut runs, mut start, mut bytes, mut last) = (Vec::new(), 0, 0, 0);
    for at in 0..count {
        let (position, size) = position_and_bytes(at);
        if at > start && (position != last + 1 || bytes + size > PUSH_BYTES_MAX) {
            runs.push(start..at);
            (start, bytes) = (at, 0);
        }
        (bytes, last) = (bytes + size, position);
    }
    if start < count {
        runs.push(start..count);
    }
    runs
}

#[cfg(test)]
mod tests {
    //! What goes into one call of the script.
    use super::*;
    use tidings_projections::inbox::Counts;

    fn entry(position: i64, bytes: usize) -> Entry {
        Entry {
            position,
            tenant: "default".into(),
            event_type: "notification.created".into(),
            user_id: Some("alice".into()),
            aggregate_id: None,
            recorded_at: None,
            trace: None,
            changed: Some(Changed { counts: Counts::default(), item: "x".repeat(bytes) }),
        }
    }

    fn lengths(entries: &[Entry]) -> Vec<usize> {
        cut(entries.len(), |at| (entries[at].position, size_of_item(&entries[at])))
            .into_iter()
            .map(|run| run.len())
            .collect()
    }

    #[test]
    fn what_another_node_committed_in_between_ends_a_call() {
        let positions = [101, 102, 121, 122, 123, 130];
        let entries: Vec<Entry> = positions.map(|position| entry(position, 10)).into();
        assert_eq!(lengths(&entries), [2, 3, 1]);
        assert!(lengths(&[]).is_empty());
    }

    #[test]
    fn a_call_is_bounded_in_bytes_and_takes_at_least_one_entry() {
        let entries: Vec<Entry> = (1..=5).map(|position| entry(position, PUSH_BYTES_MAX / 2)).collect();
        assert_eq!(lengths(&entries), [2, 2, 1]);
        let huge: Vec<Entry> = (1..=2).map(|position| entry(position, PUSH_BYTES_MAX + 1)).collect();
        assert_eq!(lengths(&huge), [1, 1]);
    }
}
