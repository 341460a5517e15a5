//! Which notifications there are, newest first. A query is one statement, so that page and checkpoint belong together,
//! whatever is swapped or folded meanwhile.

use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use super::Life;
use crate::read_model::Checkpoint;

/// A page that is asked for: newest first, at most `limit` notifications created below `before`.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    pub user_id: Option<String>,
    pub life: Option<Life>,
    pub before: Option<i64>,
    pub limit: i64,
}

/// One page, and the position it holds at.
#[derive(Debug)]
pub struct Listed {
    /// Newest first.
    pub notifications: Vec<Uuid>,
    /// Pass as `before` for the page after this one.
    pub next: Option<i64>,
    pub position: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// An event of this user could not be applied; see [`crate::parking`].
    #[error("the user's notifications are held back at an event that cannot be applied")]
    Parked,
}

#[derive(sqlx::FromRow)]
struct ListRow {
    checkpoint: i64,
    parked: bool,
    notification: Option<Uuid>,
    created: Option<i64>,
}

// Each life is read from where the page begins, by its own index range; the merge is sorted and cut.

const LIST_OF_USER: &str = "
SELECT c.position AS checkpoint, p.user_id IS NOT NULL AS parked, n.notification, n.created
  FROM delivery_v3.checkpoint c
  LEFT JOIN delivery_v3.parked p ON p.tenant = $1 AND p.user_id = $5
  LEFT JOIN LATERAL (
       SELECT d.notification, d.created
         FROM unnest($2::text[]) l (life)
        CROSS JOIN LATERAL (
              SELECT * FROM delivery_v3.deliveries d
               WHERE d.tenant = $1 AND d.user_id = $5 AND d.life = l.life AND d.step = 0 AND d.created < $3
               ORDER BY d.created DESC LIMIT $4) d
        ORDER BY d.created DESC LIMIT $4) n ON true
 ORDER BY n.created DESC";

/// Without those of parked recipients.
const LIST_OF_TENANT: &str = "
SELECT c.position AS checkpoint, false AS parked, n.notification, n.created
  FROM delivery_v3.checkpoint c
  LEFT JOIN LATERAL (
       SELECT d.notification, d.created
         FROM unnest($2::text[]) l (life)
        CROSS JOIN LATERAL (
              SELECT * FROM delivery_v3.deliveries d
               WHERE d.tenant = $1 AND d.life = l.life AND d.step = 0 AND d.created < $3
                 AND (SELECT 1 FROM delivery_v3.parked p
                       WHERE p.tenant = $1 AND p.user_id = d.user_id LIMIT 1) IS NULL
               ORDER BY d.created DESC LIMIT $4) d
        ORDER BY d.created DESC LIMIT $4) n ON true
 ORDER BY n.created DESC";

/// One page of a tenant's notifications.
pub async fn list(pool: &PgPool, tenant: &str, query: &ListQuery) -> Result<Listed, ListError> {
    let lives: Vec<&str> = match query.life {
        Some(life) => vec![life.as_str()],
        None => Life::ALL.map(Life::as_str).to_vec(),
    };
    let sql = if query.user_id.is_some() { LIST_OF_USER } else { LIST_OF_TENANT };
    let statement = sqlx::query_as(sql)
        .bind(tenant)
        .bind(lives)
        .bind(query.before.unwrap_or(i64::MAX))
        .bind(query.limit + 1);
    let statement = if query.user_id.is_some() { statement.bind(&query.user_id) } else { statement };
    let mut rows: Vec<ListRow> = statement.fetch_all(pool).await?;
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    if first.parked {
        return Err(ListError::Parked);
    }
    let position = first.checkpoint;
    let more = rows.len() as i64 > query.limit;
    rows.truncate(query.limit as usize);
    let next = if more { rows.last().and_then(|row| row.created) } else { None };
    Ok(Listed {
        notifications: rows.into_iter().filter_map(|row| row.notification).collect(),
        next,
        position,
    })
}

/// How far the deliveries have followed the log.
pub async fn checkpoint(executor: impl PgExecutor<'_>) -> Result<Checkpoint, sqlx::Error> {
    let (position, generation) =
        sqlx::query_as("SELECT position, generation FROM delivery_v3.checkpoint").fetch_one(executor).await?;
    Ok(Checkpoint { position, generation })
}
