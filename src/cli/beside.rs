//! The database of a service that may be running at this moment: what works for itself works beside it.

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tidings_projections::log::Reader;

use super::{Failure, complete_secrets, failure};
use crate::app::{self, StartError};
use crate::config::Config;
use crate::embedded::{self, Embedded, EmbeddedError};
use crate::log::History;

/// A way to the database.
pub struct Database {
    pub options: PgConnectOptions,
    pub pool: PgPool,
    /// Started here, where no service runs.
    embedded: Option<Embedded>,
}

/// A database with its log, opened for reading.
pub struct Beside {
    pub database: Database,
    pub history: History,
    pub reader: Reader,
}

impl Database {
    pub async fn open(config: &Config) -> Result<Self, Failure> {
        let embedded = match app::start_embedded(config, false).await {
            // A service that runs has its Postgres for itself, but lets others look.
            Err(StartError::Embedded(EmbeddedError::InUse { .. })) => None,
            started => started.map_err(failure)?,
        };
        match connect(config, embedded.as_ref()).await {
            Ok((options, pool)) => Ok(Self { options, pool, embedded }),
            Err(error) => {
                stop(embedded).await;
                Err(error)
            }
        }
    }

    pub async fn close(self) {
        self.pool.close().await;
        stop(self.embedded).await;
    }
}

impl Beside {
    pub async fn open(config: &mut Config) -> Result<Self, Failure> {
        let database = Database::open(config).await?;
        match read_log(config, &database.pool).await {
            Ok((history, reader)) => Ok(Self { database, history, reader }),
            Err(error) => {
                database.close().await;
                Err(error)
            }
        }
    }

    pub async fn close(self) {
        self.database.close().await;
    }
}

async fn connect(
    config: &Config,
    embedded: Option<&Embedded>,
) -> Result<(PgConnectOptions, PgPool), Failure> {
    let url = match (&config.database_url, embedded.and_then(Embedded::database_url)) {
        (Some(url), _) => url.expose().to_owned(),
        (None, Some(url)) => url.to_owned(),
        (None, None) => embedded::database_url_beside(&config.data_dir).map_err(failure)?,
    };
    let options = app::connect_options(&url).map_err(failure)?;
    let pool = app::open(&options, 2).await.map_err(failure)?;
    if embedded.is_some() {
        app::migrate(&options).await.map_err(failure)?;
    }
    Ok((options, pool))
}

async fn read_log(config: &mut Config, pool: &PgPool) -> Result<(History, Reader), Failure> {
    if config.database_url.is_none() {
        complete_secrets(config)?;
    }
    app::read_log(config, pool).await.map_err(failure)
}

async fn stop(embedded: Option<Embedded>) {
    if let Some(embedded) = embedded {
        embedded.stop().await;
    }
}
