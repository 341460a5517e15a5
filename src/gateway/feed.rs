//! The feed: follows the stream for all connections of the node, and Postgres where the stream has a hole, is
//! behind, or is gone. Connections notice none of it.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::StreamReadReply;
use redis::{AsyncConnectionConfig, Client, RedisError};
use sqlx::PgPool;
use tidings_projections::inbox;
use tidings_projections::log::{ReadError, Reader};
use tokio::time::Instant;

use super::Hub;
use crate::log::History;
use crate::mirror::{Entry, STREAM};

const PAGE: usize = 500;
/// How long a read of the stream blocks, and how long the stream may lag the inbox before Postgres is asked.
const PATIENCE: Duration = Duration::from_millis(250);
const RECONNECT_EVERY: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

pub struct Feed {
    pub client: Client,
    pub pool: PgPool,
    pub reader: Reader,
    pub history: History,
    pub hub: Hub,
}

#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("Postgres: {0}")]
    Database(#[from] sqlx::Error),
}

impl Feed {
    /// Starts at the inbox's checkpoint and runs until the task is aborted.
    pub async fn run(self) {
        let mut at = self.starting_position().await;
        self.hub.start_at(at);
        let mut epochs = self.history.watch();
        let mut connection: Option<MultiplexedConnection> = None;
        let mut tried = None;
        loop {
            if epochs.has_changed().unwrap_or(false) {
                let first_position = epochs.borrow_and_update().current().first_position;
                at = at.min(first_position - 1);
                self.hub.begin_epoch(first_position);
            }
            if connection.is_none() && tried.is_none_or(|at: Instant| at.elapsed() >= RECONNECT_EVERY) {
                tried = Some(Instant::now());
                connection = self.connect().await.ok();
            }
            let step = match &mut connection {
                Some(open) => self.follow_stream(open, &mut at).await,
                None => self.follow_postgres(&mut at).await,
            };
            if let Err(error) = step {
                tracing::warn!(%error, "the feed lost a source; it goes on from another");
                connection = None;
                if !matches!(error, FeedError::Redis(_)) {
                    tokio::time::sleep(PATIENCE).await;
                }
            }
        }
    }

    async fn starting_position(&self) -> i64 {
        loop {
            match inbox::checkpoint(&self.pool).await {
                Ok(position) => return position,
                Err(error) => {
                    tracing::warn!(%error, "the feed cannot start yet");
                    tokio::time::sleep(PATIENCE).await;
                }
            }
        }
    }

    /// One blocking read of the stream.
    async fn follow_stream(
        &self,
        connection: &mut MultiplexedConnection,
        at: &mut i64,
    ) -> Result<(), FeedError> {
        let reply: Option<StreamReadReply> = redis::cmd("XREAD")
            .arg("COUNT")
            .arg(PAGE)
            .arg("BLOCK")
            .arg(PATIENCE.as_millis() as u64)
            .arg("STREAMS")
            .arg(STREAM)
            .arg(format!("{at}-0"))
            .query_async(connection)
            .await?;
        let ids =
            reply.map(|r| r.keys.into_iter().flat_map(|k| k.ids).collect::<Vec<_>>()).unwrap_or_default();
        if ids.is_empty() && self.history.inbox.get() > *at {
            // The inbox went on while the stream stood still for a whole read.
            return self.read_postgres(at, self.history.inbox.get()).await;
        }
        let current = self.history.epochs().current().number;
        let entries: Vec<Entry> = ids
            .iter()
            .filter_map(Entry::parse)
            .filter(|(epoch, _)| *epoch == current)
            .map(|(_, e)| e)
            .collect();
        if entries.is_empty() && !ids.is_empty() {
            // A stream of another epoch: the mirror will replace it, or this node will learn of the epoch.
            self.history.refresh(&self.pool).await?;
            tokio::time::sleep(PATIENCE).await;
        }
        if let Some(first) = entries.first()
            && first.position > *at + 1
        {
            self.read_postgres(at, first.position - 1).await?;
        }
        let known = entries.partition_point(|entry| entry.position <= *at);
        let follows =
            (*at + 1..).zip(&entries[known..]).take_while(|(next, entry)| entry.position == *next).count();
        self.dispatch(&entries[known..known + follows], at);
        if known + follows < entries.len() {
            // Postgres does not have the hole's events yet: its read model was rewound and catches up.
            tokio::time::sleep(PATIENCE).await;
        }
        Ok(())
    }

    /// Without Redis: waits for the inbox to move, then reads what it has.
    async fn follow_postgres(&self, at: &mut i64) -> Result<(), FeedError> {
        let _ = tokio::time::timeout(PATIENCE, self.history.inbox.reached(*at + 1)).await;
        let reached = self.history.inbox.get();
        if reached > *at { self.read_postgres(at, reached).await } else { Ok(()) }
    }

    async fn read_postgres(&self, at: &mut i64, up_to: i64) -> Result<(), FeedError> {
        while *at < up_to {
            let page = (PAGE as i64).min(up_to - *at);
            let folded = inbox::folded_after(&self.pool, &self.reader, *at, page).await?;
            let epochs = self.history.epochs();
            let entries: Vec<Entry> = folded.iter().map(|folded| Entry::new(folded, &epochs)).collect();
            if entries.is_empty() {
                break;
            }
            self.dispatch(&entries, at);
        }
        Ok(())
    }

    fn dispatch(&self, entries: &[Entry], at: &mut i64) {
        let Some(last) = entries.last() else { return };
        let epochs = self.history.epochs();
        self.hub.dispatch(entries, |position| epochs.cursor(position));
        *at = last.position;
        self.history.inbox.advance_to(last.position);
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        // A blocking read outlives the client's default response timeout, so this connection has its own.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(PATIENCE * 8));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}
