//! Folds parked recipients anew from the log, once whatever stood in the way is mended.

use sqlx::{Executor, PgConnection};

use crate::parking::Parked;
use crate::processor::SESSION;
use crate::read_model::{Batch, Checkpoint, ReadModel, Schema, UserKey, begin_waiting};
use crate::rebuild::{RebuildError, Site};

/// Events folded at a time.
const PAGE_EVENTS: i64 = 2_000;

/// How a redrive went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Recipients that are shown again.
    pub redriven: u64,
    /// Recipients whose event still cannot be applied.
    pub parked: u64,
}

/// Folds every parked recipient anew from the log; those for whom it works begin a new generation.
pub async fn redrive<M: ReadModel>(site: &Site) -> Result<Redriven, RebuildError> {
    let mut connection = Schema::live::<M>().connect(&site.connect, "tidings redrive", SESSION).await?;
    let parked: Vec<UserKey> =
        sqlx::query_as("SELECT tenant, user_id FROM parked").fetch_all(&mut connection).await?;
    let mut done = Redriven::default();
    for user in parked {
        if redrive_one::<M>(site, &mut connection, &user).await? {
            done.redriven += 1;
        } else {
            done.parked += 1;
        }
    }
    Ok(done)
}

async fn redrive_one<M: ReadModel>(
    site: &Site,
    connection: &mut PgConnection,
    user: &UserKey,
) -> Result<bool, RebuildError> {
    let Some(Checkpoint { position, generation }) = begin_waiting(connection).await? else {
        return Err(sqlx::Error::RowNotFound.into());
    };
    // The answer says that it is done, so it must not be undone by a crash.
    connection.execute("SET LOCAL synchronous_commit = on").await?;
    M::erase(connection, user).await?;
    let (mut model, mut parked, mut after) = (M::default(), Parked::default(), 0);
    loop {
        let range = (after, position);
        let owner = (user.0.as_str(), user.1.as_str());
        let events = site.reader.of_recipient(&mut *connection, owner, range, PAGE_EVENTS).await?;
        let Some(last) = events.last() else { break };
        after = last.position;
        model.apply(connection, Batch { events, parked: &mut parked, checkpoint: None }).await?;
        if parked.has_new() {
            connection.execute("ROLLBACK").await?;
            return Ok(false);
        }
    }
    sqlx::query(
        "WITH began AS (UPDATE checkpoint SET generation = $4),
              told AS (INSERT INTO valid_from (tenant, user_id, position, generation) VALUES ($1, $2, $3, $4)
                       ON CONFLICT (tenant, user_id) DO UPDATE SET position = $3, generation = $4)
         DELETE FROM parked WHERE tenant = $1 AND user_id = $2",
    )
    .bind(&user.0)
    .bind(&user.1)
    .bind(position)
    .bind(generation + 1)
    .execute(&mut *connection)
    .await?;
    connection.execute("COMMIT").await?;
    Ok(true)
}
