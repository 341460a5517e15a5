//! The inbox: what each user has, how many of it are unread, and every change of it.
//!
//! `fold` decides in memory, `write` stores a batch, this file answers queries. A query is one statement, so
//! that items, counts and checkpoint belong together.

mod bulk;
mod fold;
mod item;
mod replay;
#[cfg(test)]
mod tests;
mod write;

pub use bulk::{BulkKind, to_mark};
pub use fold::{FoldError, Folded};
pub use item::{Change, Counts, Fixed, Item, ItemState, rfc3339};
pub use replay::{ReplayError, Replayed, inbox_at};
pub use write::{ApplyError, KnownCounters, apply, begin};

use std::sync::Arc;

use sqlx::{PgExecutor, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::log::{ReadError, Reader, Recorded};

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
}

#[derive(sqlx::FromRow)]
struct PageRow {
    checkpoint: i64,
    unread: i64,
    unseen: i64,
    listed: Option<i64>,
    notification: Option<Uuid>,
    position: Option<i64>,
    content: Option<String>,
    seen_at: Option<OffsetDateTime>,
    read_at: Option<OffsetDateTime>,
    archived_at: Option<OffsetDateTime>,
    snoozed_until: Option<OffsetDateTime>,
}

/// At most `limit` items listed below `before` (all, without one).
pub async fn page(
    pool: &PgPool,
    (tenant, user_id): (&str, &str),
    shown: Shown,
    before: Option<i64>,
    limit: i64,
) -> Result<Page, sqlx::Error> {
    let mut rows: Vec<PageRow> = sqlx::query_as(
        "SELECT c.position AS checkpoint, coalesce(k.unread, 0) AS unread, coalesce(k.unseen, 0) AS unseen,
                i.listed, i.notification, i.position, i.content::text AS content,
                i.seen_at, i.read_at, i.archived_at, i.snoozed_until
           FROM inbox_v1.checkpoint c
           LEFT JOIN inbox_v1.counters k ON k.tenant = $1 AND k.user_id = $2
           LEFT JOIN LATERAL (
                SELECT * FROM inbox_v1.items i
                 WHERE i.tenant = $1 AND i.user_id = $2 AND i.ended IS NULL AND i.listed < $3
                   AND CASE $4::text
                       WHEN 'active' THEN archived_at IS NULL AND snoozed_until IS NULL
                       WHEN 'unread' THEN archived_at IS NULL AND snoozed_until IS NULL AND read_at IS NULL
                       WHEN 'unseen' THEN archived_at IS NULL AND snoozed_until IS NULL AND seen_at IS NULL
                       WHEN 'read' THEN archived_at IS NULL AND snoozed_until IS NULL AND read_at IS NOT NULL
                       WHEN 'archived' THEN archived_at IS NOT NULL
                       WHEN 'snoozed' THEN archived_at IS NULL AND snoozed_until IS NOT NULL
                       ELSE true END
                 ORDER BY i.listed DESC LIMIT $5) i ON true
          ORDER BY i.listed DESC",
    )
    .bind(tenant)
    .bind(user_id)
    .bind(before.unwrap_or(i64::MAX))
    .bind(shown.as_str())
    .bind(limit + 1)
    .fetch_all(pool)
    .await?;
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let (position, counts) = (first.checkpoint, Counts { unread: first.unread, unseen: first.unseen });
    let more = rows.len() as i64 > limit;
    rows.truncate(limit as usize);
    let next = if more { rows.last().and_then(|row| row.listed) } else { None };
    Ok(Page { items: rows.into_iter().filter_map(PageRow::into_item).collect(), next, counts, position })
}

impl Shown {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Unread => "unread",
            Self::Unseen => "unseen",
            Self::Read => "read",
            Self::Archived => "archived",
            Self::Snoozed => "snoozed",
            Self::All => "all",
        }
    }
}

impl PageRow {
    /// `None` for the row that only carries the counts of an empty page.
    fn into_item(self) -> Option<Item> {
        Some(Item {
            notification: self.notification?,
            state: ItemState {
                listed: self.listed,
                position: self.position?,
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
pub async fn standing(pool: &PgPool, tenant: &str, user_id: &str) -> Result<Standing, sqlx::Error> {
    let (position, unread, unseen) = sqlx::query_as(
        "SELECT c.position, coalesce(k.unread, 0), coalesce(k.unseen, 0)
           FROM inbox_v1.checkpoint c
           LEFT JOIN inbox_v1.counters k ON k.tenant = $1 AND k.user_id = $2",
    )
    .bind(tenant)
    .bind(user_id)
    .fetch_one(pool)
    .await?;
    Ok(Standing { position, counts: Counts { unread, unseen } })
}

/// The counts as they were at `position`, which the checkpoint has reached.
pub async fn counts_at(
    pool: &PgPool,
    tenant: &str,
    user_id: &str,
    position: i64,
) -> Result<Counts, sqlx::Error> {
    let row: Option<(i64, i64)> = sqlx::query_as(
        "SELECT unread, unseen FROM inbox_v1.changes
          WHERE tenant = $1 AND user_id = $2 AND position <= $3 ORDER BY position DESC LIMIT 1",
    )
    .bind(tenant)
    .bind(user_id)
    .bind(position)
    .fetch_optional(pool)
    .await?;
    Ok(row.map_or_else(Counts::default, |(unread, unseen)| Counts { unread, unseen }))
}

/// How far the inbox has followed the log.
pub async fn checkpoint(executor: impl PgExecutor<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT position FROM inbox_v1.checkpoint").fetch_one(executor).await
}

#[derive(sqlx::FromRow)]
struct ChangeRow {
    tenant: String,
    user_id: String,
    position: i64,
    event: String,
    notification: Uuid,
    listed: Option<i64>,
    content: String,
    seen_at: Option<OffsetDateTime>,
    read_at: Option<OffsetDateTime>,
    archived_at: Option<OffsetDateTime>,
    snoozed_until: Option<OffsetDateTime>,
    unread: i64,
    unseen: i64,
}

impl From<ChangeRow> for Change {
    fn from(row: ChangeRow) -> Self {
        Self {
            tenant: row.tenant,
            user_id: row.user_id,
            event: row.event,
            item: Item {
                notification: row.notification,
                state: ItemState {
                    listed: row.listed,
                    position: row.position,
                    content: Arc::from(row.content),
                    seen_at: row.seen_at,
                    read_at: row.read_at,
                    archived_at: row.archived_at,
                    snoozed_until: row.snoozed_until,
                    ended: None,
                },
            },
            counts: Counts { unread: row.unread, unseen: row.unseen },
        }
    }
}

/// At most `limit` changes of one user's inbox in (`after`, `up_to`], in order.
pub async fn changes_of(
    pool: &PgPool,
    (tenant, user_id): (&str, &str),
    (after, up_to): (i64, i64),
    limit: i64,
) -> Result<Vec<Change>, sqlx::Error> {
    let rows: Vec<ChangeRow> = sqlx::query_as(
        "SELECT h.tenant, h.user_id, h.position, h.event, h.notification, i.listed, i.content::text AS content,
                h.seen_at, h.read_at, h.archived_at, h.snoozed_until, h.unread, h.unseen
           FROM inbox_v1.changes h
           JOIN inbox_v1.items i USING (tenant, user_id, notification)
          WHERE h.tenant = $1 AND h.user_id = $2 AND h.position > $3 AND h.position <= $4
          ORDER BY h.position LIMIT $5",
    )
    .bind(tenant)
    .bind(user_id)
    .bind(after)
    .bind(up_to)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Change::from).collect())
}

/// Events that follow `position` and are folded in already, each with the change it made.
pub async fn folded_after(
    pool: &PgPool,
    reader: &Reader,
    position: i64,
    limit: i64,
) -> Result<Vec<Folded>, ReadError> {
    let reached = checkpoint(pool).await?;
    let events = reader.after(pool, position, limit.min(reached - position).max(0)).await?;
    let concerned: Vec<&Arc<Recorded>> = events.iter().filter(|e| e.recipient.is_some()).collect();
    let rows: Vec<ChangeRow> = sqlx::query_as(
        "SELECT h.tenant, h.user_id, h.position, h.event, h.notification, i.listed, i.content::text AS content,
                h.seen_at, h.read_at, h.archived_at, h.snoozed_until, h.unread, h.unseen
           FROM unnest($1::text[], $2::text[], $3::bigint[]) w (tenant, user_id, position)
           JOIN LATERAL (SELECT * FROM inbox_v1.changes h
                          WHERE h.tenant = w.tenant AND h.user_id = w.user_id AND h.position = w.position
                          LIMIT 1) h ON true
           JOIN LATERAL (SELECT * FROM inbox_v1.items i
                          WHERE i.tenant = h.tenant AND i.user_id = h.user_id
                            AND i.notification = h.notification LIMIT 1) i ON true
          ORDER BY h.position",
    )
    .bind(concerned.iter().map(|e| e.tenant.as_str()).collect::<Vec<_>>())
    .bind(concerned.iter().filter_map(|e| e.recipient.as_deref()).collect::<Vec<_>>())
    .bind(concerned.iter().map(|e| e.position).collect::<Vec<_>>())
    .fetch_all(pool)
    .await?;
    let mut changes = rows.into_iter().map(Change::from).peekable();
    Ok(events
        .into_iter()
        .map(|event| {
            let change = changes.next_if(|change| change.item.state.position == event.position);
            Folded { event, change }
        })
        .collect())
}
