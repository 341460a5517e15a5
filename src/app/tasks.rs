//! The loops of a node: writer, log follower, projector, mirror, feed, keeper of the connections' places.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tidings_projections::inbox::Inbox;
use tidings_projections::log::Reader;
use tidings_projections::processor::{Activity, Pace, Processor, Surroundings};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::gateway::{Feed, Gateway, Keeper};
use crate::log::{self, Writer};
use crate::mirror::{self, Health, Mirror};
use crate::read_models::{Name, Watched};

/// Batches the mirror or the feed may be behind before it reads from elsewhere.
const COMMITTED_BATCHES_MAX: usize = 64;
/// What the writer has accepted it still appends; it ends by itself once nobody can hand in more.
const WRITER_TIMEOUT: Duration = Duration::from_secs(6);

pub struct Tasks {
    writer: JoinHandle<()>,
    /// These follow the log, or what is open: they can be stopped at any point.
    followers: Vec<JoinHandle<()>>,
}

impl Tasks {
    pub fn spawn(
        writer: Writer,
        connect: PgConnectOptions,
        gateway: &Gateway,
        keeper: Keeper,
        reader: Reader,
        redis: redis::Client,
        health: watch::Sender<Health>,
    ) -> (Self, Vec<Watched>) {
        let Gateway { pool, history, hub, .. } = gateway;
        let (pool, history, hub) = (pool.clone(), history.clone(), hub.clone());
        let (sender, committed) = mpsc::channel(COMMITTED_BATCHES_MAX);
        let (to_mirror, mirrored) = mpsc::channel(COMMITTED_BATCHES_MAX);
        let (to_feed, local) = mpsc::channel(COMMITTED_BATCHES_MAX);
        let surroundings = Surroundings {
            connect: connect.clone(),
            reader: reader.clone(),
            tail: history.tail.clone(),
            head: history.head.clone(),
            checkpoint: history.inbox.clone(),
            activity: watch::Sender::new(Activity::default()),
        };
        let watched = vec![Watched { name: Name::Inbox, activity: surroundings.activity.subscribe() }];
        let inbox: Processor<Inbox> = Processor::new(surroundings, Pace::prompt(), Some(sender));
        let stream = Mirror {
            client: redis.clone(),
            pool: pool.clone(),
            reader: reader.clone(),
            history: history.clone(),
            committed: mirrored,
            health,
            stands_at: None,
        };
        let feed = Feed { client: redis, pool: pool.clone(), reader, history: history.clone(), hub, local };
        let followers = vec![
            tokio::spawn(log::follow(connect.clone(), pool, history.clone())),
            tokio::spawn(mirror::relay(committed, history, to_mirror, to_feed)),
            tokio::spawn(inbox.run()),
            tokio::spawn(stream.run()),
            tokio::spawn(feed.run()),
            tokio::spawn(keeper.run()),
        ];
        (Self { writer: tokio::spawn(writer.run()), followers }, watched)
    }

    /// Returns when one of the loops has ended, which only a panic does.
    pub async fn broken(&mut self) -> &'static str {
        let followers = futures_util::future::select_all(&mut self.followers);
        tokio::select! {
            _ = &mut self.writer => "the writer of the log broke off",
            _ = followers => "a loop of the node broke off",
        }
    }

    pub async fn stop(self) {
        if !self.writer.is_finished() && tokio::time::timeout(WRITER_TIMEOUT, self.writer).await.is_err() {
            tracing::warn!("the writer still had jobs; their callers know that the outcome is unknown");
        }
        self.followers.iter().for_each(JoinHandle::abort);
    }
}
