//! Moves a read model along the log: one transaction per batch, rows and checkpoint together.
//!
//! Any node may work and one does: whoever gets the checkpoint's lock. A crash between any two steps leaves
//! either the whole batch or nothing of it, so nothing is folded twice and nothing is left out.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Executor, PgConnection};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::log::{ReadError, Reader, Recorded, Tail, TailReader, Watermark};
use crate::parking::Parked;
use crate::read_model::{Batch, Checkpoint, ReadModel, Schema, begin, checkpoint};

/// How long a silent log is left alone.
const POLL: Duration = Duration::from_millis(250);
/// How long a rival that holds the checkpoint is left alone.
const RIVAL_POLL: Duration = Duration::from_millis(50);
const RETRY_AFTER_ERROR: Duration = Duration::from_millis(500);

/// How a read model takes its batches.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Events folded in one transaction: large enough to amortise its round trips, small enough for a single
    /// notification not to wait long behind a full batch.
    pub batch_events_max: usize,
    /// After a batch of this size the next one is given a moment to grow.
    pub busy_batch_events: Range<usize>,
    pub breath: Duration,
}

impl Pace {
    /// Somebody watches. A transaction costs about as much as thirty events, so under load it waits for a few more;
    /// large batches are worth theirs already.
    pub fn prompt() -> Self {
        Self { batch_events_max: 500, busy_batch_events: 40..200, breath: Duration::from_millis(5) }
    }

    /// Nobody waits for single events: they are taken in handfuls.
    pub fn relaxed() -> Self {
        Self { batch_events_max: 1_000, busy_batch_events: 1..1_000, breath: Duration::from_millis(40) }
    }
}

/// A batch that was committed here.
pub struct Committed<T> {
    pub generation: i64,
    /// How long its transaction took.
    pub took: Duration,
    pub output: T,
}

/// What a processor is doing, as operators see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Activity {
    #[default]
    Following,
    /// The log holds what this binary does not know: a newer one wrote it, and will go on.
    Halted(String),
    /// Something it needs is away; it tries again.
    Failing(String),
}

#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
}

enum Step<T> {
    Advanced {
        last: i64,
        events: usize,
        committed: Committed<T>,
    },
    /// Nothing to fold beyond this checkpoint.
    Idle(i64),
    /// Another node holds the checkpoint, and had folded up to here.
    Elsewhere(i64),
}

/// What a processor needs of its node.
pub struct Surroundings {
    pub connect: PgConnectOptions,
    pub reader: Reader,
    pub tail: Tail,
    /// The log's head, as far as this node knows it.
    pub head: Watermark,
    /// The model's checkpoint; advanced here.
    pub checkpoint: Watermark,
    pub activity: watch::Sender<Activity>,
}

pub struct Processor<M: ReadModel> {
    surroundings: Surroundings,
    schema: Schema,
    pace: Pace,
    tail: TailReader,
    /// Where committed batches go. A full channel drops them: who needs them reads them from Postgres.
    committed: Option<mpsc::Sender<Committed<M::Output>>>,
}

/// What is remembered between two batches. It holds while nobody else has moved the checkpoint.
struct Memory<M> {
    at: Option<Checkpoint>,
    model: M,
    parked: Parked,
}

impl<M: ReadModel> Memory<M> {
    fn blank() -> Self {
        Self { at: None, model: M::default(), parked: Parked::default() }
    }
}

impl<M: ReadModel> Processor<M> {
    pub fn new(
        surroundings: Surroundings,
        pace: Pace,
        committed: Option<mpsc::Sender<Committed<M::Output>>>,
    ) -> Self {
        let tail = surroundings.tail.reader();
        Self { surroundings, schema: Schema::live::<M>(), pace, tail, committed }
    }

    /// Runs until the task is aborted. Nothing ends it from within: what fails is tried again, for ever.
    pub async fn run(self) {
        let mut connection = None;
        let mut memory = Memory::blank();
        loop {
            let step = match &mut connection {
                Some(open) => self.step(open, &mut memory).await,
                None => match self.open().await {
                    Ok(open) => {
                        (connection, memory) = (Some(open), Memory::blank());
                        continue;
                    }
                    Err(error) => Err(error.into()),
                },
            };
            self.report(step.as_ref().err());
            match step {
                Ok(Step::Advanced { last, events, committed }) => {
                    let busy = self.pace.busy_batch_events.contains(&events);
                    self.publish(last, committed);
                    if busy {
                        tokio::time::sleep(self.pace.breath).await;
                    }
                }
                Ok(Step::Idle(position)) => {
                    self.reached(position);
                    let _ = tokio::time::timeout(POLL, self.surroundings.head.reached(position + 1)).await;
                }
                Ok(Step::Elsewhere(position)) => {
                    self.reached(position);
                    tokio::time::sleep(RIVAL_POLL).await;
                }
                Err(_) => {
                    connection = None;
                    tokio::time::sleep(RETRY_AFTER_ERROR).await;
                }
            }
        }
    }

    /// Says once what is wrong, and once that it is over.
    fn report(&self, error: Option<&StepError>) {
        let activity = match error {
            None => Activity::Following,
            Some(StepError::Read(error @ ReadError::Unknown { .. })) => Activity::Halted(error.to_string()),
            Some(error) => Activity::Failing(error.to_string()),
        };
        self.surroundings.activity.send_if_modified(|known| {
            let changed = *known != activity;
            if changed {
                match &activity {
                    Activity::Following => tracing::info!(model = M::NAME, "the read model follows the log"),
                    Activity::Halted(why) | Activity::Failing(why) => {
                        tracing::error!(model = M::NAME, why, "the read model cannot follow the log");
                    }
                }
                *known = activity;
            }
            changed
        });
    }

    async fn open(&self) -> Result<PgConnection, sqlx::Error> {
        let name = format!("tidings {}", M::NAME);
        let mut connection = self.schema.connect(&self.surroundings.connect, &name, SESSION).await?;
        // A database that went back in time begins its epoch here if the writer was not first, and what this
        // node remembers of the history before is forgotten.
        connection.execute("SELECT log_open()").await?;
        self.surroundings.tail.clear();
        Ok(connection)
    }

    /// One batch. An error leaves a transaction behind, so its connection is not used again.
    async fn step(
        &self,
        connection: &mut PgConnection,
        memory: &mut Memory<M>,
    ) -> Result<Step<M::Output>, StepError> {
        let began = Instant::now();
        let Some(at) = begin(connection).await? else {
            let reached = checkpoint(connection).await?;
            connection.execute("ROLLBACK").await?;
            return Ok(Step::Elsewhere(reached.position));
        };
        if memory.at != Some(at) {
            *memory = Memory { at: None, model: M::default(), parked: Parked::load(connection).await? };
        }
        let events = self.events_after(connection, at.position).await?;
        let Some(last) = events.last().map(|event| event.position) else {
            connection.execute("ROLLBACK").await?;
            memory.at = Some(at);
            return Ok(Step::Idle(at.position));
        };
        // Until the commit is known to have gone through, nothing is remembered.
        memory.at = None;
        let count = events.len();
        let batch = Batch { events, parked: &mut memory.parked, checkpoint: Some(last) };
        let output = memory.model.apply(connection, batch).await?;
        let generation = memory.parked.store(connection, at.generation).await?;
        connection.execute("COMMIT").await?;
        memory.at = Some(Checkpoint { position: last, generation });
        Ok(Step::Advanced {
            last,
            events: count,
            committed: Committed { generation, took: began.elapsed(), output },
        })
    }

    async fn events_after(
        &self,
        connection: &mut PgConnection,
        position: i64,
    ) -> Result<Vec<Arc<Recorded>>, ReadError> {
        let limit = self.pace.batch_events_max;
        let events = self.tail.after(position, limit);
        if events.is_empty() {
            self.surroundings.reader.after(connection, position, limit as i64).await
        } else {
            Ok(events)
        }
    }

    fn publish(&self, last: i64, committed: Committed<M::Output>) {
        self.surroundings.head.advance_to(last);
        self.reached(last);
        if let Some(channel) = &self.committed {
            let _ = channel.try_send(committed);
        }
    }

    fn reached(&self, position: i64) {
        self.surroundings.checkpoint.advance_to(position);
        self.tail.done_up_to(position);
    }
}

/// synchronous_commit: rows and checkpoint rewind together if the server crashes, and are folded anew.
/// Plans: the tables grow from empty, and a cached sequential scan would be wrong soon after.
pub(crate) const SESSION: &[(&str, &str)] = &[
    ("synchronous_commit", "off"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];
