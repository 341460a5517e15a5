//! The feed: follows the stream for all connections of the node, and Postgres where the stream has a hole, is
//! behind, or is gone. What the node committed itself it takes from memory. Connections notice none of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamReadReply};
use redis::{AsyncConnectionConfig, Client, RedisError};
use sqlx::PgPool;
use tidings_domain::RecipientId;
use tidings_projections::inbox::{self, Invalidated, Unsaid};
use tidings_projections::log::{ReadError, Reader};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::Hub;
use crate::directory::Directory;
use crate::log::History;
use crate::mirror::{Batch, Entry, STREAM, Version};
use crate::telemetry::Trouble;

const PAGE: usize = 500;
/// How long a read of the stream blocks, and how long the stream may lag the inbox before Postgres is asked.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long after its last own batch a node takes itself for the one that commits the inbox.
const LOCAL_WINDOW: Duration = Duration::from_millis(50);
/// How often the generation is looked up where nothing brings word of a new one.
const CHECK_EVERY: Duration = Duration::from_secs(1);
const RECONNECT_EVERY: Duration = Duration::from_secs(1);
/// A Redis that does not answer for so long is as good as gone: longer than a read blocks, with one that was dropped
/// before it.
const SILENCE_MAX: Duration = Duration::from_millis(750);

pub struct Feed {
    pub client: Client,
    pub pool: PgPool,
    pub reader: Reader,
    pub history: History,
    pub hub: Hub,
    /// It hears of what was changed elsewhere.
    pub directory: Directory,
    /// Whether anybody traces.
    pub traced: bool,
    /// What this node's projector committed: the same entries, a hop sooner.
    pub local: mpsc::Receiver<Arc<Batch>>,
}

#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("Postgres: {0}")]
    Database(#[from] sqlx::Error),
}

impl Feed {
    /// Starts where the hub stands, and runs until the task is aborted.
    pub async fn run(mut self) {
        let mut at = At { position: self.hub.position(), ..At::default() };
        let mut epochs = self.history.watch();
        let mut epoch = epochs.borrow_and_update().current().number;
        let mut stream = Stream::default();
        let mut trouble = Trouble::default();
        // While this node commits the inbox itself, nothing in the stream is news to it.
        let mut local_until = Instant::now();
        let mut check = tokio::time::interval(CHECK_EVERY);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if epochs.has_changed().unwrap_or(false) {
                let known = epochs.borrow_and_update().clone();
                // Several may have begun since the last look; what was shown is in doubt from the first of them on.
                if let Some(first_position) = known.fork_after(epoch) {
                    // The generations of another history mean nothing in this one.
                    at = At { position: at.position.min(first_position - 1), ..At::default() };
                    self.directory.clear();
                    self.hub.begin_epoch(first_position);
                }
                epoch = known.current().number;
            }
            let news = tokio::select! {
                biased;
                _ = check.tick() => News::Check,
                Some(batch) = self.local.recv() => News::Local(batch),
                () = tokio::time::sleep_until(local_until), if local_until > Instant::now() => continue,
                read = stream.read(&self.client, at.position), if local_until <= Instant::now() => News::Stream(read),
            };
            let checked = matches!(news, News::Check);
            let step = match news {
                News::Check => self.meet_generation(&mut at).await,
                News::Local(batch) => {
                    let (step, follows) = self.take_own(&batch, &mut at).await;
                    if follows {
                        stream.needs_no_answer();
                    }
                    local_until = Instant::now() + if follows { LOCAL_WINDOW } else { Duration::ZERO };
                    step
                }
                News::Stream(Ok(ids)) => self.take(ids, &mut at).await,
                News::Stream(Err(error)) => self.follow_postgres(error, &mut at).await,
            };
            match step {
                // Without Postgres, the steps that do not need it go well all the same.
                Ok(()) if checked && trouble.ends() => tracing::info!("the feed has all its sources again"),
                Ok(()) => {}
                Err(error) => {
                    if trouble.begins() {
                        tracing::warn!(%error, "the feed lost a source; it goes on from another");
                    }
                    tokio::time::sleep(PATIENCE).await;
                }
            }
        }
    }

    /// Learns whether what the inbox showed before still holds, and tells those for whom it does not.
    async fn meet_generation(&self, at: &mut At) -> Result<(), FeedError> {
        let Invalidated { generation, valid_from, users } =
            inbox::invalidated_since(&self.pool, at.generation).await?;
        if generation > at.generation {
            // At its start a feed has shown nothing yet.
            if at.generation > 0 {
                let everybody = valid_from > at.valid_from;
                self.hub.begin_generation(generation, (!everybody).then_some(&users));
            }
            (at.generation, at.valid_from) = (generation, valid_from);
        }
        Ok(())
    }

    /// A batch that this node has just committed. False where it does not continue what was dispatched.
    async fn take_own(&self, batch: &Batch, at: &mut At) -> (Result<(), FeedError>, bool) {
        if batch.generation > at.generation
            && let Err(error) = self.meet_generation(at).await
        {
            return (Err(error), false);
        }
        if batch.generation != at.generation {
            return (Ok(()), false);
        }
        match self.dispatch_following(&batch.entries, at).await {
            Ok(follows) => (Ok(()), follows),
            Err(error) => (Err(error), false),
        }
    }

    /// What one read of the stream brought; holes are filled from Postgres.
    async fn take(&self, ids: Vec<StreamId>, at: &mut At) -> Result<(), FeedError> {
        let reached = self.history.inbox.get();
        if ids.is_empty() && reached > at.position {
            // The inbox went on while the stream stood still for a whole read.
            return self.read_postgres(at, reached).await;
        }
        let epoch = self.history.epochs().current().number;
        let parsed: Vec<(Version, Entry)> = ids.iter().filter_map(Entry::parse).collect();
        if parsed.iter().any(|(version, _)| version.generation > at.generation) {
            self.meet_generation(at).await?;
        }
        let current = Version { epoch, generation: at.generation };
        let foreign_epoch = parsed.iter().all(|(version, _)| version.epoch != epoch);
        let ours = parsed.into_iter().filter(|(version, _)| *version == current);
        let entries: Vec<Entry> = ours.map(|(_, entry)| entry).collect();
        match entries.first() {
            None if ids.is_empty() => return Ok(()),
            None if foreign_epoch => {
                // A stream of another epoch: the mirror will replace it, or this node will learn of the epoch.
                self.history.refresh(&self.pool).await?;
                tokio::time::sleep(PATIENCE).await;
                return Ok(());
            }
            // Another generation's counts: our own inbox has the ones that belong together.
            None => return self.follow_inbox(at).await,
            Some(first) if first.position > at.position + 1 => {
                self.read_postgres(at, first.position - 1).await?;
            }
            Some(_) => {}
        }
        if !self.dispatch_following(&entries, at).await? {
            // Postgres does not have the hole's events yet: its read model was rewound and catches up.
            tokio::time::sleep(PATIENCE).await;
        }
        Ok(())
    }

    /// Without Redis: waits for the inbox to move, then reads what it has.
    async fn follow_postgres(&self, error: RedisError, at: &mut At) -> Result<(), FeedError> {
        tracing::debug!(%error, "the feed reads from Postgres");
        self.follow_inbox(at).await
    }

    async fn follow_inbox(&self, at: &mut At) -> Result<(), FeedError> {
        let _ = tokio::time::timeout(PATIENCE, self.history.inbox.reached(at.position + 1)).await;
        let reached = self.history.inbox.get();
        if reached > at.position { self.read_postgres(at, reached).await } else { Ok(()) }
    }

    async fn read_postgres(&self, at: &mut At, up_to: i64) -> Result<(), FeedError> {
        while at.position < up_to {
            let limit = (PAGE as i64).min(up_to - at.position);
            let page = inbox::folded_after(&self.pool, &self.reader, at.position, limit).await?;
            if page.generation > at.generation {
                self.meet_generation(at).await?;
            }
            let epochs = self.history.epochs();
            let entries: Vec<Entry> =
                page.folded.iter().map(|folded| Entry::new(folded, &epochs, self.traced)).collect();
            if entries.is_empty() || page.generation != at.generation {
                // The read model was rewound by a crash or swapped, and these will be there in a moment.
                tokio::time::sleep(PATIENCE).await;
                break;
            }
            self.dispatch(&entries, at).await?;
        }
        Ok(())
    }

    /// Dispatches what continues at `at` without a hole; false where something does not.
    async fn dispatch_following(&self, entries: &[Entry], at: &mut At) -> Result<bool, FeedError> {
        let known = entries.partition_point(|entry| entry.position <= at.position);
        let fresh = &entries[known..];
        let follow =
            (at.position + 1..).zip(fresh).take_while(|(next, entry)| entry.position == *next).count();
        self.dispatch(&fresh[..follow], at).await?;
        Ok(follow == fresh.len())
    }

    /// What has its words is handed on at once; for what has none, those who listen here are looked up.
    async fn dispatch(&self, entries: &[Entry], at: &mut At) -> Result<(), FeedError> {
        // Before anybody is sent what follows.
        entries
            .iter()
            .filter_map(|entry| entry.aggregate_id.as_ref())
            .for_each(|id| self.directory.forget(id));
        let epochs = self.history.epochs();
        let (mut rest, mut told) = (entries, HashMap::new());
        loop {
            let (dispatched, open) = rest.split_at(self.hub.dispatch(rest, &told, |at| epochs.cursor(at)));
            if let Some(last) = dispatched.last() {
                at.position = last.position;
                self.history.inbox.advance_to(last.position);
            }
            if open.is_empty() {
                return Ok(());
            }
            (rest, told) = (open, self.tell(open).await?);
        }
    }

    /// The items that have no words yet, as those who listen here read them, by position.
    async fn tell(&self, entries: &[Entry]) -> Result<HashMap<i64, String>, FeedError> {
        let concerned =
            entries.iter().filter_map(|it| Some((it, it.user_id.as_ref()?, it.changed.as_ref()?)));
        let open: Vec<_> = concerned
            .filter(|(it, user, changed)| Unsaid::is(&changed.item) && self.hub.listens(&it.tenant, user))
            .collect();
        let ids = open.iter().filter_map(|(it, user, _)| {
            let (tenant, user) = (it.tenant.clone().try_into().ok()?, (*user).clone().try_into().ok()?);
            Some(RecipientId { tenant, user })
        });
        self.directory.meet(ids).await?;
        let mut told = HashMap::with_capacity(open.len());
        for (entry, user, changed) in open {
            let item = self.directory.told((&entry.tenant, user), changed.item.clone()).await?;
            told.insert(entry.position, item);
        }
        Ok(told)
    }
}

/// How far the feed has dispatched, and which generation of the inbox that was.
#[derive(Default)]
struct At {
    position: i64,
    generation: i64,
    valid_from: i64,
}

enum News {
    Check,
    Local(Arc<Batch>),
    Stream(Result<Vec<StreamId>, RedisError>),
}

/// The connection that reads the stream, made again when it breaks.
#[derive(Default)]
struct Stream {
    connection: Option<MultiplexedConnection>,
    /// When it broke, or could not be made.
    lost: Option<Instant>,
    /// Since when an answer is owed.
    asked: Option<Instant>,
}

impl Stream {
    /// One blocking read of what follows `at`. Between attempts to connect it fails at once. A read that is dropped
    /// because there is other news leaves the question open: a Redis that hangs is found out all the same.
    async fn read(&mut self, client: &Client, at: i64) -> Result<Vec<StreamId>, RedisError> {
        if self.lost.is_some_and(|lost| lost.elapsed() < RECONNECT_EVERY) {
            return Err(std::io::Error::from(std::io::ErrorKind::NotConnected).into());
        }
        let asked = *self.asked.get_or_insert_with(Instant::now);
        let answer = tokio::time::timeout_at(asked + SILENCE_MAX, self.ask(client, at)).await;
        let answer =
            answer.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
        self.asked = None;
        self.lost = answer.is_err().then(Instant::now);
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    /// Nothing that was asked for is missed any more.
    fn needs_no_answer(&mut self) {
        self.asked = None;
    }

    async fn ask(&mut self, client: &Client, at: i64) -> Result<Vec<StreamId>, RedisError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                // The client's own time limits are for commands that do not block.
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(SILENCE_MAX))
                    .set_response_timeout(Some(SILENCE_MAX));
                self.connection.insert(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
        };
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(PAGE).arg("BLOCK").arg(PATIENCE.as_millis() as u64);
        read.arg("STREAMS").arg(STREAM).arg(format!("{at}-0"));
        let reply: Option<StreamReadReply> = read.query_async(connection).await?;
        Ok(reply.map(|r| r.keys.into_iter().flat_map(|key| key.ids).collect()).unwrap_or_default())
    }
}
