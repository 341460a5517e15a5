//! The loops of a node: writer, log follower, projector, mirror, feed, keeper of the connections' places.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tidings_projections::delivery::Delivery;
use tidings_projections::inbox::Inbox;
use tidings_projections::log::{Reader, Watermark};
use tidings_projections::processor::{Activity, Committed, Pace, Processor, Surroundings};
use tidings_projections::subscribers::Subscribers;
use tidings_projections::timers;
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::api::Requests;
use crate::fan_out::FanOut;
use crate::gateway::{self, Feed, Gateway, Keeper};
use crate::log::{self, History, Writer};
use crate::mirror::{self, Health, Mirror};
use crate::read_models::{Name, Watched};
use crate::timers::{Ticker, Timers};

/// Batches the mirror or the feed may be behind before it reads from elsewhere.
const COMMITTED_BATCHES_MAX: usize = 64;
/// What the writer has accepted it still appends; it ends by itself once nobody can hand in more.
const WRITER_TIMEOUT: Duration = Duration::from_secs(6);

/// Batches of deliveries that were folded here, each with the earliest instant at which there is work.
pub type Set = mpsc::Receiver<Committed<Option<OffsetDateTime>>>;

pub struct Tasks {
    writer: JoinHandle<()>,
    /// Timers, broadcasts and deliveries: they hand in work, as callers do.
    callers: Vec<JoinHandle<()>>,
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
    ) -> (Self, Vec<Watched>, Set) {
        let Gateway { pool, history, hub, directory, commands, keys, metrics, tracing, .. } = gateway;
        let (pool, history, hub) = (pool.clone(), history.clone(), hub.clone());
        let (shown, committed) = mpsc::channel(COMMITTED_BATCHES_MAX);
        let (to_mirror, mirrored) = mpsc::channel(COMMITTED_BATCHES_MAX);
        let (to_feed, local) = mpsc::channel(COMMITTED_BATCHES_MAX);
        let (timers_folded, timers_set) = mpsc::channel(COMMITTED_BATCHES_MAX);
        let (folded, broadcasts_begun) = mpsc::channel(COMMITTED_BATCHES_MAX);
        let (work_folded, work_set) = mpsc::channel(COMMITTED_BATCHES_MAX);
        let mut watched = Vec::new();
        let mut around = |name, checkpoint: &Watermark| {
            let surroundings = surroundings(&connect, &reader, &history, checkpoint);
            watched.push(Watched { name, activity: surroundings.activity.subscribe() });
            surroundings
        };
        let inbox = Processor::<Inbox>::new(around(Name::Inbox, &history.inbox), Pace::prompt(), Some(shown));
        let due: Processor<timers::Timers> =
            Processor::new(around(Name::Timers, &history.timers), Pace::relaxed(), Some(timers_folded));
        let deliveries: Processor<Delivery> =
            Processor::new(around(Name::Delivery, &history.delivery), Pace::relaxed(), Some(work_folded));
        let subscribers: Processor<Subscribers> =
            Processor::new(around(Name::Subscribers, &history.subscribers), Pace::relaxed(), Some(folded));
        let firing = firing(&connect, gateway, timers_set);
        let stream = Mirror {
            client: redis.clone(),
            pool: pool.clone(),
            reader: reader.clone(),
            history: history.clone(),
            committed: mirrored,
            health,
            metrics: metrics.mirror.clone(),
            tracing: tracing.clone(),
            stands_at: None,
        };
        let feed = Feed {
            client: redis,
            pool: pool.clone(),
            reader,
            history: history.clone(),
            hub: hub.clone(),
            directory: directory.clone(),
            traced: tracing.is_on(),
            local,
        };
        let followers = vec![
            tokio::spawn(log::follow(connect.clone(), pool, history.clone())),
            tokio::spawn(mirror::relay(committed, history, tracing.clone(), to_mirror, to_feed)),
            tokio::spawn(inbox.run()),
            tokio::spawn(due.run()),
            tokio::spawn(deliveries.run()),
            tokio::spawn(subscribers.run()),
            tokio::spawn(stream.run()),
            tokio::spawn(feed.run()),
            tokio::spawn(keeper.run()),
            tokio::spawn(keys.clone().follow()),
            tokio::spawn(gateway::close_revoked(keys.clone(), hub.clone())),
        ];
        let fan_out = FanOut::new(connect, commands.workshop(), broadcasts_begun);
        let callers = vec![tokio::spawn(firing.run()), tokio::spawn(fan_out.run())];
        (Self { writer: tokio::spawn(writer.run()), callers, followers }, watched, work_set)
    }

    /// One more loop, which can be stopped at any point.
    pub fn follow(&mut self, follower: impl Future<Output = ()> + Send + 'static) {
        self.followers.push(tokio::spawn(follower));
    }

    /// One more loop that hands in commands.
    pub fn call(&mut self, caller: impl Future<Output = ()> + Send + 'static) {
        self.callers.push(tokio::spawn(caller));
    }

    /// Returns when one of the loops has ended, which only a panic does.
    pub async fn broken(&mut self) -> &'static str {
        let callers = futures_util::future::select_all(&mut self.callers);
        let followers = futures_util::future::select_all(&mut self.followers);
        tokio::select! {
            _ = &mut self.writer => "the writer of the log broke off",
            _ = callers => "the timers, the broadcasts or the deliveries broke off",
            _ = followers => "a loop of the node broke off",
        }
    }

    pub async fn stop(self) {
        // What it has handed in is appended; what it has not, another turn will.
        self.callers.iter().for_each(JoinHandle::abort);
        if !self.writer.is_finished() && tokio::time::timeout(WRITER_TIMEOUT, self.writer).await.is_err() {
            tracing::warn!("the writer still had jobs; their callers know that the outcome is unknown");
        }
        self.followers.iter().for_each(JoinHandle::abort);
    }
}

/// What has commands say that the time of something has come.
fn firing(
    connect: &PgConnectOptions,
    gateway: &Gateway,
    set: mpsc::Receiver<Committed<Option<OffsetDateTime>>>,
) -> Timers {
    let Gateway { history, directory, commands, metrics, .. } = gateway;
    let ticker = Ticker::new(commands.clone(), Requests::new(directory.clone()));
    let callers = (commands.clone(), ticker);
    Timers::new(connect.clone(), callers, history.timers.clone(), set, metrics.timers.clone())
}

fn surroundings(
    connect: &PgConnectOptions,
    reader: &Reader,
    history: &History,
    checkpoint: &Watermark,
) -> Surroundings {
    Surroundings {
        connect: connect.clone(),
        reader: reader.clone(),
        tail: history.tail.clone(),
        head: history.head.clone(),
        checkpoint: checkpoint.clone(),
        activity: watch::Sender::new(Activity::default()),
    }
}
