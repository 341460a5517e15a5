//! Finds the timers whose time has come, by the clock of the database: nodes may disagree about the time.

use std::time::Duration;

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Kind;

/// A timer whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub tenant: String,
    pub user_id: String,
    pub notification: Uuid,
    pub kind: Kind,
    pub due_at: OffsetDateTime,
    /// The event that set it.
    pub position: i64,
}

/// Where a page of due timers ended.
#[derive(Clone, Copy, Debug)]
pub struct After {
    due_at: OffsetDateTime,
    notification: Uuid,
    kind: Kind,
}

impl From<&Due> for After {
    fn from(due: &Due) -> Self {
        Self { due_at: due.due_at, notification: due.notification, kind: due.kind }
    }
}

#[derive(sqlx::FromRow)]
struct DueRow {
    tenant: String,
    user_id: String,
    notification: Uuid,
    kind: String,
    due_at: OffsetDateTime,
    position: i64,
}

// statement_timestamp, not clock_timestamp: only what stands still within a statement is looked up in an index, and
// everything else would read all timers that are not due yet.

const DUE: &str = "
SELECT t.tenant, t.user_id, t.notification, t.kind, t.due_at, t.position
  FROM timers_v3.timers t
 WHERE t.due_at <= statement_timestamp()
   AND (t.due_at, t.notification, t.kind) > (coalesce($1, '-infinity'), $2, $3)
   AND (SELECT 1 FROM timers_v3.parked p WHERE p.tenant = t.tenant AND p.user_id = t.user_id LIMIT 1) IS NULL
 ORDER BY t.due_at, t.notification, t.kind LIMIT $4";

const NEXT: &str = "
SELECT due_at, greatest(0, ceil(extract(epoch FROM due_at - statement_timestamp()) * 1000))::bigint
  FROM ((SELECT due_at FROM timers_v3.timers WHERE due_at > statement_timestamp() ORDER BY due_at LIMIT 1)
        UNION ALL
        (SELECT due_at FROM timers_v3.schedules WHERE due_at > statement_timestamp() ORDER BY due_at LIMIT 1)) next
 ORDER BY due_at LIMIT 1";

const COUNT: &str = "
SELECT count(*) FROM (
    SELECT FROM timers_v3.timers t
     WHERE t.due_at <= statement_timestamp()
       AND (SELECT 1 FROM timers_v3.parked p WHERE p.tenant = t.tenant AND p.user_id = t.user_id LIMIT 1) IS NULL
     LIMIT $1) due";

/// How many timers are due, counted up to `limit`; those of parked recipients are not.
pub async fn count_due(executor: impl PgExecutor<'_>, limit: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(COUNT).bind(limit).fetch_one(executor).await
}

/// At most `limit` due timers, the longest due first, from where the page before ended. What is set for a parked
/// recipient waits until the recipient is redriven: it may be out of date.
pub async fn due(
    executor: impl PgExecutor<'_>,
    after: Option<After>,
    limit: i64,
) -> Result<Vec<Due>, sqlx::Error> {
    let rows: Vec<DueRow> = sqlx::query_as(DUE)
        .bind(after.map(|after| after.due_at))
        .bind(after.map_or(Uuid::nil(), |after| after.notification))
        .bind(after.map_or("", |after| after.kind.as_str()))
        .bind(limit)
        .fetch_all(executor)
        .await?;
    // The table holds no other kind.
    Ok(rows.into_iter().filter_map(DueRow::into_due).collect())
}

/// The next timer or tick that is not due yet, and how long until it is, rounded up to milliseconds.
pub async fn next_due(
    executor: impl PgExecutor<'_>,
) -> Result<Option<(OffsetDateTime, Duration)>, sqlx::Error> {
    let next: Option<(OffsetDateTime, i64)> = sqlx::query_as(NEXT).fetch_optional(executor).await?;
    Ok(next.map(|(at, wait_ms)| (at, Duration::from_millis(wait_ms.unsigned_abs()))))
}

impl DueRow {
    fn into_due(self) -> Option<Due> {
        let Self { tenant, user_id, notification, due_at, position, .. } = self;
        Some(Due { tenant, user_id, notification, kind: Kind::parse(&self.kind)?, due_at, position })
    }
}
