//! Looks at the ends of aggregates, which tell enough where an aggregate grows for ever: what is read does not grow with it.

use std::sync::Arc;

use sqlx::PgExecutor;

use super::Recorded;
use super::reader::{EventRow, ReadError, Reader};

impl Reader {
    /// The newest events of the given aggregates, at most `limit` of each, by aggregate and sequence.
    pub async fn newest(
        &self,
        executor: impl PgExecutor<'_>,
        aggregate_type: &str,
        aggregate_ids: &[String],
        limit: i64,
    ) -> Result<Vec<Arc<Recorded>>, ReadError> {
        let rows: Vec<EventRow> = sqlx::query_as(
            "SELECT position, recorded_at, tenant, recipient, aggregate_type, aggregate_id, sequence,
                    event_type, event_version, payload, metadata, pg_column_size(payload) AS stored_bytes
               FROM unnest($2) AS ids (id) CROSS JOIN LATERAL (
                    SELECT * FROM events WHERE aggregate_type = $1 AND aggregate_id = ids.id
                     ORDER BY sequence DESC LIMIT $3) e
              ORDER BY aggregate_id, sequence",
        )
        .bind(aggregate_type)
        .bind(aggregate_ids)
        .bind(limit)
        .fetch_all(executor)
        .await?;
        self.decode_all(rows).await
    }

    /// The first and the last event of one aggregate; only one where there is no other.
    pub async fn ends_of(
        &self,
        executor: impl PgExecutor<'_>,
        aggregate_type: &str,
        aggregate_id: &str,
    ) -> Result<Vec<Arc<Recorded>>, ReadError> {
        let rows: Vec<EventRow> = sqlx::query_as(
            "(SELECT position, recorded_at, tenant, recipient, aggregate_type, aggregate_id, sequence,
                     event_type, event_version, payload, metadata, pg_column_size(payload) AS stored_bytes
                FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence = 1)
             UNION ALL
             (SELECT position, recorded_at, tenant, recipient, aggregate_type, aggregate_id, sequence,
                     event_type, event_version, payload, metadata, pg_column_size(payload) AS stored_bytes
                FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence > 1
               ORDER BY sequence DESC LIMIT 1)",
        )
        .bind(aggregate_type)
        .bind(aggregate_id)
        .fetch_all(executor)
        .await?;
        self.decode_all(rows).await
    }
}
