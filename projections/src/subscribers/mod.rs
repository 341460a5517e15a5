//! Subscribers: who was subscribed to which topic from where to where in the log, and which broadcasts reach them.
//!
//! `fold` decides in memory, `store` writes rows, `list` finds users and topics, `broadcasts` what is to be fanned out. A
//! subscription is kept as intervals of positions, so that who had one at any of them can still be told. A broadcast is
//! found here only once whom it reaches is known, too.

mod broadcasts;
mod fold;
mod list;
mod store;
#[cfg(test)]
mod tests;

pub use broadcasts::{Listed, broadcasts, count_running, running};
pub use list::{ListError, Page, Users, checkpoint, subscribed, topics_of};

use sqlx::PgConnection;

use crate::read_model::{Batch, ReadModel, UserKey};
use fold::Rows;

/// The fold of subscriptions and broadcasts. It remembers nothing: no event needs the rows before it.
#[derive(Default)]
pub struct Subscribers;

impl ReadModel for Subscribers {
    const NAME: &'static str = "subscribers";
    const VERSION: u32 = 1;
    /// Whether a broadcast began.
    type Output = bool;

    async fn apply(&mut self, connection: &mut PgConnection, batch: Batch<'_>) -> Result<bool, sqlx::Error> {
        let mut rows = Rows::default();
        for event in &batch.events {
            if batch.parked.holds(event) {
                continue;
            }
            if let Err(error) = rows.fold(event) {
                batch.parked.park(event, &error);
            }
        }
        store::store(connection, &rows, batch.checkpoint).await?;
        Ok(!rows.broadcasts.is_empty())
    }

    async fn erase(connection: &mut PgConnection, (tenant, user_id): &UserKey) -> Result<(), sqlx::Error> {
        sqlx::query(
            "WITH broadcasts AS (DELETE FROM broadcasts WHERE tenant = $1 AND user_id = $2)
             DELETE FROM subscribers WHERE tenant = $1 AND user_id = $2",
        )
        .bind(tenant)
        .bind(user_id)
        .execute(connection)
        .await
        .map(drop)
    }
}
