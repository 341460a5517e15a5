//! Which items a bulk mark is about, found page by page and oldest first.

use sqlx::PgPool;
use uuid::Uuid;

use super::Shelf;

/// What is done to every item of an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkKind {
    /// Archived and snoozed items are read as well.
    Read,
    /// Archived and snoozed items are seen as well.
    Seen,
    /// Snoozed items are archived as well.
    Archive,
}

impl BulkKind {
    /// The shelves whose items it changes; see [`Shelf`].
    fn shelves(self) -> &'static [Shelf] {
        match self {
            Self::Read => &[0, 1, 3, 4, 6, 7],
            Self::Seen => &[0, 3, 6],
            Self::Archive => &[0, 1, 2, 6, 7, 8],
        }
    }
}

/// At most `limit` items listed in (`after`, `up_to`] that the mark would change, in order, each with where it was
/// listed. What is scheduled, cancelled or expired is in no inbox.
pub async fn to_mark(
    pool: &PgPool,
    (tenant, user_id): (&str, &str),
    kind: BulkKind,
    category: Option<&str>,
    (after, up_to): (i64, i64),
    limit: i64,
) -> Result<Vec<(Uuid, i64)>, sqlx::Error> {
    let sql = if category.is_some() { TO_MARK_OF_CATEGORY } else { TO_MARK };
    let statement = sqlx::query_as(sql)
        .bind(tenant)
        .bind(user_id)
        .bind(kind.shelves())
        .bind(after)
        .bind(up_to)
        .bind(limit);
    let statement = if category.is_some() { statement.bind(category) } else { statement };
    statement.fetch_all(pool).await
}

// Read shelf by shelf, each by its own index range, so that what the mark would not change costs nothing.

const TO_MARK: &str = "
SELECT i.notification, i.listed
  FROM unnest($3::smallint[]) s (shelf)
 CROSS JOIN LATERAL (
       SELECT * FROM inbox_v1.items i
        WHERE i.tenant = $1 AND i.user_id = $2 AND i.shelf = s.shelf AND i.listed > $4 AND i.listed <= $5
        ORDER BY i.listed LIMIT $6) i
 ORDER BY i.listed LIMIT $6";

const TO_MARK_OF_CATEGORY: &str = "
SELECT i.notification, i.listed
  FROM unnest($3::smallint[]) s (shelf)
 CROSS JOIN LATERAL (
       SELECT * FROM inbox_v1.items i
        WHERE i.tenant = $1 AND i.user_id = $2 AND i.category = $7 AND i.shelf = s.shelf
          AND i.listed > $4 AND i.listed <= $5
        ORDER BY i.listed LIMIT $6) i
 ORDER BY i.listed LIMIT $6";
