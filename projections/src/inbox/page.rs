//! What readers of an inbox are shown: pages and counts. A query is one statement, so that items, counts and
//! checkpoint belong together, whatever is swapped or folded meanwhile.

use std::sync::Arc;

use sqlx::PgPool;
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::QueryAs;
use time::OffsetDateTime;
use uuid::Uuid;

use super::item::{Counts, Item, ItemState, Shelf};

/// Which items a page shows; every one of them is visible and neither cancelled nor expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// Neither archived nor snoozed.
    #[default]
    Active,
    Unread,
    Unseen,
    Read,
    Archived,
    Snoozed,
    All,
}

impl Shown {
    /// The shelves that make up the list; see [`Shelf`].
    pub fn shelves(self) -> &'static [Shelf] {
        match self {
            Self::Active => &[0, 1, 2],
            Self::Unread => &[0, 1],
            Self::Unseen => &[0],
            Self::Read => &[2],
            Self::Archived => &[3, 4, 5],
            Self::Snoozed => &[6, 7, 8],
            Self::All => &[0, 1, 2, 3, 4, 5, 6, 7, 8],
        }
    }
}

/// A page that is asked for: newest first, at most `limit` items listed below `before`.
#[derive(Clone, Debug, Default)]
pub struct PageQuery {
    pub shown: Shown,
    pub category: Option<String>,
    pub tag: Option<String>,
    pub before: Option<i64>,
    pub limit: i64,
}

/// One page, newest first, with the counts and the position all of it holds at.
#[derive(Debug)]
pub struct Page {
    pub items: Vec<Item>,
    /// Pass as `before` for the page after this one.
    pub next: Option<i64>,
    pub counts: Counts,
    pub position: i64,
}

/// Where a user's inbox stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub position: i64,
    pub counts: Counts,
    /// What was shown below may have been wrong: a client that stands there starts over.
    pub valid_from: i64,
    pub generation: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// An event of this user could not be applied; see [`crate::parking`].
    #[error("the inbox is held back at an event that cannot be applied")]
    Parked,
}

#[derive(sqlx::FromRow)]
struct PageRow {
    checkpoint: i64,
    parked: bool,
    unread: i64,
    unseen: i64,
    listed: Option<i64>,
    notification: Option<Uuid>,
    position: Option<i64>,
    category: Option<String>,
    tags: Option<Vec<String>>,
    content: Option<String>,
    seen_at: Option<OffsetDateTime>,
    read_at: Option<OffsetDateTime>,
    archived_at: Option<OffsetDateTime>,
    snoozed_until: Option<OffsetDateTime>,
}

// Each shelf is read from where the page begins, by its own index range; the merge is sorted and cut.

const PAGE: &str = "
SELECT c.position AS checkpoint, p.user_id IS NOT NULL AS parked,
       coalesce(k.unread, 0) AS unread, coalesce(k.unseen, 0) AS unseen, i.*
  FROM inbox_v1.checkpoint c
  LEFT JOIN inbox_v1.parked p ON p.tenant = $1 AND p.user_id = $2
  LEFT JOIN inbox_v1.counters k ON k.tenant = $1 AND k.user_id = $2
  LEFT JOIN LATERAL (
       SELECT i.listed, i.notification, i.position, i.category, i.tags, i.content,
              i.seen_at, i.read_at, i.archived_at, i.snoozed_until
         FROM unnest($3::smallint[]) s (shelf)
        CROSS JOIN LATERAL (
              SELECT * FROM inbox_v1.items i
               WHERE i.tenant = $1 AND i.user_id = $2 AND i.shelf = s.shelf AND i.listed < $4
               ORDER BY i.listed DESC LIMIT $5) i
        ORDER BY i.listed DESC LIMIT $5) i ON true
 ORDER BY i.listed DESC";

const PAGE_OF_CATEGORY: &str = "
SELECT c.position AS checkpoint, p.user_id IS NOT NULL AS parked,
       coalesce(k.unread, 0) AS unread, coalesce(k.unseen, 0) AS unseen, i.*
  FROM inbox_v1.checkpoint c
  LEFT JOIN inbox_v1.parked p ON p.tenant = $1 AND p.user_id = $2
  LEFT JOIN inbox_v1.counters k ON k.tenant = $1 AND k.user_id = $2
  LEFT JOIN LATERAL (
       SELECT i.listed, i.notification, i.position, i.category, i.tags, i.content,
              i.seen_at, i.read_at, i.archived_at, i.snoozed_until
         FROM unnest($3::smallint[]) s (shelf)
        CROSS JOIN LATERAL (
              SELECT * FROM inbox_v1.items i
               WHERE i.tenant = $1 AND i.user_id = $2 AND i.category = $6 AND i.shelf = s.shelf
                 AND i.listed < $4
               ORDER BY i.listed DESC LIMIT $5) i
        ORDER BY i.listed DESC LIMIT $5) i ON true
 ORDER BY i.listed DESC";

/// With a category as well, items of the tag are passed over until enough are of both.
const PAGE_OF_TAG: &str = "
SELECT c.position AS checkpoint, p.user_id IS NOT NULL AS parked,
       coalesce(k.unread, 0) AS unread, coalesce(k.unseen, 0) AS unseen, i.*
  FROM inbox_v1.checkpoint c
  LEFT JOIN inbox_v1.parked p ON p.tenant = $1 AND p.user_id = $2
  LEFT JOIN inbox_v1.counters k ON k.tenant = $1 AND k.user_id = $2
  LEFT JOIN LATERAL (
       SELECT i.listed, i.notification, i.position, i.category, i.tags, i.content,
              i.seen_at, i.read_at, i.archived_at, i.snoozed_until
         FROM unnest($3::smallint[]) s (shelf)
        CROSS JOIN LATERAL (
              SELECT i.* FROM inbox_v1.item_tags t
                JOIN LATERAL (SELECT * FROM inbox_v1.items i
                               WHERE i.tenant = $1 AND i.user_id = $2 AND i.notification = t.notification
                                 AND ($6::text IS NULL OR i.category = $6) LIMIT 1) i ON true
               WHERE t.tenant = $1 AND t.user_id = $2 AND t.tag = $7 AND t.shelf = s.shelf AND t.listed < $4
               ORDER BY t.listed DESC LIMIT $5) i
        ORDER BY i.listed DESC LIMIT $5) i ON true
 ORDER BY i.listed DESC";

/// One page of one user's inbox.
pub async fn page(
    pool: &PgPool,
    (tenant, user_id): (&str, &str),
    query: &PageQuery,
) -> Result<Page, QueryError> {
    let sql = match (&query.category, &query.tag) {
        (_, Some(_)) => PAGE_OF_TAG,
        (Some(_), None) => PAGE_OF_CATEGORY,
        (None, None) => PAGE,
    };
    let statement: QueryAs<'_, Postgres, PageRow, PgArguments> = sqlx::query_as(sql);
    let mut statement = statement
        .bind(tenant)
        .bind(user_id)
        .bind(query.shown.shelves())
        .bind(query.before.unwrap_or(i64::MAX))
        .bind(query.limit + 1);
    if query.category.is_some() || query.tag.is_some() {
        statement = statement.bind(&query.category);
    }
    if query.tag.is_some() {
        statement = statement.bind(&query.tag);
    }
    let mut rows = statement.fetch_all(pool).await?;
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    if first.parked {
        return Err(QueryError::Parked);
    }
    let (position, counts) = (first.checkpoint, Counts { unread: first.unread, unseen: first.unseen });
    let more = rows.len() as i64 > query.limit;
    rows.truncate(query.limit as usize);
    let next = if more { rows.last().and_then(|row| row.listed) } else { None };
    Ok(Page { items: rows.into_iter().filter_map(PageRow::into_item).collect(), next, counts, position })
}

impl PageRow {
    /// `None` for the row that only carries the counts of an empty page.
    fn into_item(self) -> Option<Item> {
        Some(Item {
            notification: self.notification?,
            state: ItemState {
                listed: self.listed,
                position: self.position?,
                category: self.category.map(Arc::from),
                tags: self.tags?.into(),
                content: Arc::from(self.content?),
                seen_at: self.seen_at,
                read_at: self.read_at,
                archived_at: self.archived_at,
                snoozed_until: self.snoozed_until,
                ended: None,
            },
        })
    }
}

/// The counts of one user and the position they hold at.
pub async fn standing(pool: &PgPool, tenant: &str, user_id: &str) -> Result<Standing, QueryError> {
    let (position, parked, valid_from, generation, unread, unseen): (i64, bool, i64, i64, i64, i64) =
        sqlx::query_as(
            "SELECT c.position, p.user_id IS NOT NULL, greatest(c.valid_from, v.position), c.generation,
                coalesce(k.unread, 0), coalesce(k.unseen, 0)
           FROM inbox_v1.checkpoint c
           LEFT JOIN inbox_v1.parked p ON p.tenant = $1 AND p.user_id = $2
           LEFT JOIN inbox_v1.valid_from v ON v.tenant = $1 AND v.user_id = $2
           LEFT JOIN inbox_v1.counters k ON k.tenant = $1 AND k.user_id = $2",
        )
        .bind(tenant)
        .bind(user_id)
        .fetch_one(pool)
        .await?;
    if parked {
        return Err(QueryError::Parked);
    }
    Ok(Standing { position, counts: Counts { unread, unseen }, valid_from, generation })
}
