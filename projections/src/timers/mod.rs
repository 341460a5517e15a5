//! The timers: what is due when, of notifications and of schedules. `fold` decides in memory, `store` moves the rows, `due` finds those whose time has come.
//!
//! A row says that somebody asked for an instant, never that anything happens at it: that is for the aggregate to
//! decide, so a row that fires twice, or is left over, does no harm.

mod due;
mod fold;
mod schedules;
mod store;
#[cfg(test)]
mod tests;

pub use due::{After, Due, count_due, due, next_due};
pub use fold::Kind;
pub use schedules::{DueSchedule, due_schedules};

use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::read_model::{Batch, ReadModel, UserKey};
use fold::Moves;

/// The fold of the timers. It remembers nothing: no event needs the rows before it.
#[derive(Default)]
pub struct Timers;

impl ReadModel for Timers {
    const NAME: &'static str = "timers";
    /// 1 knew no steps that wait, 2 no schedules.
    const VERSION: u32 = 3;
    /// The earliest instant that the batch set.
    type Output = Option<OffsetDateTime>;

    async fn apply(
        &mut self,
        connection: &mut PgConnection,
        batch: Batch<'_>,
    ) -> Result<Option<OffsetDateTime>, sqlx::Error> {
        let mut moves = Moves::default();
        for event in &batch.events {
            if batch.parked.holds(event) {
                continue;
            }
            if let Err(error) = moves.fold(event) {
                batch.parked.park(event, &error);
            }
        }
        store::store(connection, &moves, batch.checkpoint).await?;
        Ok(moves.earliest())
    }

    async fn erase(connection: &mut PgConnection, (tenant, user_id): &UserKey) -> Result<(), sqlx::Error> {
        sqlx::query(
            "WITH schedules AS (DELETE FROM schedules WHERE tenant = $1 AND user_id = $2)
             DELETE FROM timers WHERE tenant = $1 AND user_id = $2",
        )
        .bind(tenant)
        .bind(user_id)
        .execute(connection)
        .await
        .map(drop)
    }
}
