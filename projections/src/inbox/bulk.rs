//! Which items a bulk mark is about, found page by page and oldest first.

use sqlx::PgPool;
use uuid::Uuid;

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
    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Seen => "seen",
            Self::Archive => "archive",
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
    sqlx::query_as(
        "SELECT notification, listed FROM inbox_v1.items
          WHERE tenant = $1 AND user_id = $2 AND ended IS NULL AND listed > $3 AND listed <= $4
            AND CASE $5::text
                WHEN 'read' THEN read_at IS NULL
                WHEN 'seen' THEN seen_at IS NULL
                ELSE archived_at IS NULL END
            AND ($6::text IS NULL OR content ->> 'category' = $6)
          ORDER BY listed LIMIT $7",
    )
    .bind(tenant)
    .bind(user_id)
    .bind(after)
    .bind(up_to)
    .bind(kind.as_str())
    .bind(category)
    .bind(limit)
    .fetch_all(pool)
    .await
}
