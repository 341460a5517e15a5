//! The database of a service that may be running at this moment: what reads the log for itself works beside it.

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tidings_projections::log::Reader;

use super::{Failure, complete_secrets, failure};
use crate::app::{self, StartError};
use crate::config::Config;
use crate::embedded::{self, Embedded, EmbeddedError};
use crate::log::History;

pub struct Beside {
    pub options: PgConnectOptions,
    pub pool: PgPool,
    pub history: History,
    pub reader: Reader,
    /// Started here, where no service runs.
    embedded: Option<Embedded>,
}

impl Beside {
    pub async fn open(config: &mut Config) -> Result<Self, Failure> {
        let embedded = match app::start_embedded(config, false).await {
            // A service that runs has its Postgres for itself, but lets others look.
            Err(StartError::Embedded(EmbeddedError::InUse { .. })) => None,
            started => started.map_err(failure)?,
        };
        match Self::connect(config, embedded.as_ref()).await {
            Ok((options, pool, history, reader)) => Ok(Self { options, pool, history, reader, embedded }),
            Err(error) => {
                if let Some(embedded) = embedded {
                    embedded.stop().await;
                }
                Err(error)
            }
        }
    }

    async fn connect(
        config: &mut Config,
        embedded: Option<&Embedded>,
    ) -> Result<(PgConnectOptions, PgPool, History, Reader), Failure> {
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
        if config.database_url.is_none() {
            complete_secrets(config)?;
        }
        let (history, reader) = app::read_log(config, &pool).await.map_err(failure)?;
        Ok((options, pool, history, reader))
    }

    pub async fn close(self) {
        self.pool.close().await;
        if let Some(embedded) = self.embedded {
            embedded.stop().await;
        }
    }
}
