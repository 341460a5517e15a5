//! Where the read models stand, for operators.

use sqlx::PgExecutor;

use crate::read_model::{ReadModel, Schema};

/// One read model.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Everything up to here is folded in.
    pub position: i64,
    /// Events of the log that are not, as of the head that was read with it.
    pub lag_events: i64,
    /// The age of the first of those; 0 where there is none.
    pub lag_seconds: f64,
    /// Recipients that are parked.
    pub parked: i64,
    /// Whether a second one is being built beside it.
    pub rebuilding: bool,
}

pub async fn standing<M: ReadModel>(executor: impl PgExecutor<'_>) -> Result<Standing, sqlx::Error> {
    let (position, parked, rebuilding, lag_seconds, head): (i64, i64, bool, f64, i64) =
        sqlx::query_as("SELECT s.*, h.position FROM read_model_standing($1) s, log_head h")
            .bind(Schema::live::<M>().name)
            .fetch_one(executor)
            .await?;
    let lag_events = (head - position).max(0);
    Ok(Standing { position, lag_events, lag_seconds: lag_seconds.max(0.0), parked, rebuilding })
}
