//! Wires the service together and runs it; decides nothing.

mod acceptor;
mod connection;
mod database;
mod tasks;

pub use database::{DatabaseError, connect_options, migrate, open};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use poem::Server;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tidings_projections::log::{Codec, KeyError, KeyRing, MasterKey, Reader};
use tidings_projections::rebuild::Site;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::api::{self, Origins, Parts, Readiness};
use crate::auth::{Authenticator, Jwks, Keys, Refresher, Stale, Tickets, TokenRules};
use crate::channels::{Channels, OutgoingPolicy};
use crate::commands::Commands;
use crate::config::Config;
use crate::directory::Directory;
use crate::dispatch::{self, Dispatcher};
use crate::embedded::{self, Embedded, EmbeddedError, Wanted};
use crate::gateway::{Gateway, Hub, Places};
use crate::log::{History, Writer};
use crate::mirror::Health;
use crate::rate_limit::RateLimits;
use crate::read_models::ReadModels;
use crate::telemetry::metrics::{LastRead, Reading, Vitals, Watch};
use crate::telemetry::{Metrics, Repeated, Tracing};
use acceptor::NoDelay;
use tasks::Tasks;

/// How long connections get to leave before the process ends.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    #[error(transparent)]
    Secret(#[from] crate::config::SecretFileError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Key(KeyError),
    #[error("TIDINGS_MASTER_KEY is not the key this database was written with")]
    WrongMasterKey,
    #[error("TIDINGS_REDIS_URL is not a Redis URL: {0}")]
    RedisUrl(redis::RedisError),
    #[error("TIDINGS_MASTER_KEY is missing")]
    NoMasterKey,
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("the log cannot be read: {0}")]
    Log(sqlx::Error),
    #[error(transparent)]
    ApiKeys(Stale),
    #[error("channels cannot call anybody: {0}")]
    Channels(reqwest::Error),
    #[error("spans cannot be sent to TIDINGS_OTLP_ENDPOINT: {0}")]
    Tracing(String),
}

impl From<KeyError> for StartError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::WrongMasterKey => Self::WrongMasterKey,
            KeyError::Database(_) | KeyError::Unwrap => Self::Key(error),
        }
    }
}

/// The service, listening and ready to run.
pub struct App {
    acceptor: NoDelay,
    address: SocketAddr,
    embedded: Option<Embedded>,
    tasks: Tasks,
    pool: PgPool,
    hub: Hub,
    places: Places,
    sockets: TaskTracker,
    dispatch: dispatch::Stop,
    readiness: Readiness,
    parts: Parts,
}

impl App {
    /// Brings up what the configuration asks for. `config` has every secret by now; `embedded` are the
    /// services that replace missing URLs, `jwks` what it names.
    pub async fn build(
        config: &Config,
        jwks: Option<(Jwks, Refresher)>,
        embedded: Option<Embedded>,
    ) -> Result<Self, StartError> {
        let started = embedded.as_ref();
        let database_url = config.database_url.as_ref().map(|url| url.expose());
        let database_url = database_url.or(started.and_then(Embedded::database_url)).unwrap_or_default();
        let redis_url = config.redis_url.as_ref().map(|url| url.expose());
        let redis_url = redis_url.or(started.and_then(Embedded::redis_url)).unwrap_or_default();
        let redis = redis::Client::open(redis_url).map_err(StartError::RedisUrl)?;
        let master_key = config.master_key.as_ref().ok_or(StartError::NoMasterKey)?;

        let acceptor = NoDelay::bind(config.listen).await;
        let acceptor = acceptor.map_err(|source| StartError::Listen { address: config.listen, source })?;
        let connect = connect_options(database_url)?;
        let pool = open(&connect, config.database_connections_max).await?;
        migrate(&connect).await?;
        let master_key = MasterKey::new(*master_key.expose());
        master_key.check(&pool).await?;
        let app = Self::wire(config, acceptor, jwks, pool, connect, redis, master_key).await?;
        Ok(Self { embedded, ..app })
    }

    async fn wire(
        config: &Config,
        acceptor: NoDelay,
        jwks: Option<(Jwks, Refresher)>,
        pool: PgPool,
        connect: PgConnectOptions,
        redis: redis::Client,
        master_key: MasterKey,
    ) -> Result<Self, StartError> {
        let keys = KeyRing::new(pool.clone(), master_key);
        let reader = Reader::new(Codec::new(keys.clone()));
        let history = History::load(&pool, keys).await.map_err(StartError::Log)?;
        let (metrics, tracing) = (Metrics::default(), tracing(config)?);
        let (log, writer) = Writer::new(connect.clone(), history.clone(), metrics.log.clone());
        let (jwks, refresher) = jwks.unzip();
        let api_keys = Keys::load(connect.clone()).await.map_err(StartError::ApiKeys)?;
        let jwks_read = jwks.as_ref().map(Jwks::last_read);
        let (limits, connector) = RateLimits::new(redis.clone());
        let hub = Hub::new(metrics.live.queued_bytes.clone());
        let (places, keeper) = Places::new(redis.clone(), hub.clone(), config.connections_per_user as usize);
        let told = (&metrics.commands, &tracing);
        let directory = Directory::new(pool.clone(), reader.clone());
        let commands =
            Commands::new(pool.clone(), reader.clone(), log, history.clone(), directory.clone(), told);
        let gateway = Gateway {
            pool: pool.clone(),
            history: history.clone(),
            hub: hub.clone(),
            directory,
            places: places.clone(),
            commands: Arc::new(commands),
            authenticator: authenticator(config, jwks, api_keys.clone(), limits.clone()),
            tickets: Tickets::new(pool.clone(), api_keys.clone()),
            keys: api_keys,
            sockets: TaskTracker::new(),
            metrics,
            tracing,
            trouble: Repeated::default(),
        };
        let channels = channels(config, &gateway, limits)?;
        begin(&hub, &pool).await?;
        let (health, mirror_health) = watch::channel(Health::default());
        let site = Site { connect: connect.clone(), reader: reader.clone() };
        let (mut tasks, watched, set) =
            Tasks::spawn(writer, connect.clone(), &gateway, keeper, reader.clone(), redis, health);
        tasks.follow(connector.run());
        let dispatch = dispatch::Stop::default();
        tasks.call(
            dispatcher(config, &gateway, (reader.clone(), channels.clone(), set), dispatch.clone()).run(),
        );
        refresher.into_iter().for_each(|refresher| tasks.follow(refresher.run()));
        let read_models = ReadModels::new(site, pool.clone(), watched);
        let readiness = Readiness::new(history.clone(), mirror_health.clone(), read_models.clone());
        let vitals = vitals(config, &gateway, (connect, jwks_read), mirror_health, &read_models, &readiness);
        tasks.follow(vitals.clone().run());
        Ok(Self {
            address: acceptor.address(),
            acceptor,
            tasks,
            pool,
            hub,
            places,
            sockets: gateway.sockets.clone(),
            dispatch,
            readiness: readiness.clone(),
            parts: parts(config, gateway, (reader, channels), (readiness, read_models, vitals)),
            embedded: None,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then lets connections leave and stops what it started. The error names an
    /// embedded service that died.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), String> {
        let Self { acceptor, mut embedded, mut tasks, pool, hub, places, sockets, parts, .. } = self;
        let (dispatch, readiness) = (self.dispatch, self.readiness);
        let tracing = parts.gateway.tracing.clone();
        let (stop, stopped) = watch::channel(false);
        let mut signal = stopped.clone();
        let wait_for_stop = async move {
            let _ = signal.wait_for(|stop| *stop).await;
        };
        let server = tokio::spawn(Server::new_with_acceptor(acceptor).run_with_graceful_shutdown(
            api::routes(parts),
            wait_for_stop,
            Some(DRAIN_TIMEOUT),
        ));
        let died = async {
            match &mut embedded {
                Some(embedded) => embedded.child_exited().await,
                None => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            () = shutdown => Ok(()),
            story = died => Err(story),
            story = tasks.broken() => Err(story.to_owned()),
        };
        readiness.drain();
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, async {
            let calls = tokio::spawn(async move { dispatch.drain().await });
            // Whoever comes now is sent away with a reason, which a closed port could not give.
            hub.drain().await;
            stop.send_replace(true);
            let _ = server.await;
            sockets.close();
            sockets.wait().await;
            let _ = calls.await;
        })
        .await;
        tasks.stop().await;
        places.leave().await;
        pool.close().await;
        tracing.stop().await;
        if let Some(embedded) = embedded {
            embedded.stop().await;
        }
        result
    }
}

/// Before anybody can connect: a tap opened at a position the feed does not start from would miss the difference.
async fn begin(hub: &Hub, pool: &PgPool) -> Result<(), StartError> {
    let reached = tidings_projections::inbox::checkpoint(pool).await.map_err(StartError::Log)?;
    hub.start_at(reached.position);
    Ok(())
}

fn channels(config: &Config, gateway: &Gateway, limits: RateLimits) -> Result<Channels, StartError> {
    let outgoing = OutgoingPolicy::new(&config.outgoing_allow_private);
    let (directory, commands) = (gateway.directory.clone(), gateway.commands.clone());
    let channels = Channels::new(directory, commands, limits, &outgoing, &gateway.metrics.channels);
    channels.map_err(StartError::Channels)
}

fn parts(
    config: &Config,
    gateway: Gateway,
    (reader, channels): (Reader, Channels),
    (readiness, read_models, vitals): (Readiness, ReadModels, Vitals),
) -> Parts {
    Parts {
        gateway: Arc::new(gateway),
        reader,
        origins: Origins::new(config.allowed_origins.clone(), config.database_url.is_none()),
        readiness,
        read_models,
        vitals,
        outgoing: OutgoingPolicy::new(&config.outgoing_allow_private),
        channels,
    }
}

fn dispatcher(
    config: &Config,
    gateway: &Gateway,
    (reader, channels, set): (Reader, Channels, tasks::Set),
    stop: dispatch::Stop,
) -> Dispatcher {
    let Gateway { pool, history, directory, commands, metrics, .. } = gateway;
    let surroundings = dispatch::Surroundings {
        pool: pool.clone(),
        reader,
        commands: commands.clone(),
        directory: directory.clone(),
        channels,
        checkpoint: history.delivery.clone(),
        set,
        concurrency: config.dispatch_concurrency as usize,
        metrics: metrics.dispatch.clone(),
    };
    Dispatcher::new(surroundings, stop)
}

fn authenticator(config: &Config, jwks: Option<Jwks>, keys: Keys, limits: RateLimits) -> Arc<Authenticator> {
    let root_key = config.root_api_key.as_ref().map(|key| key.expose());
    Arc::new(Authenticator::new(root_key, keys, token_rules(config, jwks), limits))
}

/// What end users' tokens are checked by.
fn token_rules(config: &Config, jwks: Option<Jwks>) -> Option<TokenRules> {
    let secret = config.jwt_secret.as_ref().map(|secret| secret.expose());
    if secret.is_none() && jwks.is_none() {
        return None;
    }
    if jwks.is_some() && config.jwt_audience.is_none() {
        tracing::warn!(
            "TIDINGS_JWKS is set without TIDINGS_JWT_AUDIENCE: whatever its issuer signs for other services is accepted here, too"
        );
    }
    Some(TokenRules::new(secret, jwks, config.jwt_audience.as_deref(), config.jwt_issuer.as_deref()))
}

fn tracing(config: &Config) -> Result<Tracing, StartError> {
    let Some(endpoint) = &config.otlp_endpoint else { return Ok(Tracing::default()) };
    Tracing::start(endpoint, config.trace_sampling).map_err(|error| StartError::Tracing(error.to_string()))
}

/// What `/metrics` shows of the node.
fn vitals(
    config: &Config,
    gateway: &Gateway,
    (connect, jwks_read): (PgConnectOptions, Option<LastRead>),
    mirror: watch::Receiver<Health>,
    read_models: &ReadModels,
    readiness: &Readiness,
) -> Vitals {
    let jwks_read = jwks_read.map(|last_read| (Reading::Jwks, last_read));
    let keys_read = [(Reading::ApiKeys, gateway.keys.last_read())];
    let watch = Watch {
        pool: gateway.pool.clone(),
        connect,
        readings: keys_read.into_iter().chain(jwks_read).collect(),
        history: gateway.history.clone(),
        hub: gateway.hub.clone(),
        mirror,
        read_models: read_models.clone(),
        readiness: readiness.clone(),
        embedded: [("postgres", config.database_url.is_none()), ("redis", config.redis_url.is_none())],
    };
    Vitals::new(gateway.metrics.clone(), watch)
}

/// What it takes to read the log, for those who do nothing else.
pub async fn read_log(config: &Config, pool: &PgPool) -> Result<(History, Reader), StartError> {
    let master_key = config.master_key.as_ref().ok_or(StartError::NoMasterKey)?;
    let master_key = MasterKey::new(*master_key.expose());
    master_key.check(pool).await?;
    let keys = KeyRing::new(pool.clone(), master_key);
    let history = History::load(pool, keys.clone()).await.map_err(StartError::Log)?;
    Ok((history, Reader::new(Codec::new(keys))))
}

/// Starts Postgres in the data directory where no URL is configured, and Redis if `redis` is needed, too.
pub async fn start_embedded(config: &Config, redis: bool) -> Result<Option<Embedded>, StartError> {
    let wanted =
        Wanted { postgres: config.database_url.is_none(), redis: redis && config.redis_url.is_none() };
    if wanted.postgres || wanted.redis {
        Ok(Some(embedded::start(&config.data_dir, wanted).await?))
    } else {
        Ok(None)
    }
}
