//! Fires timers: when an instant has come that a notification or a schedule waits for, a command says so.
//!
//! The loop runs on every node and one fires at a time. The aggregate ignores every instant but its current one, so
//! that a timer which fires twice, whatever crashed in between, has its effect once.

mod ticks;

pub use ticks::Ticker;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor, PgConnection};
use tidings_domain::notification::Action;
use tidings_domain::{NotificationId, Tenant};
use tidings_projections::log::{Outage, Watermark};
use tidings_projections::processor::Committed;
use tidings_projections::timers::{After, Due, Kind, due, next_due};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use crate::auth::Principal;
use crate::batch_size::BatchSize;
use crate::clock;
use crate::commands::{CommandError, Commands, Context, Item};
use crate::log::AppendError;
use crate::telemetry::metrics::TimerMetrics;

/// Timers of one turn: they fit one call of the log, and hold up nobody for long. Those that end large digests read so much that
/// fewer of them can be made before the deadline of a command.
const CHUNK: usize = 250;
/// What another node has set may be due before this one learns of it; this is how late it can be.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long another node's turn is left alone.
const RIVAL_POLL: Duration = Duration::from_millis(100);
/// How long a turn waits until what it fired is folded; until then the next would find the same timers again.
const FOLDED_TIMEOUT: Duration = Duration::from_secs(2);
/// A timer that was fired and is still there is left alone for so long.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
const RETRY_AFTER_ERROR: Duration = Duration::from_millis(500);
/// A turn is over long before its connection is given up.
const SESSION: &[(&str, &str)] = &[
    ("lock_timeout", "2s"),
    ("statement_timeout", "15s"),
    ("idle_in_transaction_session_timeout", "15s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("enable_seqscan", "off"),
    ("jit", "off"),
];

#[derive(Debug, thiserror::Error)]
enum FiringError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Command(#[from] CommandError),
}

enum Turn {
    /// Some were fired, and more may be due.
    Fired,
    /// Nothing is due; the instant of the next, and how long to wait at most.
    Idle { next: Option<OffsetDateTime>, wait: Duration },
    /// Another node's.
    Elsewhere,
}

/// The connections of this node. What is due is read outside of the turn's transaction, which lasts: it would hold up
/// a rebuild that swaps the table under it.
struct Open {
    turn: PgConnection,
    reading: PgConnection,
}

/// A timer as it was set: set anew, it is another one.
type Fired = (Uuid, Kind, i64);

pub struct Timers {
    connect: PgConnectOptions,
    commands: Arc<Commands>,
    ticker: Ticker,
    /// How far the timers have followed the log.
    checkpoint: Watermark,
    /// What this node has folded, each batch with the earliest instant it set.
    set: mpsc::Receiver<Committed<Option<OffsetDateTime>>>,
    /// What was fired here lately. A timer that is still there was either not folded yet or has no effect.
    fired: LruCache<Fired, Instant>,
    well: bool,
    chunk: BatchSize,
    metrics: TimerMetrics,
}

impl Timers {
    pub fn new(
        connect: PgConnectOptions,
        (commands, ticker): (Arc<Commands>, Ticker),
        checkpoint: Watermark,
        set: mpsc::Receiver<Committed<Option<OffsetDateTime>>>,
        metrics: TimerMetrics,
    ) -> Self {
        const FIRED_MAX: NonZeroUsize = NonZeroUsize::new(20_000).expect("not zero");
        Self {
            connect,
            commands,
            ticker,
            checkpoint,
            set,
            fired: LruCache::new(FIRED_MAX),
            well: true,
            chunk: BatchSize::new(CHUNK),
            metrics,
        }
    }

    /// Runs until the task is aborted. What fails is tried again, for ever.
    pub async fn run(mut self) {
        let mut connection = None;
        loop {
            // What was set until here is found by the turn.
            while self.set.try_recv().is_ok() {}
            let turn = match &mut connection {
                Some(open) => self.turn(open).await,
                None => match self.open().await {
                    Ok(open) => {
                        connection = Some(open);
                        continue;
                    }
                    Err(error) => Err(error.into()),
                },
            };
            self.report(turn.as_ref().err());
            match turn {
                Ok(Turn::Fired) => {}
                Ok(Turn::Idle { next, wait }) => {
                    let _ = tokio::time::timeout(wait, self.set_before(next)).await;
                }
                Ok(Turn::Elsewhere) => tokio::time::sleep(RIVAL_POLL).await,
                Err(_) => {
                    connection = None;
                    tokio::time::sleep(RETRY_AFTER_ERROR).await;
                }
            }
        }
    }

    /// Says once what is wrong, and once that it is over.
    fn report(&mut self, error: Option<&FiringError>) {
        match (error, self.well) {
            (Some(error), true) => tracing::warn!(%error, "timers cannot be fired; trying again"),
            (None, false) => tracing::info!("timers are fired again"),
            _ => {}
        }
        self.well = error.is_none();
    }

    /// Returns once a timer was set that is due before the next one known.
    async fn set_before(&mut self, next: Option<OffsetDateTime>) {
        while let Some(committed) = self.set.recv().await {
            if committed.output.is_some_and(|set| next.is_none_or(|next| set < next)) {
                return;
            }
        }
        std::future::pending().await
    }

    async fn open(&self) -> Result<Open, sqlx::Error> {
        let options = self.connect.clone().options(SESSION.iter().copied());
        let (turn, reading) = (options.clone().application_name("tidings turn"), options);
        let reading = reading.application_name("tidings due");
        Ok(Open { turn: turn.connect().await?, reading: reading.connect().await? })
    }

    /// Fires one chunk of what is due, and keeps the turn until it is folded. An error leaves a transaction behind, so
    /// its connections are not used again.
    async fn turn(&mut self, Open { turn, reading }: &mut Open) -> Result<Turn, FiringError> {
        let begin = "BEGIN; SELECT FROM timer_turn FOR UPDATE SKIP LOCKED";
        if turn.fetch_optional(begin).await?.is_none() {
            turn.execute("ROLLBACK").await?;
            return Ok(Turn::Elsewhere);
        }
        let chunk = self.next_chunk(reading).await?;
        let fired = if chunk.is_empty() { Ok(None) } else { self.fire_bounded(chunk).await.map(Some) };
        // What cannot be fired holds up no schedule.
        let ticked = self.ticker.tick(reading).await?;
        let fired = fired?.max(ticked);
        let done = if let Some(position) = fired {
            // Without it, the turn after this one is in vain; no more than that.
            let _ = tokio::time::timeout(FOLDED_TIMEOUT, self.checkpoint.reached(position)).await;
            Turn::Fired
        } else {
            let next = next_due(&mut *reading).await?;
            let wait = next.map_or(LOOK_EVERY, |(_, wait)| wait.min(LOOK_EVERY));
            Turn::Idle { next: next.map(|(at, _)| at), wait }
        };
        turn.execute("COMMIT").await?;
        Ok(done)
    }

    /// What is due and was not fired lately.
    async fn next_chunk(&mut self, connection: &mut PgConnection) -> Result<Vec<Due>, sqlx::Error> {
        let mut after = None;
        loop {
            let page = due(&mut *connection, after, CHUNK as i64).await?;
            let is_last = page.len() < CHUNK;
            after = page.last().map(After::from);
            let mut chunk: Vec<Due> = page.into_iter().filter(|due| !self.was_fired(due)).collect();
            chunk.truncate(self.chunk.get());
            if is_last || !chunk.is_empty() {
                return Ok(chunk);
            }
        }
    }

    fn was_fired(&mut self, due: &Due) -> bool {
        self.fired.get(&key(due)).is_some_and(|at| at.elapsed() < AGAIN_AFTER)
    }

    /// What misses its deadline is not tried again as a whole.
    async fn fire_bounded(&mut self, chunk: Vec<Due>) -> Result<i64, FiringError> {
        let alone = (chunk.len() == 1).then(|| key(&chunk[0]));
        let fired = self.fire(chunk).await;
        match &fired {
            Ok(_) => self.chunk.went_well(),
            Err(FiringError::Command(CommandError::Append(AppendError::Expired))) => {
                self.chunk.was_too_much();
                // One that is too much by itself lets the others pass, for a while.
                alone.into_iter().for_each(|alone| _ = self.fired.put(alone, Instant::now()));
            }
            Err(_) => {}
        }
        fired
    }

    /// Gives a position that all of it is at or before.
    async fn fire(&mut self, chunk: Vec<Due>) -> Result<i64, FiringError> {
        let mut tenants: BTreeMap<String, Vec<Due>> = BTreeMap::new();
        for due in chunk {
            tenants.entry(due.tenant.clone()).or_default().push(due);
        }
        let mut position = 0;
        for (tenant, timers) in tenants {
            match Tenant::try_from(tenant) {
                Ok(tenant) => position = self.fire_for(tenant, timers).await?.max(position),
                Err(error) => {
                    tracing::error!(%error, "timers of a tenant that cannot be are left alone");
                    self.remember(&timers);
                }
            }
        }
        Ok(position)
    }

    async fn fire_for(&mut self, tenant: Tenant, timers: Vec<Due>) -> Result<i64, FiringError> {
        let request_id = format!("timer-{}", clock::new_uuid());
        let principal = Principal::Timer { tenant };
        let context = Context { principal, request_id, idempotency: None, trace: None };
        let items = timers.iter().zip(1..).map(|(due, part)| item(due, part)).collect();
        let many = self.commands.execute_many(&context, items).await?;
        let (mut position, mut failed) = (0, None);
        for (due, result) in timers.iter().zip(many.results) {
            match result {
                Ok(done) => {
                    position = done.position.max(position);
                    self.metrics.fired.of(due.kind).inc();
                    let late = (clock::instant() - due.due_at).as_seconds_f64();
                    self.metrics.late_seconds.observe(late.max(0.0));
                }
                Err(error) if error.is_outage() => {
                    failed = Some(error);
                    continue;
                }
                // No repetition helps, but for one after a mending.
                Err(error) => {
                    let notification = NotificationId::new(due.notification);
                    tracing::error!(%notification, %error, "a timer cannot be fired");
                }
            }
            self.remember(std::slice::from_ref(due));
        }
        failed.map_or(Ok(position), |error| Err(error.into()))
    }

    fn remember(&mut self, timers: &[Due]) {
        let now = Instant::now();
        timers.iter().for_each(|due| _ = self.fired.put(key(due), now));
    }
}

fn key(due: &Due) -> Fired {
    (due.notification, due.kind, due.position)
}

fn item(due: &Due, part: i32) -> Item {
    let at = due.due_at;
    let action = match due.kind {
        Kind::Release => Action::Release { at },
        Kind::Wake => Action::Wake { at },
        Kind::Expire => Action::Expire { at },
        Kind::Activate(channel) => Action::Activate { channel, at },
    };
    Item { id: NotificationId::new(due.notification), action, part }
}
