//! Deliveries: how each notification stands, and its delivery on each channel of its plan.
//!
//! `fold` decides in memory, as the aggregate does; `store` loads and writes rows; `list` finds
//! notifications, `find` deliveries, `waiting`
//! counts what is due.

mod find;
mod fold;
mod list;
mod store;
#[cfg(test)]
mod tests;
mod waiting;

pub use find::{DeliveryFilter, Failed, Found, FoundPage, Place, count_failed, failed, find};
pub use fold::Life;
pub use list::{ListError, ListQuery, Listed, checkpoint, list};
pub use waiting::{Waiting, waiting};

use std::collections::HashSet;

use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::read_model::{Batch, ReadModel, UserKey};
use fold::{DeliveryKey, Rows, altered};

/// The fold of the deliveries. It remembers nothing: most of what it folds was made in the same batch.
#[derive(Default)]
pub struct Delivery;

impl ReadModel for Delivery {
    const NAME: &'static str = "delivery";
    /// 1 knew neither plans nor attempts that begin, 2 not why and since when a delivery stands as it does.
    const VERSION: u32 = 3;
    /// The earliest instant at which there is work for somebody in what the batch touched.
    type Output = Option<OffsetDateTime>;

    async fn apply(
        &mut self,
        connection: &mut PgConnection,
        batch: Batch<'_>,
    ) -> Result<Self::Output, sqlx::Error> {
        let altered: HashSet<DeliveryKey> = batch.events.iter().filter_map(|event| altered(event)).collect();
        let mut rows = Rows::default();
        if !altered.is_empty() {
            rows.loaded(store::load(connection, &altered).await?);
        }
        for event in &batch.events {
            if batch.parked.holds(event) {
                continue;
            }
            if let Err(error) = rows.fold(event) {
                batch.parked.park(event, &error);
            }
        }
        store::store(connection, &rows, batch.checkpoint).await?;
        Ok(rows.earliest_work())
    }

    async fn erase(connection: &mut PgConnection, (tenant, user_id): &UserKey) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM deliveries WHERE tenant = $1 AND user_id = $2")
            .bind(tenant)
            .bind(user_id)
            .execute(connection)
            .await
            .map(drop)
    }
}
