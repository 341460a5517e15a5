//! Who is subscribed to what. A query is one statement, so that page and checkpoint belong together, whatever is swapped
//! or folded meanwhile.

use sqlx::PgExecutor;

use crate::read_model::Checkpoint;

#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// An event of this user could not be applied; see [`crate::parking`].
    #[error("the user's subscriptions are held back at an event that cannot be applied")]
    Parked,
}

/// Some names in their order (bytes of UTF-8), and the position they hold at.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    pub names: Vec<String>,
    pub position: i64,
}

/// Users of one topic: at most `limit` of those beyond `after`.
#[derive(Clone, Copy, Debug)]
pub struct Users<'a> {
    pub tenant: &'a str,
    pub topic: &'a str,
    /// Empty for the first page.
    pub after: &'a str,
    /// Who was subscribed there; without it, who is. Meaningful where the page's position has come so far.
    pub at: Option<i64>,
    pub limit: i64,
}

// No parked user is left out: until its event, what stands of it is true, and a broadcast that forgot somebody would not
// come back.
const SUBSCRIBED: &str = "
SELECT c.position, s.user_id
  FROM subscribers_v1.checkpoint c
  LEFT JOIN LATERAL (
       SELECT s.user_id FROM subscribers_v1.subscribers s
        WHERE s.tenant = $1 AND s.topic = $2 AND s.user_id > $3
          AND s.since <= coalesce($4, c.position) AND (s.until IS NULL OR s.until > coalesce($4, c.position))
        ORDER BY s.user_id LIMIT $5) s ON true
 ORDER BY s.user_id";

pub async fn subscribed(executor: impl PgExecutor<'_>, users: Users<'_>) -> Result<Page, sqlx::Error> {
    let rows: Vec<(i64, Option<String>)> = sqlx::query_as(SUBSCRIBED)
        .bind(users.tenant)
        .bind(users.topic)
        .bind(users.after)
        .bind(users.at)
        .bind(users.limit)
        .fetch_all(executor)
        .await?;
    let position = rows.first().ok_or(sqlx::Error::RowNotFound)?.0;
    Ok(Page { names: rows.into_iter().filter_map(|(_, user)| user).collect(), position })
}

const TOPICS: &str = "
SELECT c.position, p.user_id IS NOT NULL AS parked, s.topic
  FROM subscribers_v1.checkpoint c
  LEFT JOIN subscribers_v1.parked p ON p.tenant = $1 AND p.user_id = $2
  LEFT JOIN LATERAL (
       SELECT s.topic FROM subscribers_v1.subscribers s
        WHERE s.tenant = $1 AND s.user_id = $2 AND s.topic > $3 AND s.until IS NULL
        ORDER BY s.topic LIMIT $4) s ON true
 ORDER BY s.topic";

/// At most `limit` topics that a user is subscribed to, beyond `after`.
pub async fn topics_of(
    executor: impl PgExecutor<'_>,
    (tenant, user): (&str, &str),
    after: &str,
    limit: i64,
) -> Result<Page, ListError> {
    let rows: Vec<(i64, bool, Option<String>)> =
        sqlx::query_as(TOPICS).bind(tenant).bind(user).bind(after).bind(limit).fetch_all(executor).await?;
    let (position, parked, _) = *rows.first().ok_or(sqlx::Error::RowNotFound)?;
    if parked {
        return Err(ListError::Parked);
    }
    Ok(Page { names: rows.into_iter().filter_map(|(.., topic)| topic).collect(), position })
}

/// How far the subscribers have followed the log.
pub async fn checkpoint(executor: impl PgExecutor<'_>) -> Result<Checkpoint, sqlx::Error> {
    let (position, generation) = sqlx::query_as("SELECT position, generation FROM subscribers_v1.checkpoint")
        .fetch_one(executor)
        .await?;
    Ok(Checkpoint { position, generation })
}
