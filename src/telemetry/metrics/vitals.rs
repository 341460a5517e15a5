//! How the node stands, read when somebody asks for it. What only the database knows is looked up every few seconds
//! instead, so that the answer never waits for it: what cannot be looked up stays as it was, and its age grows.
//!
//! Whether the database answers is a question of its own, and what it is asked for is never more than that: a lock on a
//! table, or a pool that is used up, is not a database that is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus::core::{AtomicF64, GenericGauge};
use prometheus::{GaugeVec, IntGauge, Opts, Registry};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor, PgConnection, PgPool};
use tidings_projections::delivery::waiting;
use tidings_projections::log::Watermark;
use tidings_projections::subscribers::count_running;
use tidings_projections::timers::count_due;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::staleness::Staleness;
use super::{Each, Label, LastRead, Metrics, Reading, SOUND, gauge, gauges, register};
use crate::api::Readiness;
use crate::gateway::Hub;
use crate::log::History;
use crate::mirror::Health;
use crate::read_models::{Name, ReadModels, State};

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A database that needs longer to say 1 counts as away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// What a figure may cost the database. Behind a lock, all of them together keep the next look waiting for 8 s.
const FIGURE_TIMEOUT: (&str, &str) = ("statement_timeout", "2s");
/// The database ends each statement; this is for one that has gone meanwhile.
const FIGURES_PATIENCE: Duration = Duration::from_secs(9);
/// Timers that are due are counted up to here.
const DUE_MAX: i64 = 100_000;
/// The same of deliveries, in each lane, and of broadcasts.
const WAITING_MAX: i64 = 10_000;

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
    /// For a connection of its own, which is taken from no request.
    pub connect: PgConnectOptions,
    /// What others read.
    pub readings: Vec<(Reading, LastRead)>,
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
    due_read: LastRead,
    waiting_read: LastRead,
    running_read: LastRead,
    staleness: Staleness,
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
    last_read: LastRead,
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
        let (models, due_read) = (models(registry), LastRead::default());
        let (waiting_read, running_read) = (LastRead::default(), LastRead::default());
        let of_models =
            Name::ALL.iter().map(|name| (Reading::Model(*name), models.of(*name).last_read.clone()));
        let figures = of_models.chain([
            (Reading::TimersDue, due_read.clone()),
            (Reading::DeliveriesDue, waiting_read.clone()),
            (Reading::Broadcasts, running_read.clone()),
        ]);
        let staleness = Staleness::new(registry, figures.chain(watch.readings.iter().cloned()));
        let inner = Inner {
            ready: plain("tidings_ready", "1 while the node asks for traffic, as /health/ready says."),
            database_up: plain(
                "tidings_database_up",
                "1 while Postgres answers `SELECT 1` within 2 seconds; asked every 5 seconds, or up to 11 while figures wait behind a lock.",
            ),
            database_connections: Each::gauges(
                registry,
                "tidings_database_connections",
                "Connections of the pool to Postgres.",
            ),
            redis_up: plain("tidings_redis_up", "1 while Redis answers the mirror."),
            head: plain("tidings_log_head_position", "Where the log ends."),
            epoch: plain("tidings_log_epoch", "The epoch of the log."),
            models,
            mirror_lag: plain("tidings_mirror_lag_events", "Events in the inbox that the stream lacks."),
            feed: plain("tidings_feed_position", "Up to where this node's connections were told."),
            feed_lag: plain("tidings_feed_lag_events", "Events in the inbox that they were not told yet."),
            due_read,
            waiting_read,
            running_read,
            staleness,
            watch,
            metrics,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The answer to `GET /metrics`. Waits for nothing.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        self.inner.look();
        self.inner.staleness.look();
        self.inner.metrics.text()
    }

    /// Looks up what only the database knows, until the task is aborted.
    pub async fn run(self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut connection = None;
        loop {
            ticks.tick().await;
            // A connection that does not answer in time is of no use any more: what it would say is not known.
            connection = match timeout(ANSWER_TIMEOUT, self.inner.answering(connection.take())).await {
                Ok(Ok(answering)) => Some(answering),
                Ok(Err(_)) | Err(_) => None,
            };
            self.inner.database_up.set(i64::from(connection.is_some()));
            if let Some(open) = &mut connection
                && timeout(FIGURES_PATIENCE, self.inner.ask_for_figures(open)).await.is_err()
            {
                connection = None;
            }
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
        last_read: LastRead::default(),
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

    /// This connection, or a new one where it has broken meanwhile, that has just answered.
    async fn answering(&self, known: Option<PgConnection>) -> Result<PgConnection, sqlx::Error> {
        if let Some(mut known) = known
            && known.execute("SELECT 1").await.is_ok()
        {
            return Ok(known);
        }
        let session = [FIGURE_TIMEOUT, ("jit", "off"), ("enable_seqscan", "off")];
        let connect = self.watch.connect.clone().application_name("tidings vitals").options(session);
        let mut connection = connect.connect().await?;
        connection.execute("SELECT 1").await?;
        Ok(connection)
    }

    /// Each by itself: one that fails keeps its value, and shows its age.
    async fn ask_for_figures(&self, connection: &mut PgConnection) {
        for name in Name::ALL {
            let (model, began) = (self.models.of(*name), Instant::now());
            if let Ok(standing) = name.standing(&mut *connection).await {
                model.lag_seconds.set(standing.lag_seconds);
                model.parked.set(standing.parked);
                model.rebuilding.store(standing.rebuilding, Ordering::Relaxed);
                model.last_read.set(began);
            }
        }
        let began = Instant::now();
        if let Ok(due) = count_due(&mut *connection, DUE_MAX).await {
            self.metrics.timers.due.set(due);
            self.due_read.set(began);
        }
        let began = Instant::now();
        if let Ok(waiting) = waiting(&mut *connection, WAITING_MAX).await {
            self.metrics.dispatch.show(&waiting);
            self.waiting_read.set(began);
        }
        let began = Instant::now();
        if let Ok(running) = count_running(connection, WAITING_MAX).await {
            self.metrics.dispatch.broadcasts_running.set(running);
            self.running_read.set(began);
        }
    }
}

fn checkpoint(history: &History, name: Name) -> &Watermark {
    match name {
        Name::Inbox => &history.inbox,
        Name::Timers => &history.timers,
        Name::Delivery => &history.delivery,
        Name::Subscribers => &history.subscribers,
    }
}
