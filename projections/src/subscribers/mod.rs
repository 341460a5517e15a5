//! Subscribers: who was subscribed to which topic from where to where in the log.
//!
//! `fold` decides in memory, `store` writes rows, `list` finds users and topics. A row is an interval of positions, so that
//! who was subscribed at any of them can still be told.

mod fold;
mod list;
mod store;
#[cfg(test)]
mod tests;

pub use list::{ListError, Page, Users, checkpoint, subscribed, topics_of};

use sqlx::PgConnection;

use crate::read_model::{Batch, ReadModel, UserKey};
use fold::Rows;

/// The fold of the subscriptions. It remembers nothing: no event needs the rows before it.
#[derive(Default)]
pub struct Subscribers;

impl ReadModel for Subscribers {
    const NAME: &'static str = "subscribers";
    const VERSION: u32 = 1;
    type Output = ();

    async fn apply(&mut self, connection: &mut PgConnection, batch: Batch<'_>) -> Result<(), sqlx::Error> {
        let mut rows = Rows::default();
        for event in &batch.events {
            if batch.parked.holds(event) {
                continue;
            }
            if let Err(error) = rows.fold(event) {
                batch.parked.park(event, &error);
            }
        }
        store::store(connection, &rows, batch.checkpoint).await
    }

    async fn erase(connection: &mut PgConnection, (tenant, user_id): &UserKey) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM subscribers WHERE tenant = $1 AND user_id = $2")
            .bind(tenant)
            .bind(user_id)
            .execute(connection)
            .await
            .map(drop)
    }
}
