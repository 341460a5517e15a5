//! The past of an inbox: every change of it, as sockets replay them and the stream carries them.

use std::sync::Arc;

use sqlx::{PgExecutor, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::fold::Folded;
use super::item::{Change, Counts, Item, ItemState};
use crate::log::{ReadError, Reader, Recorded};
use crate::read_model::{Checkpoint, UserKey};

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

/// How far the inbox has followed the log, and the generation of what it shows.
pub async fn checkpoint(executor: impl PgExecutor<'_>) -> Result<Checkpoint, sqlx::Error> {
    let (position, generation) =
        sqlx::query_as("SELECT position, generation FROM inbox_v1.checkpoint").fetch_one(executor).await?;
    Ok(Checkpoint { position, generation })
}

/// Whose state, as it was shown before a generation began, no longer holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Invalidated {
    pub generation: i64,
    /// Everybody's, if this moved.
    pub valid_from: i64,
    /// Tenant and user.
    pub users: Vec<UserKey>,
}

/// What generations after `generation` have changed or parked.
pub async fn invalidated_since(pool: &PgPool, generation: i64) -> Result<Invalidated, sqlx::Error> {
    let rows: Vec<(i64, i64, Option<String>, Option<String>)> = sqlx::query_as(
        "SELECT c.generation, c.valid_from, u.tenant, u.user_id
           FROM inbox_v1.checkpoint c
           LEFT JOIN (SELECT tenant, user_id FROM inbox_v1.valid_from WHERE generation > $1
                      UNION SELECT tenant, user_id FROM inbox_v1.parked WHERE generation > $1) u ON true",
    )
    .bind(generation)
    .fetch_all(pool)
    .await?;
    let (generation, valid_from, ..) = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(Invalidated {
        generation: *generation,
        valid_from: *valid_from,
        users: rows.iter().filter_map(|(.., tenant, user)| Some((tenant.clone()?, user.clone()?))).collect(),
    })
}

#[derive(sqlx::FromRow)]
struct ChangeRow {
    tenant: String,
    user_id: String,
    position: i64,
    event: String,
    notification: Uuid,
    listed: Option<i64>,
    category: Option<String>,
    tags: Vec<String>,
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
                    category: row.category.map(Arc::from),
                    tags: row.tags.into(),
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
        "SELECT h.tenant, h.user_id, h.position, h.event, h.notification, i.listed, i.category, i.tags,
                i.content, h.seen_at, h.read_at, h.archived_at, h.snoozed_until, h.unread, h.unseen
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

/// Folded events, and the generation of the changes they made.
#[derive(Debug)]
pub struct FoldedPage {
    pub generation: i64,
    pub folded: Vec<Folded>,
}

/// Events that follow `position` and are folded in already, each with the change it made. Empty where the read model
/// was rewound or swapped meanwhile: ask again.
pub async fn folded_after(
    pool: &PgPool,
    reader: &Reader,
    position: i64,
    limit: i64,
) -> Result<FoldedPage, ReadError> {
    let before = checkpoint(pool).await?;
    let events = reader.after(pool, position, limit.min(before.position - position).max(0)).await?;
    let mut changes = changes_at(pool, &events).await?.into_iter().peekable();
    let after = checkpoint(pool).await?;
    let last = events.last().map_or(position, |event| event.position);
    if after.generation != before.generation || after.position < last {
        return Ok(FoldedPage { generation: after.generation, folded: Vec::new() });
    }
    let folded = events.into_iter().map(|event| {
        let change = changes.next_if(|change| change.item.state.position == event.position);
        Folded { event, change }
    });
    Ok(FoldedPage { generation: after.generation, folded: folded.collect() })
}

/// What each of these events changed, in order.
async fn changes_at(pool: &PgPool, events: &[Arc<Recorded>]) -> Result<Vec<Change>, sqlx::Error> {
    let concerned: Vec<&Arc<Recorded>> = events.iter().filter(|e| e.recipient.is_some()).collect();
    let rows: Vec<ChangeRow> = sqlx::query_as(
        "SELECT h.tenant, h.user_id, h.position, h.event, h.notification, i.listed, i.category, i.tags,
                i.content, h.seen_at, h.read_at, h.archived_at, h.snoozed_until, h.unread, h.unseen
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
    Ok(rows.into_iter().map(Change::from).collect())
}
