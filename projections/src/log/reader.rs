//! Reads the log by position. Every read checks that nothing is missing, opens what is sealed, lifts old
//! versions, and decodes into the domain's types.

use std::sync::Arc;

use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use serde_json::Value;
use sqlx::PgExecutor;
use tidings_domain::notification::DecodeError;
use tidings_domain::upcast;
use time::OffsetDateTime;

use super::codec::{Codec, CodecError, Place};
use super::{Fact, Recorded};

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the log cannot be read: {0}")]
    Database(#[from] sqlx::Error),
    #[error("position {expected} is missing from the log, {found} follows")]
    Hole { expected: i64, found: i64 },
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Halts a projector: see [`Fact::decode`].
    #[error("position {position}: {source}")]
    Decode { position: i64, source: DecodeError },
}

/// Which events of a tenant a listing asks for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub user_id: Option<String>,
    pub aggregate_id: Option<String>,
    pub event_type: Option<String>,
}

#[derive(sqlx::FromRow)]
struct EventRow {
    position: i64,
    recorded_at: OffsetDateTime,
    tenant: String,
    recipient: Option<String>,
    aggregate_type: String,
    aggregate_id: String,
    sequence: i64,
    event_type: String,
    event_version: String,
    payload: Value,
    metadata: Value,
}

#[derive(Clone)]
pub struct Reader {
    codec: Codec,
    upcasters: Arc<Vec<Box<dyn EventUpcaster>>>,
}

impl Reader {
    pub fn new(codec: Codec) -> Self {
        Self { codec, upcasters: Arc::new(upcast::upcasters()) }
    }

    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// At most `limit` events that follow `position` directly, without a hole.
    pub async fn after(
        &self,
        executor: impl PgExecutor<'_>,
        position: i64,
        limit: i64,
    ) -> Result<Vec<Arc<Recorded>>, ReadError> {
        let rows: Vec<EventRow> = sqlx::query_as(
            "SELECT position, recorded_at, tenant, recipient, aggregate_type, aggregate_id, sequence,
                    event_type, event_version, payload, metadata
               FROM events WHERE position > $1 ORDER BY position LIMIT $2",
        )
        .bind(position)
        .bind(limit)
        .fetch_all(executor)
        .await?;
        for (expected, row) in (position + 1..).zip(&rows) {
            if row.position != expected {
                return Err(ReadError::Hole { expected, found: row.position });
            }
        }
        self.decode_all(rows).await
    }

    /// At most `limit` events of one tenant in (`after`, `up_to`] that match the filter.
    pub async fn list(
        &self,
        executor: impl PgExecutor<'_>,
        tenant: &str,
        (after, up_to): (i64, i64),
        filter: &Filter,
        limit: i64,
    ) -> Result<Vec<Arc<Recorded>>, ReadError> {
        let rows: Vec<EventRow> = sqlx::query_as(
            "SELECT position, recorded_at, tenant, recipient, aggregate_type, aggregate_id, sequence,
                    event_type, event_version, payload, metadata
               FROM events
              WHERE tenant = $1 AND position > $2 AND position <= $3
                AND ($4::text IS NULL OR recipient = $4)
                AND ($5::text IS NULL OR aggregate_id = $5)
                AND ($6::text IS NULL OR event_type = $6)
              ORDER BY position LIMIT $7",
        )
        .bind(tenant)
        .bind(after)
        .bind(up_to)
        .bind(&filter.user_id)
        .bind(&filter.aggregate_id)
        .bind(&filter.event_type)
        .bind(limit)
        .fetch_all(executor)
        .await?;
        self.decode_all(rows).await
    }

    /// All events of the given aggregates, by aggregate and sequence.
    pub async fn of_aggregates(
        &self,
        executor: impl PgExecutor<'_>,
        aggregate_type: &str,
        aggregate_ids: &[String],
    ) -> Result<Vec<Arc<Recorded>>, ReadError> {
        let rows: Vec<EventRow> = sqlx::query_as(
            "SELECT position, recorded_at, tenant, recipient, aggregate_type, aggregate_id, sequence,
                    event_type, event_version, payload, metadata
               FROM events WHERE aggregate_type = $1 AND aggregate_id = ANY ($2)
              ORDER BY aggregate_id, sequence",
        )
        .bind(aggregate_type)
        .bind(aggregate_ids)
        .fetch_all(executor)
        .await?;
        self.decode_all(rows).await
    }

    async fn decode_all(&self, rows: Vec<EventRow>) -> Result<Vec<Arc<Recorded>>, ReadError> {
        let mut events = Vec::with_capacity(rows.len());
        for row in rows {
            events.push(Arc::new(self.decode(row).await?));
        }
        Ok(events)
    }

    async fn decode(&self, row: EventRow) -> Result<Recorded, ReadError> {
        let place =
            Place { aggregate_id: &row.aggregate_id, sequence: row.sequence, event_type: &row.event_type };
        let payload = self.codec.open(place, row.payload).await?;
        let SerializedEvent { event_version, payload, .. } = upcast::upcast(
            &self.upcasters,
            SerializedEvent {
                aggregate_id: String::new(),
                sequence: 0,
                aggregate_type: String::new(),
                event_type: row.event_type.clone(),
                event_version: row.event_version,
                payload,
                metadata: Value::Null,
            },
        );
        let fact =
            Fact::decode(&row.aggregate_type, &row.aggregate_id, &row.event_type, &event_version, &payload)
                .map_err(|source| ReadError::Decode { position: row.position, source })?;
        Ok(Recorded {
            position: row.position,
            recorded_at: row.recorded_at,
            tenant: row.tenant,
            recipient: row.recipient,
            aggregate_type: row.aggregate_type,
            aggregate_id: row.aggregate_id,
            sequence: row.sequence,
            event_type: row.event_type,
            event_version,
            payload,
            metadata: row.metadata,
            fact,
        })
    }
}
