//! Picks single events of aggregates that have many: what such a one says last, and what it points back to.

use std::sync::Arc;

use sqlx::PgExecutor;

use super::{EventRow, ReadError, Reader};
use crate::log::Recorded;

impl Reader {
    /// The last events of one aggregate up to a position of the log, at most `limit`, in their order.
    pub async fn end_of(
        &self,
        executor: impl PgExecutor<'_>,
        (aggregate_type, aggregate_id): (&str, &str),
        up_to: i64,
        limit: i64,
    ) -> Result<Vec<Arc<Recorded>>, ReadError> {
        let mut rows: Vec<EventRow> = sqlx::query_as(
            "SELECT position, recorded_at, tenant, recipient, aggregate_type, aggregate_id, sequence,
                    event_type, event_version, payload, metadata, pg_column_size(payload) AS stored_bytes
               FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND position <= $3
              ORDER BY sequence DESC LIMIT $4",
        )
        .bind(aggregate_type)
        .bind(aggregate_id)
        .bind(up_to)
        .bind(limit)
        .fetch_all(executor)
        .await?;
        rows.reverse();
        self.decode_all(rows).await
    }

    /// One event of each of these aggregates: that of the sequence named beside it.
    pub async fn at_sequences(
        &self,
        executor: impl PgExecutor<'_>,
        aggregate_type: &str,
        (aggregate_ids, sequences): (&[String], &[i64]),
    ) -> Result<Vec<Arc<Recorded>>, ReadError> {
        let rows: Vec<EventRow> = sqlx::query_as(
            "SELECT position, recorded_at, tenant, recipient, aggregate_type, e.aggregate_id, e.sequence,
                    event_type, event_version, payload, metadata, pg_column_size(payload) AS stored_bytes
               FROM unnest($2::text[], $3::bigint[]) wanted (aggregate_id, sequence)
               JOIN events e ON e.aggregate_type = $1 AND e.aggregate_id = wanted.aggregate_id
                            AND e.sequence = wanted.sequence
              ORDER BY e.aggregate_id",
        )
        .bind(aggregate_type)
        .bind(aggregate_ids)
        .bind(sequences)
        .fetch_all(executor)
        .await?;
        self.decode_all(rows).await
    }
}
