//! Reads the log by position. Every read checks that nothing is missing, opens what is sealed, lifts old
//! versions, and decodes into the domain's types.

mod picks;

use std::sync::Arc;

use cqrs_es::Aggregate;
use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sqlx::PgExecutor;
use sqlx::types::Json;
use tidings_domain::admission::Admission;
use tidings_domain::broadcast::Broadcast;
use tidings_domain::notification::Notification;
use tidings_domain::recipient::Recipient;
use tidings_domain::schedule::Schedule;
use tidings_domain::settings::Settings;
use tidings_domain::source::{Hook, Source};
use tidings_domain::subscription::Subscription;
use tidings_domain::template::Template;
use tidings_domain::{DecodeError, SECRET_MEMBER, upcast};
use time::OffsetDateTime;

use super::codec::{Codec, CodecError, Place};
use super::keys::KeyError;
use super::{BATCH_BYTES_MAX, Fact, Recorded, Unreadable};

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the log cannot be read: {0}")]
    Database(#[from] sqlx::Error),
    #[error("position {expected} is missing from the log, {found} follows")]
    Hole { expected: i64, found: i64 },
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Halts a projector: see [`Fact::decode`].
    #[error("position {position}: {source}")]
    Unknown { position: i64, source: DecodeError },
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// Events that one page of a listing looks at, where it asks neither for one user's nor for one aggregate's.
const SCANNED_MAX: i64 = 50_000;
/// The same, where it asks for some of one user's.
const PICKED_MAX: i64 = 1_000;

/// Which events of a tenant a listing asks for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub user_id: Option<String>,
    pub aggregate_id: Option<String>,
    pub event_type: Option<String>,
}

/// A page of a listing. It may have few events or none where many others lie between: it bounds what it looks at.
#[derive(Debug)]
pub struct Listed {
    pub events: Vec<Arc<Recorded>>,
    /// What follows this position was not looked at.
    pub next: i64,
}

/// Rows of a page, and the end of what was looked at; `None` where that is the last row.
type Found = (Vec<EventRow>, Option<i64>);

#[derive(sqlx::FromRow)]
pub(super) struct EventRow {
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
    metadata: Json<Box<RawValue>>,
    stored_bytes: i32,
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

    /// At most `limit` events that follow `position` directly, without a hole; fewer where they are large.
    pub async fn after(
        &self,
        executor: impl PgExecutor<'_>,
        position: i64,
        limit: i64,
    ) -> Result<Vec<Arc<Recorded>>, ReadError> {
        let rows: Vec<EventRow> = sqlx::query_as(
            "SELECT position, recorded_at, tenant, recipient, aggregate_type, aggregate_id, sequence,
                    event_type, event_version, payload, metadata, pg_column_size(payload) AS stored_bytes
               FROM (SELECT *, sum(pg_column_size(payload)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING)
                               - pg_column_size(payload) AS bytes_before
                       FROM events WHERE position > $1 ORDER BY position LIMIT $2) e
              WHERE bytes_before < $3 ORDER BY position",
        )
        .bind(position)
        .bind(limit)
        .bind(BATCH_BYTES_MAX as i64)
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
    ) -> Result<Listed, ReadError> {
        let range = (after, up_to.max(after));
        let (rows, looked_at) = match filter {
            Filter { aggregate_id: Some(id), .. } => {
                of_aggregate(executor, tenant, id, range, filter, limit).await?
            }
            Filter { user_id: Some(user), .. } => {
                of_user(executor, tenant, user, range, filter.event_type.as_deref(), limit).await?
            }
            Filter { event_type, .. } => scan(executor, tenant, range, event_type.as_deref(), limit).await?,
        };
        let next = looked_at.or(rows.last().map(|row| row.position)).unwrap_or(range.1);
        Ok(Listed { events: self.decode_all(rows).await?, next })
    }

    /// At most `limit` events that concern one user, in (`after`, `up_to`].
    pub async fn of_recipient(
        &self,
        executor: impl PgExecutor<'_>,
        (tenant, user): (&str, &str),
        range: (i64, i64),
        limit: i64,
    ) -> Result<Vec<Arc<Recorded>>, ReadError> {
        let (rows, _) = of_user(executor, tenant, user, range, None, limit).await?;
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
                    event_type, event_version, payload, metadata, pg_column_size(payload) AS stored_bytes
               FROM events WHERE aggregate_type = $1 AND aggregate_id = ANY ($2)
              ORDER BY aggregate_id, sequence",
        )
        .bind(aggregate_type)
        .bind(aggregate_ids)
        .fetch_all(executor)
        .await?;
        self.decode_all(rows).await
    }

    /// The last event of each aggregate of a type whose id begins with `prefix`, beyond `after`, in the order of ids.
    pub async fn latest(
        &self,
        executor: impl PgExecutor<'_>,
        aggregate_type: &str,
        (prefix, after): (&str, &str),
        limit: i64,
    ) -> Result<Vec<Arc<Recorded>>, ReadError> {
        // One step of the primary key per aggregate, however many events each has.
        let rows: Vec<EventRow> = sqlx::query_as(
            "WITH RECURSIVE ids (id, n) AS (
                 (SELECT aggregate_id, 1::bigint FROM events
                   WHERE aggregate_type = $1 AND aggregate_id > $2 AND aggregate_id < $3
                   ORDER BY aggregate_id LIMIT 1)
                 UNION ALL
                 SELECT next.aggregate_id, n + 1 FROM ids CROSS JOIN LATERAL (
                     SELECT aggregate_id FROM events
                      WHERE aggregate_type = $1 AND aggregate_id > ids.id AND aggregate_id < $3
                      ORDER BY aggregate_id LIMIT 1) next
                  WHERE n < $4)
             SELECT position, recorded_at, tenant, recipient, aggregate_type, aggregate_id, sequence,
                    event_type, event_version, payload, metadata, pg_column_size(payload) AS stored_bytes
               FROM ids CROSS JOIN LATERAL (
                    SELECT * FROM events WHERE aggregate_type = $1 AND aggregate_id = ids.id
                     ORDER BY sequence DESC LIMIT 1) e
              ORDER BY aggregate_id",
        )
        .bind(aggregate_type)
        .bind(after.max(prefix))
        // Nothing that begins with the prefix comes after its last possible letter.
        .bind(format!("{prefix}{}", char::MAX))
        .bind(limit)
        .fetch_all(executor)
        .await?;
        self.decode_all(rows).await
    }

    /// The events of aggregates of a type whose id begins with `prefix` and lies below `before`, the greatest id first.
    pub async fn backwards(
        &self,
        executor: impl PgExecutor<'_>,
        aggregate_type: &str,
        (prefix, before): (&str, Option<&str>),
        limit: i64,
    ) -> Result<Vec<Arc<Recorded>>, ReadError> {
        let end = format!("{prefix}{}", char::MAX);
        let rows: Vec<EventRow> = sqlx::query_as(
            "SELECT position, recorded_at, tenant, recipient, aggregate_type, aggregate_id, sequence,
                    event_type, event_version, payload, metadata, pg_column_size(payload) AS stored_bytes
               FROM events WHERE aggregate_type = $1 AND aggregate_id > $2 AND aggregate_id < $3
              ORDER BY aggregate_id DESC, sequence DESC LIMIT $4",
        )
        .bind(aggregate_type)
        .bind(prefix)
        .bind(before.unwrap_or(&end))
        .bind(limit)
        .fetch_all(executor)
        .await?;
        self.decode_all(rows).await
    }

    pub(super) async fn decode_all(&self, rows: Vec<EventRow>) -> Result<Vec<Arc<Recorded>>, ReadError> {
        self.codec.keys().fetch(rows.iter().filter_map(|row| Codec::key_of(&row.payload)).collect()).await?;
        let mut events = Vec::with_capacity(rows.len());
        for row in rows {
            events.push(Arc::new(self.decode(row).await?));
        }
        Ok(events)
    }

    /// Damage is part of the answer, as a fact: it concerns one recipient, and must not stop the others.
    async fn decode(&self, mut row: EventRow) -> Result<Recorded, ReadError> {
        let place =
            Place { aggregate_id: &row.aggregate_id, sequence: row.sequence, event_type: &row.event_type };
        let payload = match self.codec.open(place, row.payload.take()).await {
            Ok(payload) => payload,
            Err(CodecError::Key(error @ KeyError::Database(_))) => return Err(error.into()),
            Err(damage) => return Ok(row.unreadable(damage.to_string())),
        };
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
            Fact::decode(&row.aggregate_type, &row.aggregate_id, &row.event_type, &event_version, &payload);
        let fact = match fact {
            Ok(fact) => fact,
            Err(source @ DecodeError::Unknown { .. }) => {
                return Err(ReadError::Unknown { position: row.position, source });
            }
            Err(malformed @ DecodeError::Malformed { .. }) => Fact::Unreadable(malformed.to_string()),
        };
        row.event_version = event_version;
        Ok(row.recorded(payload, fact))
    }
}

impl EventRow {
    fn unreadable(self, why: String) -> Recorded {
        self.recorded(Value::Object(Map::new()), Fact::Unreadable(why))
    }

    fn recorded(self, mut payload: Value, fact: Fact) -> Recorded {
        payload.as_object_mut().map(|members| members.shift_remove(SECRET_MEMBER));
        Recorded {
            position: self.position,
            recorded_at: self.recorded_at,
            tenant: self.tenant,
            recipient: self.recipient,
            aggregate_type: self.aggregate_type,
            aggregate_id: self.aggregate_id,
            sequence: self.sequence,
            event_type: self.event_type,
            event_version: self.event_version,
            payload,
            metadata: self.metadata.0,
            stored_bytes: usize::try_from(self.stored_bytes).unwrap_or_default(),
            fact,
        }
    }
}

/// The last position recorded before `at`; 0 where there is none.
pub async fn position_at(executor: impl PgExecutor<'_>, at: OffsetDateTime) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT log_position_at($1)").bind(at).fetch_one(executor).await
}

async fn of_aggregate(
    executor: impl PgExecutor<'_>,
    tenant: &str,
    id: &str,
    (after, up_to): (i64, i64),
    filter: &Filter,
    limit: i64,
) -> Result<Found, sqlx::Error> {
    // The primary key begins with the type, which the id's prefix tells.
    let Some(aggregate_type) = aggregate_type_of(id) else { return Ok((Vec::new(), Some(up_to))) };
    let rows: Vec<EventRow> = sqlx::query_as(
        "SELECT position, recorded_at, tenant, recipient, aggregate_type, aggregate_id, sequence,
                event_type, event_version, payload, metadata, pg_column_size(payload) AS stored_bytes
           FROM events
          WHERE aggregate_type = $1 AND aggregate_id = $2 AND tenant = $3 AND position > $4 AND position <= $5
            AND ($6::text IS NULL OR recipient = $6)
            AND ($7::text IS NULL OR event_type = $7)
          ORDER BY sequence LIMIT $8",
    )
    .bind(aggregate_type)
    .bind(id)
    .bind(tenant)
    .bind(after)
    .bind(up_to)
    .bind(&filter.user_id)
    .bind(&filter.event_type)
    .bind(limit)
    .fetch_all(executor)
    .await?;
    let looked_at = (rows.len() as i64 != limit).then_some(up_to);
    Ok((rows, looked_at))
}

fn aggregate_type_of(id: &str) -> Option<&'static str> {
    match id.split_once('_')?.0 {
        "ntf" => Some(Notification::TYPE),
        "rcp" => Some(Recipient::TYPE),
        "tpl" => Some(Template::TYPE),
        "sub" => Some(Subscription::TYPE),
        "set" => Some(Settings::TYPE),
        "brd" => Some(Broadcast::TYPE),
        "src" => Some(Source::TYPE),
        "hok" => Some(Hook::TYPE),
        "adm" => Some(Admission::TYPE),
        "sch" => Some(Schedule::TYPE),
        _ => None,
    }
}

async fn of_user(
    executor: impl PgExecutor<'_>,
    tenant: &str,
    user: &str,
    (after, up_to): (i64, i64),
    event_type: Option<&str>,
    limit: i64,
) -> Result<Found, sqlx::Error> {
    let looked_at_max = if event_type.is_some() { PICKED_MAX } else { limit };
    let mut rows: Vec<EventRow> = sqlx::query_as(
        "SELECT position, recorded_at, tenant, recipient, aggregate_type, aggregate_id, sequence,
                event_type, event_version, payload, metadata, pg_column_size(payload) AS stored_bytes
           FROM events
          WHERE tenant = $1 AND recipient = $2 AND position > $3 AND position <= $4
          ORDER BY position LIMIT $5",
    )
    .bind(tenant)
    .bind(user)
    .bind(after)
    .bind(up_to)
    .bind(looked_at_max)
    .fetch_all(executor)
    .await?;
    let full = rows.len() as i64 == looked_at_max;
    let looked_at = if full { rows.last().map_or(up_to, |row| row.position) } else { up_to };
    rows.retain(|row| event_type.is_none_or(|wanted| row.event_type == wanted));
    let more = rows.len() as i64 > limit;
    rows.truncate(limit as usize);
    Ok((rows, (!more).then_some(looked_at)))
}

async fn scan(
    executor: impl PgExecutor<'_>,
    tenant: &str,
    (after, up_to): (i64, i64),
    event_type: Option<&str>,
    limit: i64,
) -> Result<Found, sqlx::Error> {
    let up_to = up_to.min(after.saturating_add(SCANNED_MAX));
    let rows: Vec<EventRow> = sqlx::query_as(
        "SELECT position, recorded_at, tenant, recipient, aggregate_type, aggregate_id, sequence,
                event_type, event_version, payload, metadata, pg_column_size(payload) AS stored_bytes
           FROM events
          WHERE position > $1 AND position <= $2 AND tenant = $3 AND ($4::text IS NULL OR event_type = $4)
          ORDER BY position LIMIT $5",
    )
    .bind(after)
    .bind(up_to)
    .bind(tenant)
    .bind(event_type)
    .bind(limit)
    .fetch_all(executor)
    .await?;
    let looked_at = (rows.len() as i64 != limit).then_some(up_to);
    Ok((rows, looked_at))
}
