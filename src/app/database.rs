//! The way to Postgres: options, pool, migrations.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgConnection, PgPool};
use tidings_projections::delivery::Delivery;
use tidings_projections::inbox::Inbox;
use tidings_projections::read_model;
use tidings_projections::subscribers::Subscribers;
use tidings_projections::timers::Timers;

use crate::telemetry::Trouble;

/// All DDL. It runs at start under an advisory lock, so several nodes may start at once.
static MIGRATIONS: Migrator = sqlx::migrate!();

/// How long a request waits for a connection before it is told to come back.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// What a request may cost the database.
const STATEMENT_TIMEOUT: &str = "15s";
/// A database that starts beside us gets this long.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const START_POLL: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("TIDINGS_DATABASE_URL is not a Postgres URL: {0}")]
    Url(sqlx::Error),
    #[error("Postgres cannot be reached: {0}")]
    Unreachable(sqlx::Error),
    #[error("the tables of a read model cannot be made: {0}")]
    Prepare(sqlx::Error),
    #[error("the database cannot be migrated: {0}")]
    Migrate(MigrateError),
    #[error(
        "the database belongs to a newer version of Tidings: its schema is {found}, this binary knows {known}; run that version or a later one"
    )]
    Newer { found: i64, known: i64 },
}

impl From<MigrateError> for DatabaseError {
    fn from(error: MigrateError) -> Self {
        match error {
            // Of all that is there, the first that is not ours.
            MigrateError::VersionMissing(found) => {
                let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
                Self::Newer { found, known }
            }
            other => Self::Migrate(other),
        }
    }
}

pub fn connect_options(url: &str) -> Result<PgConnectOptions, DatabaseError> {
    url.parse().map_err(DatabaseError::Url)
}

/// A pool whose first connection was made.
pub async fn open(connect: &PgConnectOptions, connections_max: u32) -> Result<PgPool, DatabaseError> {
    let connect = connect
        .clone()
        .application_name("tidings")
        // Plans are cached while the tables are small, and must hold when they are large.
        .options([("jit", "off"), ("enable_seqscan", "off"), ("statement_timeout", STATEMENT_TIMEOUT)]);
    let pool = PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .max_lifetime(Duration::from_secs(30 * 60))
        .connect_lazy_with(connect);
    let deadline = tokio::time::Instant::now() + START_TIMEOUT;
    let mut trouble = Trouble::default();
    loop {
        match pool.acquire().await {
            Ok(_) => return Ok(pool),
            // What the server itself refuses does not get better by waiting.
            Err(error @ sqlx::Error::Database(_)) => return Err(DatabaseError::Unreachable(error)),
            Err(error) if tokio::time::Instant::now() >= deadline => {
                return Err(DatabaseError::Unreachable(error));
            }
            Err(error) => {
                if trouble.begins() {
                    tracing::warn!(%error, "Postgres does not answer yet");
                }
                tokio::time::sleep(START_POLL).await;
            }
        }
    }
}

/// Runs what is missing, on a connection without a time limit.
pub async fn migrate(connect: &PgConnectOptions) -> Result<(), DatabaseError> {
    let mut connection = connect.connect().await.map_err(DatabaseError::Unreachable)?;
    MIGRATIONS.run(&mut connection).await?;
    // The tables of read models whose fold is new.
    prepare(&mut connection).await.map_err(DatabaseError::Prepare)
}

async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    read_model::prepare::<Inbox>(connection).await?;
    read_model::prepare::<Timers>(connection).await?;
    read_model::prepare::<Delivery>(connection).await?;
    read_model::prepare::<Subscribers>(connection).await
}
