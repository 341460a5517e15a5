//! What every read model is: a fold of the log with a schema of its own, a checkpoint, and recipients that are parked.
//!
//! A schema is named with the fold's version, so that a new version builds beside the old one. A model works through
//! the search path of its connection and never names its schema: the same statements build the live tables and those
//! of a rebuild.

use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, Row};

use crate::log::{Recorded, Unreadable};
use crate::parking::Parked;

/// Tenant and user.
pub type UserKey = (String, String);

/// A fold of the log into tables.
pub trait ReadModel: Default + Send + 'static {
    /// As operators name it.
    const NAME: &'static str;
    /// Raised when the fold changes, with functions in `migrations/` that make the new tables.
    const VERSION: u32;
    /// What a committed batch tells the node.
    type Output: Send + 'static;

    /// Folds a batch and stores its rows, inside the transaction that the caller began. A model may remember rows
    /// from batch to batch: it is made anew whenever somebody else may have changed them.
    fn apply(
        &mut self,
        connection: &mut PgConnection,
        batch: Batch<'_>,
    ) -> impl Future<Output = Result<Self::Output, sqlx::Error>> + Send;

    /// Deletes all rows of one recipient.
    fn erase(
        connection: &mut PgConnection,
        user: &UserKey,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// The log contradicts itself or is damaged; no retry helps.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("position {position}: {event} of a notification that was never created")]
    NoItem { position: i64, event: String },
    #[error("position {position}: {event} names no recipient")]
    NoRecipient { position: i64, event: String },
    #[error("position {position}: what the item says is not what was written of it")]
    Damaged { position: i64 },
}

impl FoldError {
    pub(crate) fn never_created(event: &Recorded) -> Self {
        Self::NoItem { position: event.position, event: event.event_type.clone() }
    }
}

/// Whom an event concerns.
pub(crate) fn recipient(event: &Recorded) -> Result<UserKey, FoldError> {
    let (position, event_type) = (event.position, &event.event_type);
    match &event.recipient {
        Some(user_id) => Ok((event.tenant.clone(), user_id.clone())),
        None => Err(FoldError::NoRecipient { position, event: event_type.clone() }),
    }
}

/// Events to fold in one transaction.
pub struct Batch<'a> {
    pub events: Vec<Arc<Recorded>>,
    /// Whose events are passed over; one that cannot be folded adds its recipient.
    pub parked: &'a mut Parked,
    /// Where the checkpoint goes; `None` leaves it where it is.
    pub checkpoint: Option<i64>,
}

/// How far a read model has followed the log, and the generation of what it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub position: i64,
    pub generation: i64,
}

/// The schema that holds one version of a fold, live or in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    pub name: String,
    /// What the functions that make its tables are called after.
    fold: String,
}

impl Schema {
    pub fn live<M: ReadModel>() -> Self {
        let fold = format!("{}_v{}", M::NAME, M::VERSION);
        Self { name: fold.clone(), fold }
    }

    /// Where a rebuild grows.
    pub fn rebuild<M: ReadModel>() -> Self {
        let Self { name, fold } = Self::live::<M>();
        Self { name: format!("{name}_rebuild"), fold }
    }

    /// A connection that works in it.
    pub async fn connect(
        &self,
        connect: &PgConnectOptions,
        application_name: &str,
        session: &[(&str, &str)],
    ) -> Result<PgConnection, sqlx::Error> {
        let search_path = format!("{},public", self.name);
        let options = connect
            .clone()
            .application_name(application_name)
            .options([("search_path", search_path.as_str())])
            .options(session.iter().copied());
        options.connect().await
    }

    /// Makes its tables, without the indexes that only readers need; false where it is there already.
    pub async fn create(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let create = sqlx::query_scalar("SELECT read_model_create($1, $2)").bind(&self.name).bind(&self.fold);
        create.fetch_one(connection).await
    }

    pub async fn create_indexes(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let index = sqlx::query("SELECT read_model_index($1, $2)").bind(&self.name).bind(&self.fold);
        index.execute(connection).await.map(drop)
    }

    /// Lets the planner know what is in it.
    pub async fn analyze(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query("SELECT read_model_analyze($1)").bind(&self.name).execute(connection).await.map(drop)
    }

    pub async fn drop(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query("SELECT read_model_drop($1)").bind(&self.name).execute(connection).await.map(drop)
    }
}

/// Makes the live schema of a model where it is missing. An old version's stays as it is: older nodes use it.
pub async fn prepare<M: ReadModel>(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let schema = Schema::live::<M>();
    let mut transaction = connection.begin().await?;
    if schema.create(&mut transaction).await? {
        schema.create_indexes(&mut transaction).await?;
    }
    transaction.commit().await
}

/// Begins a transaction and locks the checkpoint until it ends; `None` while another node holds it. One round trip.
pub async fn begin(connection: &mut PgConnection) -> Result<Option<Checkpoint>, sqlx::Error> {
    let begin = "BEGIN; SELECT position, generation FROM checkpoint FOR UPDATE SKIP LOCKED";
    first(&connection.fetch_all(begin).await?)
}

/// As [`begin`], but waits for its turn.
pub async fn begin_waiting(connection: &mut PgConnection) -> Result<Option<Checkpoint>, sqlx::Error> {
    first(&connection.fetch_all("BEGIN; SELECT position, generation FROM checkpoint FOR UPDATE").await?)
}

fn first(rows: &[sqlx::postgres::PgRow]) -> Result<Option<Checkpoint>, sqlx::Error> {
    let checkpoint = |row: &sqlx::postgres::PgRow| {
        Ok(Checkpoint { position: row.try_get(0)?, generation: row.try_get(1)? })
    };
    rows.first().map(checkpoint).transpose()
}

/// Where the checkpoint stands, whoever holds it.
pub async fn checkpoint(connection: &mut PgConnection) -> Result<Checkpoint, sqlx::Error> {
    let (position, generation) =
        sqlx::query_as("SELECT position, generation FROM checkpoint").fetch_one(connection).await?;
    Ok(Checkpoint { position, generation })
}
