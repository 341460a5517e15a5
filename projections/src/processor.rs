//! Moves the read models along the log: one transaction per batch, rows and checkpoint together.
//!
//! Any node may work and one does: whoever gets the checkpoint's lock. A crash between any two steps leaves
//! either the whole batch or nothing of it, so nothing is folded twice and nothing is left out.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor, PgConnection};
use tokio::sync::mpsc;

use crate::inbox::{self, Folded, KnownCounters};
use crate::log::{ReadError, Reader, Recorded, Tail, Watermark};

/// Events folded in one transaction: large enough to amortise its round trips, small enough for a single
/// notification not to wait long behind a full batch.
const BATCH_EVENTS_MAX: usize = 500;
/// After a batch of this size the next one is given a moment to grow: a transaction costs about as much as thirty
/// events. Larger ones are worth theirs already.
const BUSY_BATCH_EVENTS: Range<usize> = 64..200;
const BREATH: Duration = Duration::from_millis(5);
/// How long a silent log is left alone.
const POLL: Duration = Duration::from_millis(250);
/// How long a rival that holds the checkpoint is left alone.
const RIVAL_POLL: Duration = Duration::from_millis(50);
const RETRY_AFTER_ERROR: Duration = Duration::from_millis(500);

/// A batch of the inbox that was committed here, in order.
pub type Committed = Vec<Folded>;

#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Apply(#[from] inbox::ApplyError),
}

enum Step {
    Advanced(Committed),
    /// Nothing to fold beyond this checkpoint.
    Idle(i64),
    /// Another node holds the checkpoint, and had folded up to here.
    Elsewhere(i64),
}

pub struct InboxProcessor {
    pub connect: PgConnectOptions,
    pub reader: Reader,
    pub tail: Tail,
    /// The log's head, as far as this node knows it.
    pub head: Watermark,
    /// The inbox's checkpoint; advanced here.
    pub checkpoint: Watermark,
    /// Where committed batches go. A full channel drops them: who needs them reads them from Postgres.
    pub committed: mpsc::Sender<Committed>,
}

impl InboxProcessor {
    /// Runs until the task is aborted. Nothing ends it from within: what fails is tried again, for ever.
    pub async fn run(self) {
        let mut connection = None;
        let mut known = KnownCounters::default();
        loop {
            let step = match &mut connection {
                Some(open) => self.step(open, &mut known).await,
                None => match self.open().await {
                    Ok(open) => {
                        (connection, known) = (Some(open), KnownCounters::default());
                        continue;
                    }
                    Err(error) => Err(error.into()),
                },
            };
            match step {
                Ok(Step::Advanced(batch)) => {
                    let busy = BUSY_BATCH_EVENTS.contains(&batch.len());
                    self.publish(batch);
                    if busy {
                        tokio::time::sleep(BREATH).await;
                    }
                }
                Ok(Step::Idle(position)) => {
                    self.checkpoint.advance_to(position);
                    let _ = tokio::time::timeout(POLL, self.head.reached(position + 1)).await;
                }
                Ok(Step::Elsewhere(position)) => {
                    self.checkpoint.advance_to(position);
                    tokio::time::sleep(RIVAL_POLL).await;
                }
                Err(error) => {
                    // A log this binary cannot read halts it here: a newer node goes on, and so does this
                    // one once it is replaced.
                    tracing::error!(%error, "the inbox cannot follow the log");
                    connection = None;
                    tokio::time::sleep(RETRY_AFTER_ERROR).await;
                }
            }
        }
    }

    async fn open(&self) -> Result<PgConnection, sqlx::Error> {
        // synchronous_commit: rows and checkpoint rewind together if the server crashes, and are folded anew.
        // Plans: the tables grow from empty, and a cached sequential scan would be wrong soon after.
        let session = [
            ("synchronous_commit", "off"),
            ("idle_in_transaction_session_timeout", "10s"),
            ("tcp_keepalives_idle", "5"),
            ("tcp_keepalives_interval", "2"),
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("jit", "off"),
        ];
        let mut connection =
            self.connect.clone().application_name("tidings inbox").options(session).connect().await?;
        // A database that went back in time begins its epoch here if the writer was not first, and what this
        // node remembers of the history before is forgotten.
        connection.execute("SELECT log_open()").await?;
        self.tail.clear();
        Ok(connection)
    }

    /// One batch. An error leaves a transaction behind, so its connection is not used again.
    async fn step(
        &self,
        connection: &mut PgConnection,
        known: &mut KnownCounters,
    ) -> Result<Step, StepError> {
        let Some(position) = inbox::begin(connection).await? else {
            let reached = inbox::checkpoint(&mut *connection).await?;
            connection.execute("ROLLBACK").await?;
            return Ok(Step::Elsewhere(reached));
        };
        let mut events: Vec<Arc<Recorded>> = self.tail.after(position, BATCH_EVENTS_MAX);
        if events.is_empty() {
            events = self.reader.after(&mut *connection, position, BATCH_EVENTS_MAX as i64).await?;
        }
        if events.is_empty() {
            connection.execute("ROLLBACK").await?;
            return Ok(Step::Idle(position));
        }
        Ok(Step::Advanced(inbox::apply(connection, known, events).await?))
    }

    fn publish(&self, batch: Committed) {
        tracing::trace!(events = batch.len(), "inbox batch");
        if let Some(last) = batch.last() {
            self.head.advance_to(last.event.position);
            self.checkpoint.advance_to(last.event.position);
            self.tail.forget_up_to(last.event.position);
        }
        let _ = self.committed.try_send(batch);
    }
}
