//! Fans broadcasts out: each recipient of one gets a notification, exactly once, whatever dies on the way.
//!
//! The loop runs on every node. A broadcast is worked on by whoever holds its lock, which ends with its connection; that only
//! saves work. What guards is the log: a chunk's notifications and the word that it was made are one job, which is refused
//! when somebody else has made that chunk, or has cancelled the broadcast.

mod chunk;
mod error;
mod rest;
mod run;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tidings_domain::BroadcastId;
use tidings_projections::log::{Outage, Reader};
use tidings_projections::processor::Committed;
use tidings_projections::subscribers::running;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::directory::Directory;
use crate::log::{History, Log};
use crate::telemetry::Trouble;
use rest::{Resting, Setback};

/// Broadcasts that one node works on at a time. They share the pace of one.
const AT_ONCE: usize = 4;
/// What another node has folded is found at the latest so much later.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const RETRY_AFTER_ERROR: Duration = Duration::from_millis(500);
/// How long one that has ended is waited for to be folded; until then it would be found again.
const FOLDED_TIMEOUT: Duration = Duration::from_secs(2);
const SESSION: &[(&str, &str)] = &[
    ("lock_timeout", "2s"),
    ("statement_timeout", "15s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("enable_seqscan", "off"),
    ("jit", "off"),
];

/// What it takes to work on a broadcast.
#[derive(Clone)]
pub struct Workshop {
    pub pool: PgPool,
    pub reader: Reader,
    pub log: Log,
    pub history: History,
    pub directory: Directory,
}

pub struct FanOut {
    connect: PgConnectOptions,
    workshop: Arc<Workshop>,
    /// What this node has folded, and whether a broadcast began in it.
    folded: mpsc::Receiver<Committed<bool>>,
    /// Each with what kept it from its end.
    tasks: JoinSet<Option<Setback>>,
    /// What is being worked on here, by its task.
    working: HashMap<tokio::task::Id, BroadcastId>,
    resting: Resting,
    trouble: Trouble,
}

impl FanOut {
    pub fn new(
        connect: PgConnectOptions,
        workshop: Workshop,
        folded: mpsc::Receiver<Committed<bool>>,
    ) -> Self {
        Self {
            connect,
            workshop: Arc::new(workshop),
            folded,
            tasks: JoinSet::new(),
            working: HashMap::new(),
            resting: Resting::new(),
            trouble: Trouble::default(),
        }
    }

    /// Runs until the task is aborted. What fails is tried again, for ever.
    pub async fn run(mut self) {
        // Holds the locks of what this node works on.
        let mut connection = None;
        loop {
            let looked = match &mut connection {
                Some(open) => self.look(open).await,
                None => match self.open().await {
                    Ok(open) => {
                        connection = Some(open);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            match looked {
                Ok(()) => {
                    if self.trouble.ends() {
                        tracing::info!("broadcasts are looked for again");
                    }
                    self.wait(&mut connection).await;
                }
                Err(error) => {
                    if self.trouble.begins() {
                        tracing::warn!(%error, "broadcasts cannot be looked for; trying again");
                    }
                    connection = None;
                    tokio::time::sleep(RETRY_AFTER_ERROR).await;
                }
            }
        }
    }

    async fn open(&self) -> Result<PgConnection, sqlx::Error> {
        let session = SESSION.iter().copied();
        self.connect.clone().application_name("tidings fan-out").options(session).connect().await
    }

    /// Begins to work on what nobody works on.
    async fn look(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let resting = self.resting.at(Instant::now());
        for id in running(&mut *connection, &resting).await? {
            if self.working.len() >= AT_ONCE {
                break;
            }
            if self.working.values().any(|known| *known == id) || !lock(connection, id).await? {
                continue;
            }
            let workshop = self.workshop.clone();
            let task = self.tasks.spawn(async move { workshop.work_on(id).await });
            self.working.insert(task.id(), id);
        }
        Ok(())
    }

    /// Returns when there may be something to begin.
    async fn wait(&mut self, connection: &mut Option<PgConnection>) {
        let begun = async {
            while let Some(committed) = self.folded.recv().await {
                if committed.output {
                    return;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            () = begun => {}
            () = tokio::time::sleep(LOOK_EVERY) => {
                // Whether the connection, and with it the locks, is still there.
                if let Some(open) = connection
                    && open.ping().await.is_err()
                {
                    *connection = None;
                }
            }
            Some(ended) = self.tasks.join_next_with_id() => {
                let panicked = |error: tokio::task::JoinError| (error.id(), Some(Setback::Failure));
                let (task, setback) = ended.unwrap_or_else(panicked);
                if let Some(id) = self.working.remove(&task) {
                    match setback {
                        Some(setback) => self.resting.set_back(id, setback, Instant::now()),
                        None => self.resting.went_on(id),
                    }
                    if let Some(open) = connection
                        && unlock(open, id).await.is_err()
                    {
                        *connection = None;
                    }
                }
            }
        }
    }
}

async fn lock(connection: &mut PgConnection, id: BroadcastId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended('tidings broadcast ' || $1, 0))")
        .bind(id.to_string())
        .fetch_one(connection)
        .await
}

async fn unlock(connection: &mut PgConnection, id: BroadcastId) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_unlock(hashtextextended('tidings broadcast ' || $1, 0))")
        .bind(id.to_string())
        .execute(connection)
        .await
        .map(drop)
}

impl Workshop {
    /// Until the broadcast has ended, or something keeps it from that.
    async fn work_on(&self, id: BroadcastId) -> Option<Setback> {
        match self.fan_out(id).await {
            Ok(position) => {
                let folded = self.history.subscribers.reached(position);
                let _ = tokio::time::timeout(FOLDED_TIMEOUT, folded).await;
                None
            }
            Err(error) => {
                tracing::warn!(broadcast = %id, %error, "a broadcast stands still; it is taken up again");
                Some(if error.is_outage() { Setback::Outage } else { Setback::Failure })
            }
        }
    }
}
