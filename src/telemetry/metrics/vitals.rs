//! How the node stands, read when somebody asks for it. What only the database knows is looked up every few seconds
//! instead, so that the answer never waits for it: without the database the last known values stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus::core::{AtomicF64, GenericGauge};
use prometheus::{GaugeVec, IntGauge, Opts, Registry};
use sqlx::PgPool;
use tidings_projections::log::Watermark;
use tidings_projections::timers::count_due;
use tokio::sync::watch;

use super::{Each, Label, Metrics, SOUND, gauge, gauges, register};
use crate::api::Readiness;
use crate::gateway::Hub;
use crate::log::History;
use crate::mirror::Health;
use crate::read_models::{Name, ReadModels, State};

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A database that needs longer counts as away.
const LOOK_TIMEOUT: Duration = Duration::from_secs(4);
/// Timers that are due are counted up to here.
const DUE_MAX: i64 = 100_000;

impl Label for Name {
    const NAME: &'static str = "model";
    const ALL: &'static [Self] = Name::ALL;

    fn number(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        self.as_str()
    }
}

impl Label for State {
    const NAME: &'static str = "state";
    const ALL: &'static [Self] = &[Self::Following, Self::Rebuilding, Self::Halted, Self::Failing];

    fn number(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        self.as_str()
    }
}

#[derive(Clone, Copy)]
enum Use {
    Used,
    Idle,
}

impl Label for Use {
    const NAME: &'static str = "state";
    const ALL: &'static [Self] = &[Self::Used, Self::Idle];

    fn number(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Idle => "idle",
        }
    }
}

/// What is watched.
pub struct Watch {
    pub pool: PgPool,
    pub history: History,
    pub hub: Hub,
    pub mirror: watch::Receiver<Health>,
    pub read_models: ReadModels,
    pub readiness: Readiness,
    /// Whether Postgres and Redis were started beside this node.
    pub embedded: [(&'static str, bool); 2],
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Vitals {
    inner: Arc<Inner>,
}

struct Inner {
    metrics: Metrics,
    watch: Watch,
    ready: IntGauge,
    database_up: IntGauge,
    database_connections: Each<Use, IntGauge>,
    redis_up: IntGauge,
    head: IntGauge,
    epoch: IntGauge,
    models: Each<Name, Model>,
    mirror_lag: IntGauge,
    feed: IntGauge,
    feed_lag: IntGauge,
}

/// The gauges of one read model.
struct Model {
    position: IntGauge,
    lag_events: IntGauge,
    lag_seconds: GenericGauge<AtomicF64>,
    parked: IntGauge,
    state: Each<State, IntGauge>,
    /// When it was last looked up.
    rebuilding: AtomicBool,
}

impl Vitals {
    pub fn new(metrics: Metrics, watch: Watch) -> Self {
        let registry = &metrics.registry;
        let plain = |name, help| gauge(registry, name, help);
        let embedded =
            gauges(registry, "tidings_embedded", "1 for a service that runs beside this node.", &["service"]);
        for (service, is_embedded) in watch.embedded {
            embedded.with_label_values(&[service]).set(i64::from(is_embedded));
        }
        let pool_max =
            plain("tidings_database_connections_max", "Size of the pool of connections to Postgres.");
        pool_max.set(watch.pool.options().get_max_connections().into());
        let inner = Inner {
            ready: plain("tidings_ready", "1 while the node asks for traffic, as /health/ready says."),
            database_up: plain("tidings_database_up", "1 while Postgres answers; looked up every 5 seconds."),
            database_connections: Each::gauges(
                registry,
                "tidings_database_connections",
                "Connections of the pool to Postgres.",
            ),
            redis_up: plain("tidings_redis_up", "1 while Redis answers the mirror."),
            head: plain("tidings_log_head_position", "Where the log ends."),
            epoch: plain("tidings_log_epoch", "The epoch of the log."),
            models: models(registry),
            mirror_lag: plain("tidings_mirror_lag_events", "Events in the inbox that the stream lacks."),
            feed: plain("tidings_feed_position", "Up to where this node's connections were told."),
            feed_lag: plain("tidings_feed_lag_events", "Events in the inbox that they were not told yet."),
            watch,
            metrics,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The answer to `GET /metrics`. Waits for nothing.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        self.inner.look();
        self.inner.metrics.text()
    }

    /// Looks up what only the database knows, until the task is aborted.
    pub async fn run(self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let looked = tokio::time::timeout(LOOK_TIMEOUT, self.inner.ask_database()).await;
            self.inner.database_up.set(i64::from(matches!(looked, Ok(Ok(())))));
        }
    }
}

fn models(registry: &Registry) -> Each<Name, Model> {
    let labels = [Name::NAME];
    let of_model = |name, help| gauges(registry, name, help, &labels);
    let position = of_model("tidings_read_model_position", "Everything up to here is folded in.");
    let lag_events = of_model("tidings_read_model_lag_events", "Events of the log that are not folded in.");
    let lag_seconds = Opts::new(
        "tidings_read_model_lag_seconds",
        "The age of the first event that is not folded in; looked up every 5 seconds.",
    );
    let lag_seconds = register(registry, GaugeVec::new(lag_seconds, &labels).expect(SOUND));
    let parked = of_model(
        "tidings_read_model_parked_recipients",
        "Recipients set aside because an event of theirs cannot be folded; looked up every 5 seconds.",
    );
    let help = "1 for the state the read model is in on this node, 0 for the others.";
    let state = gauges(registry, "tidings_read_model_state", help, &[Name::NAME, State::NAME]);
    Each::make(|name| Model {
        position: position.with_label_values(&[name]),
        lag_events: lag_events.with_label_values(&[name]),
        lag_seconds: lag_seconds.with_label_values(&[name]),
        parked: parked.with_label_values(&[name]),
        state: Each::make(|value| state.with_label_values(&[name, value])),
        rebuilding: AtomicBool::new(false),
    })
}

impl Inner {
    /// Takes over what the node knows of itself.
    fn look(&self) {
        let Watch { pool, history, hub, mirror, read_models, readiness, .. } = &self.watch;
        let idle = i64::try_from(pool.num_idle()).unwrap_or(i64::MAX);
        self.database_connections.of(Use::Idle).set(idle);
        self.database_connections.of(Use::Used).set((i64::from(pool.size()) - idle).max(0));
        self.ready.set(i64::from(self.database_up.get() == 1 && readiness.wants_traffic()));

        let head = history.head.get();
        self.head.set(head);
        self.epoch.set(history.epochs().current().number);
        for (name, activity) in read_models.activities() {
            let model = self.models.of(name);
            let position = checkpoint(history, name).get();
            model.position.set(position);
            model.lag_events.set((head - position).max(0));
            model.state.only(State::of(&activity, model.rebuilding.load(Ordering::Relaxed)));
        }

        let (inbox, feed) = (history.inbox.get(), hub.position());
        self.feed.set(feed);
        self.feed_lag.set((inbox - feed).max(0));
        self.mirror_lag.set((inbox - self.metrics.mirror.position.get()).max(0));
        let health = *mirror.borrow();
        self.redis_up.set(i64::from(matches!(health, Health::Current | Health::DatabaseBehind)));
        self.metrics.mirror.state.only(health);
    }

    async fn ask_database(&self) -> Result<(), sqlx::Error> {
        for overview in self.watch.read_models.overview().await? {
            let model = self.models.of(overview.name);
            model.lag_seconds.set(overview.standing.lag_seconds);
            model.parked.set(overview.standing.parked);
            model.rebuilding.store(overview.standing.rebuilding, Ordering::Relaxed);
        }
        self.metrics.timers.due.set(count_due(&self.watch.pool, DUE_MAX).await?);
        Ok(())
    }
}

fn checkpoint(history: &History, name: Name) -> &Watermark {
    match name {
        Name::Inbox => &history.inbox,
        Name::Timers => &history.timers,
        Name::Delivery => &history.delivery,
    }
}
