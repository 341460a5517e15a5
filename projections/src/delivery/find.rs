//! Finds deliveries by how they stand, the last changed first. A query is one statement, so that page and checkpoint
//! belong together, whatever is swapped or folded meanwhile.
//!
//! A row that changes moves to the front. So whoever goes on from page to page meets none twice, and each that stayed as it
//! was; what changed meanwhile heads the next listing.

use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::QueryAs;
use sqlx::{FromRow, PgPool};
use tidings_domain::notification::{Channel, DeliveryStatus, FailureClass};
use time::OffsetDateTime;
use uuid::Uuid;

use super::ListError;

/// Where a delivery stands among all others: by its last change, those of one event by their step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub position: i64,
    pub step: i16,
}

impl Place {
    /// Before the last changed.
    pub const FIRST: Self = Self { position: i64::MAX, step: i16::MAX };

    /// The place before which all lie that last changed up to there.
    pub fn after(position: i64) -> Self {
        Self { position: position.saturating_add(1), step: 0 }
    }
}

/// Which deliveries are meant: those that are everything that is said.
#[derive(Clone, Debug)]
pub struct DeliveryFilter {
    pub user_id: Option<String>,
    pub channel: Option<Channel>,
    pub status: Option<DeliveryStatus>,
    /// Of the latest failed attempt, unless a later one succeeded.
    pub error_class: Option<FailureClass>,
    /// Last changed after this position.
    pub after: i64,
    /// And before this place.
    pub before: Place,
}

impl Default for DeliveryFilter {
    fn default() -> Self {
        let (user_id, channel, status, error_class) = (None, None, None, None);
        Self { user_id, channel, status, error_class, after: 0, before: Place::FIRST }
    }
}

/// A delivery that was found. Names are as they are stored.
#[derive(Clone, Debug, FromRow)]
pub struct Found {
    pub notification: Uuid,
    pub user_id: String,
    pub channel: String,
    pub step: i16,
    /// 0 low to 3 urgent.
    pub priority: i16,
    pub category: Option<String>,
    pub status: String,
    pub attempt: i32,
    pub due_at: Option<OffsetDateTime>,
    pub deadline: Option<OffsetDateTime>,
    pub skipped: Option<String>,
    pub deferred: Option<String>,
    pub error_class: Option<String>,
    /// Nothing where the recipient was forgotten: it may speak of him.
    pub error: Option<String>,
    pub position: i64,
    pub changed_at: OffsetDateTime,
}

impl Found {
    pub fn place(&self) -> Place {
        Place { position: self.position, step: self.step }
    }
}

/// One page, and the position it holds at.
#[derive(Debug)]
pub struct FoundPage {
    /// The last changed first.
    pub deliveries: Vec<Found>,
    /// Pass as `before` for the page after this one.
    pub next: Option<Place>,
    pub position: i64,
}

#[derive(FromRow)]
struct PageRow {
    checkpoint: i64,
    parked: bool,
    found: bool,
}

macro_rules! found {
    ($($deliveries:literal),+) => {
        concat!(
            "
SELECT c.position AS checkpoint, p.user_id IS NOT NULL AS parked, d.notification IS NOT NULL AS found,
       d.notification, d.user_id, d.channel, d.step, d.priority, d.category, d.status, d.attempt, d.due_at, d.deadline,
       d.skipped, d.deferred, d.error_class, d.position, d.changed_at,
       CASE WHEN (SELECT 1 FROM recipient_keys k WHERE k.tenant = $1 AND k.recipient = d.user_id LIMIT 1) IS NOT NULL
            THEN d.error END AS error
  FROM delivery_v3.checkpoint c
  LEFT JOIN delivery_v3.parked p ON p.tenant = $1 AND p.user_id = $8
  LEFT JOIN LATERAL (",
            $($deliveries,)+
            "
        ORDER BY d.position DESC, d.step DESC LIMIT $7) d ON true
 ORDER BY d.position DESC, d.step DESC"
        )
    };
}

// Each channel and status is read from where the page begins, by its own index range; the merge is sorted and cut. Those of
// parked recipients are left out.
macro_rules! found_of_tenant {
    ($which:literal) => {
        found!(
            "
       SELECT d.*
         FROM unnest($2::text[]) l (channel)
        CROSS JOIN unnest($3::text[]) s (status)
        CROSS JOIN LATERAL (
              SELECT * FROM delivery_v3.deliveries d
               WHERE d.tenant = $1 AND d.channel = l.channel AND d.status = s.status AND ",
            $which,
            "
                 AND d.position > $4 AND (d.position, d.step) < ($5, $6)
                 AND (SELECT 1 FROM delivery_v3.parked p
                       WHERE p.tenant = $1 AND p.user_id = d.user_id LIMIT 1) IS NULL
               ORDER BY d.position DESC LIMIT $7) d"
        )
    };
}

const OF_TENANT: &str = found_of_tenant!("$9::text IS NULL");
const ERRORS_OF_TENANT: &str = found_of_tenant!("d.error_class = $9");
// All that a user has is read, by the primary key: it is little, and an index of its own would have to be kept for everybody.
const OF_USER: &str = found!(
    "
       SELECT d.*
         FROM delivery_v3.deliveries d
        WHERE d.tenant = $1 AND d.user_id = $8 AND d.channel = ANY($2) AND d.status = ANY($3)
          AND ($9::text IS NULL OR d.error_class = $9)
          AND d.position > $4 AND (d.position, d.step) < ($5, $6)"
);

/// One page of a tenant's deliveries: at most `limit`.
pub async fn find(
    pool: &PgPool,
    tenant: &str,
    filter: &DeliveryFilter,
    limit: i64,
) -> Result<FoundPage, ListError> {
    let sql = match (&filter.user_id, filter.error_class) {
        (None, None) => OF_TENANT,
        (None, Some(_)) => ERRORS_OF_TENANT,
        (Some(_), _) => OF_USER,
    };
    let rows = sqlx::query(sql)
        .bind(tenant)
        .bind(channels(filter))
        .bind(named(filter.status, &DeliveryStatus::ALL, DeliveryStatus::as_str))
        .bind(filter.after)
        .bind(filter.before.position)
        .bind(filter.before.step)
        .bind(limit + 1)
        .bind(&filter.user_id)
        .bind(filter.error_class.map(FailureClass::as_str))
        .fetch_all(pool)
        .await?;
    let first = PageRow::from_row(rows.first().ok_or(sqlx::Error::RowNotFound)?)?;
    if first.parked {
        return Err(ListError::Parked);
    }
    let found = if first.found { rows.as_slice() } else { &[] };
    let mut deliveries = found.iter().map(Found::from_row).collect::<Result<Vec<_>, _>>()?;
    let more = deliveries.len() as i64 > limit;
    deliveries.truncate(limit as usize);
    let next = deliveries.last().filter(|_| more).map(Found::place);
    Ok(FoundPage { deliveries, next, position: first.checkpoint })
}

/// A delivery that failed for good, and whose notification has not ended.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    pub notification: Uuid,
    pub channel: Channel,
    pub place: Place,
}

// By an index of their own: what has ended since is not walked past.
macro_rules! failed_of_tenant {
    ($select:literal, $rest:literal) => {
        concat!(
            $select,
            "
         FROM unnest($2::text[]) l (channel)
        CROSS JOIN unnest($9::text[]) e (class)
        CROSS JOIN LATERAL (
              SELECT d.notification, d.channel, d.position, d.step FROM delivery_v3.deliveries d
               WHERE d.tenant = $1 AND d.status = $3 AND d.channel = l.channel AND d.error_class = e.class
                 AND d.life = 'active' AND d.status IN ('dead_lettered', 'exhausted') AND $8::text IS NULL
                 AND d.position > $4 AND (d.position, d.step) < ($5, $6)
                 AND (SELECT 1 FROM delivery_v3.parked p
                       WHERE p.tenant = $1 AND p.user_id = d.user_id LIMIT 1) IS NULL
               ORDER BY d.position DESC LIMIT $7) d",
            $rest
        )
    };
}

macro_rules! failed_of_user {
    ($select:literal, $rest:literal) => {
        concat!(
            $select,
            "
         FROM delivery_v3.deliveries d
        WHERE d.tenant = $1 AND d.user_id = $8 AND d.status = $3 AND d.channel = ANY($2) AND d.error_class = ANY($9)
          AND d.life = 'active' AND d.position > $4 AND (d.position, d.step) < ($5, $6)",
            $rest
        )
    };
}

macro_rules! page {
    ($failed:ident) => {
        $failed!(
            "SELECT d.notification, d.channel, d.position, d.step",
            " ORDER BY d.position DESC, d.step DESC LIMIT $7"
        )
    };
}

macro_rules! count {
    ($failed:ident) => {
        $failed!(
            "SELECT (SELECT count(*) FROM (SELECT 1",
            " LIMIT $7) d),
               (SELECT 1 FROM delivery_v3.parked p WHERE p.tenant = $1 AND p.user_id = $8 LIMIT 1) IS NOT NULL"
        )
    };
}

const FAILED: &str = page!(failed_of_tenant);
const FAILED_OF_USER: &str = page!(failed_of_user);
const COUNT: &str = count!(failed_of_tenant);
const COUNT_OF_USER: &str = count!(failed_of_user);

/// The next that failed for good: at most `limit`. Without a status, those that are dead-lettered.
pub async fn failed(
    pool: &PgPool,
    tenant: &str,
    filter: &DeliveryFilter,
    limit: i64,
) -> Result<Vec<Failed>, sqlx::Error> {
    let sql = match &filter.user_id {
        None => FAILED,
        Some(_) => FAILED_OF_USER,
    };
    let rows: Vec<(Uuid, String, i64, i16)> =
        bind_failed(sqlx::query_as(sql), tenant, filter, limit).fetch_all(pool).await?;
    let failed = rows.into_iter().filter_map(|(notification, channel, position, step)| {
        let channel = Channel::parse(&channel)?;
        Some(Failed { notification, channel, place: Place { position, step } })
    });
    Ok(failed.collect())
}

/// How many there are, counted up to `max`.
pub async fn count_failed(
    pool: &PgPool,
    tenant: &str,
    filter: &DeliveryFilter,
    max: i64,
) -> Result<i64, ListError> {
    let sql = match &filter.user_id {
        None => COUNT,
        Some(_) => COUNT_OF_USER,
    };
    let (count, parked): (i64, bool) =
        bind_failed(sqlx::query_as(sql), tenant, filter, max).fetch_one(pool).await?;
    if parked { Err(ListError::Parked) } else { Ok(count) }
}

fn bind_failed<'q, R>(
    statement: QueryAs<'q, Postgres, R, PgArguments>,
    tenant: &'q str,
    filter: &'q DeliveryFilter,
    limit: i64,
) -> QueryAs<'q, Postgres, R, PgArguments> {
    statement
        .bind(tenant)
        .bind(channels(filter))
        .bind(filter.status.unwrap_or(DeliveryStatus::DeadLettered).as_str())
        .bind(filter.after)
        .bind(filter.before.position)
        .bind(filter.before.step)
        .bind(limit)
        .bind(&filter.user_id)
        .bind(named(filter.error_class, &FailureClass::ALL, FailureClass::as_str))
}

fn channels(filter: &DeliveryFilter) -> Vec<&'static str> {
    named(filter.channel, &Channel::ALL, Channel::as_str)
}

/// The name of the one that is asked for, else of all.
fn named<T: Copy>(one: Option<T>, all: &[T], name: fn(T) -> &'static str) -> Vec<&'static str> {
    match one {
        Some(one) => vec![name(one)],
        None => all.iter().map(|one| name(*one)).collect(),
    }
}
