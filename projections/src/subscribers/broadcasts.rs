//! Which broadcasts there are, and which are not at their end.

use sqlx::PgExecutor;
use tidings_domain::BroadcastId;
use time::OffsetDateTime;
use uuid::Uuid;

/// Broadcasts that are looked at to find some that nobody works on.
const RUNNING_MAX: i64 = 100;

/// A broadcast in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: BroadcastId,
    pub topic: Option<String>,
    pub total: Option<i64>,
    /// Its first event.
    pub created: i64,
    pub created_at: OffsetDateTime,
    pub status: String,
    pub notifications: i64,
}

type Row = (
    i64,
    Option<Uuid>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<OffsetDateTime>,
    Option<String>,
    Option<i64>,
);

const LIST: &str = "
SELECT c.position, b.broadcast, b.topic, b.total, b.created, b.created_at, b.status, b.notifications
  FROM subscribers_v1.checkpoint c
  LEFT JOIN LATERAL (
       SELECT * FROM subscribers_v1.broadcasts b
        WHERE b.tenant = $1 AND b.created < $2 ORDER BY b.created DESC LIMIT $3) b ON true
 ORDER BY b.created DESC";

/// At most `limit` of a tenant's broadcasts created below `before`, newest first, and the position they hold at.
pub async fn broadcasts(
    executor: impl PgExecutor<'_>,
    tenant: &str,
    before: i64,
    limit: i64,
) -> Result<(Vec<Listed>, i64), sqlx::Error> {
    let rows: Vec<Row> =
        sqlx::query_as(LIST).bind(tenant).bind(before).bind(limit).fetch_all(executor).await?;
    let position = rows.first().ok_or(sqlx::Error::RowNotFound)?.0;
    let listed = rows.into_iter().filter_map(|(_, id, topic, total, created, created_at, status, made)| {
        Some(Listed {
            id: BroadcastId::new(id?),
            topic,
            total,
            created: created?,
            created_at: created_at?,
            status: status?,
            notifications: made?,
        })
    });
    Ok((listed.collect(), position))
}

/// Those that run, of all tenants, oldest first, without some.
pub async fn running(
    executor: impl PgExecutor<'_>,
    without: &[BroadcastId],
) -> Result<Vec<BroadcastId>, sqlx::Error> {
    let without: Vec<Uuid> = without.iter().map(|id| id.uuid()).collect();
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT broadcast FROM subscribers_v1.broadcasts
          WHERE status = 'running' AND broadcast <> ALL ($1) ORDER BY created LIMIT $2",
    )
    .bind(without)
    .bind(RUNNING_MAX)
    .fetch_all(executor)
    .await?;
    Ok(ids.into_iter().map(BroadcastId::new).collect())
}

/// How many those are, counted up to `limit`.
pub async fn count_running(executor: impl PgExecutor<'_>, limit: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT 1 FROM subscribers_v1.broadcasts WHERE status = 'running' LIMIT $1) b",
    )
    .bind(limit)
    .fetch_one(executor)
    .await
}
