//! Stores a batch: loads the rows it touches, folds, and writes rows and checkpoint in one statement.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::fold::{Folded, ItemKey, Rows, altered_item};
use super::item::{Counts, Ended, ItemState};
use super::store::{column, store};
use crate::log::Recorded;
use crate::read_model::{Batch, ReadModel, UserKey};

/// The fold of the inbox, with the counters it wrote last: they hold while nobody else has moved the checkpoint.
pub struct Inbox {
    counters: LruCache<UserKey, Counts>,
}

impl Default for Inbox {
    fn default() -> Self {
        const USERS_MAX: NonZeroUsize = NonZeroUsize::new(20_000).expect("not zero");
        Self { counters: LruCache::new(USERS_MAX) }
    }
}

impl ReadModel for Inbox {
    const NAME: &'static str = "inbox";
    const VERSION: u32 = 1;
    type Output = Vec<Folded>;

    async fn apply(
        &mut self,
        connection: &mut PgConnection,
        batch: Batch<'_>,
    ) -> Result<Vec<Folded>, sqlx::Error> {
        let mut rows = self.load(connection, &batch.events).await?;
        let mut folded = Vec::with_capacity(batch.events.len());
        for event in batch.events {
            let change = if batch.parked.holds(&event) {
                None
            } else {
                rows.fold(&event).unwrap_or_else(|error| {
                    batch.parked.park(&event, &error);
                    None
                })
            };
            folded.push(Folded { event, change });
        }
        store(connection, &rows, &folded, batch.checkpoint).await?;
        for (user, (counts, _)) in rows.counters {
            self.counters.put(user, counts);
        }
        Ok(folded)
    }

    async fn erase(connection: &mut PgConnection, (tenant, user_id): &UserKey) -> Result<(), sqlx::Error> {
        sqlx::query(
            "WITH items AS (DELETE FROM items WHERE tenant = $1 AND user_id = $2),
                  tags AS (DELETE FROM item_tags WHERE tenant = $1 AND user_id = $2),
                  changes AS (DELETE FROM changes WHERE tenant = $1 AND user_id = $2)
             DELETE FROM counters WHERE tenant = $1 AND user_id = $2",
        )
        .bind(tenant)
        .bind(user_id)
        .execute(connection)
        .await
        .map(drop)
    }
}

impl Inbox {
    async fn load(
        &mut self,
        connection: &mut PgConnection,
        events: &[Arc<Recorded>],
    ) -> Result<Rows, sqlx::Error> {
        let mut rows = Rows::default();
        let users: HashSet<UserKey> =
            events.iter().filter_map(|e| Some((e.tenant.clone(), e.recipient.clone()?))).collect();
        let mut unknown = Vec::new();
        for user in users {
            match self.counters.get(&user) {
                Some(counts) => _ = rows.counters.insert(user, (*counts, None)),
                None => unknown.push(user),
            }
        }
        if !unknown.is_empty() {
            let counters = load_counters(connection, &unknown).await?;
            rows.counters.extend(
                counters
                    .into_iter()
                    .map(|(t, u, unread, unseen)| ((t, u), (Counts { unread, unseen }, None))),
            );
        }
        let items: HashSet<ItemKey> = events.iter().filter_map(|e| altered_item(e)).collect();
        if !items.is_empty() {
            rows.items = load_items(connection, &items).await?.into_iter().map(ItemRow::into_entry).collect();
        }
        Ok(rows)
    }
}

async fn load_counters(
    connection: &mut PgConnection,
    users: &[UserKey],
) -> Result<Vec<(String, String, i64, i64)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT k.tenant, k.user_id, k.unread, k.unseen
           FROM unnest($1::text[], $2::text[]) w (tenant, user_id)
           JOIN LATERAL (SELECT * FROM counters k
                          WHERE k.tenant = w.tenant AND k.user_id = w.user_id LIMIT 1) k ON true",
    )
    .bind(column(users, |user| user.0.as_str()))
    .bind(column(users, |user| user.1.as_str()))
    .fetch_all(connection)
    .await
}

#[derive(sqlx::FromRow)]
struct ItemRow {
    tenant: String,
    user_id: String,
    notification: Uuid,
    listed: Option<i64>,
    position: i64,
    category: Option<String>,
    tags: Vec<String>,
    content: String,
    seen_at: Option<OffsetDateTime>,
    read_at: Option<OffsetDateTime>,
    archived_at: Option<OffsetDateTime>,
    snoozed_until: Option<OffsetDateTime>,
    ended: Option<String>,
}

impl ItemRow {
    fn into_entry(self) -> (ItemKey, ItemState) {
        let state = ItemState {
            listed: self.listed,
            position: self.position,
            category: self.category.map(Arc::from),
            tags: self.tags.into(),
            content: Arc::from(self.content),
            seen_at: self.seen_at,
            read_at: self.read_at,
            archived_at: self.archived_at,
            snoozed_until: self.snoozed_until,
            ended: self.ended.as_deref().map(Ended::parse),
        };
        ((self.tenant, self.user_id, self.notification), state)
    }
}

async fn load_items(
    connection: &mut PgConnection,
    keys: &HashSet<ItemKey>,
) -> Result<Vec<ItemRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT i.tenant, i.user_id, i.notification, i.listed, i.position, i.category, i.tags, i.content,
                i.seen_at, i.read_at, i.archived_at, i.snoozed_until, i.ended
           FROM unnest($1::text[], $2::text[], $3::uuid[]) w (tenant, user_id, notification)
           JOIN LATERAL (SELECT * FROM items i
                          WHERE i.tenant = w.tenant AND i.user_id = w.user_id
                            AND i.notification = w.notification LIMIT 1) i ON true",
    )
    .bind(keys.iter().map(|k| k.0.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|k| k.1.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|k| k.2).collect::<Vec<_>>())
    .fetch_all(connection)
    .await
}
