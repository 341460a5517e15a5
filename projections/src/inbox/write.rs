//! Stores a batch in one transaction: loads the rows it touches, folds, and writes rows and checkpoint together.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use sqlx::{Executor, PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use super::fold::{FoldError, Folded, ItemKey, Rows, UserKey, altered_item};
use super::item::{Change, Counts, Ended, ItemState};
use crate::log::Recorded;

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Fold(#[from] FoldError),
}

/// Counters as of a checkpoint, from the batches this projector wrote itself. They hold while nobody else has
/// moved the checkpoint, which its lock proves.
pub struct KnownCounters {
    position: i64,
    by_user: LruCache<UserKey, Counts>,
}

impl Default for KnownCounters {
    fn default() -> Self {
        const USERS_MAX: NonZeroUsize = NonZeroUsize::new(20_000).expect("not zero");
        Self { position: -1, by_user: LruCache::new(USERS_MAX) }
    }
}

impl KnownCounters {
    /// Forgets everything unless the checkpoint is where the last batch left it.
    fn require(&mut self, position: i64) {
        if self.position != position {
            self.by_user.clear();
        }
    }
}

/// Begins a transaction and locks the checkpoint until it ends; `None` while another node holds it. One round
/// trip.
pub async fn begin(connection: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    let begin = "BEGIN; SELECT position FROM inbox_v1.checkpoint FOR UPDATE SKIP LOCKED";
    let rows = connection.fetch_all(begin).await?;
    rows.first().map(|row| row.try_get(0)).transpose()
}

/// Folds `events`, which follow the locked checkpoint without a hole, moves the checkpoint to the last, and
/// commits.
pub async fn apply(
    connection: &mut PgConnection,
    known: &mut KnownCounters,
    events: Vec<Arc<Recorded>>,
) -> Result<Vec<Folded>, ApplyError> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(Vec::new()) };
    let (before, last) = (first.position - 1, last.position);
    known.require(before);
    // Until the commit is known to have gone through, nothing is known.
    known.position = -1;
    let mut rows = load(connection, known, &events).await?;
    let mut folded = Vec::with_capacity(events.len());
    for event in events {
        let change = rows.fold(&event)?;
        folded.push(Folded { event, change });
    }
    store(connection, &rows, &folded, last).await?;
    connection.execute("COMMIT").await?;
    for (user, counts) in rows.counters {
        known.by_user.put(user, counts);
    }
    known.position = last;
    Ok(folded)
}

async fn load(
    connection: &mut PgConnection,
    known: &mut KnownCounters,
    events: &[Arc<Recorded>],
) -> Result<Rows, sqlx::Error> {
    let mut rows = Rows::default();
    let users: HashSet<UserKey> =
        events.iter().filter_map(|e| Some((e.tenant.clone(), e.recipient.clone()?))).collect();
    let mut unknown = Vec::new();
    for user in users {
        match known.by_user.get(&user) {
            Some(counts) => _ = rows.counters.insert(user, *counts),
            None => unknown.push(user),
        }
    }
    if !unknown.is_empty() {
        let counters = load_counters(connection, &unknown).await?;
        rows.counters
            .extend(counters.into_iter().map(|(t, u, unread, unseen)| ((t, u), Counts { unread, unseen })));
    }
    let items: HashSet<ItemKey> = events.iter().filter_map(|e| altered_item(e)).collect();
    if !items.is_empty() {
        rows.items = load_items(connection, &items).await?.into_iter().map(ItemRow::into_entry).collect();
    }
    Ok(rows)
}

async fn load_counters(
    connection: &mut PgConnection,
    users: &[UserKey],
) -> Result<Vec<(String, String, i64, i64)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT k.tenant, k.user_id, k.unread, k.unseen
           FROM unnest($1::text[], $2::text[]) w (tenant, user_id)
           JOIN inbox_v1.counters k USING (tenant, user_id)",
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
        "SELECT i.tenant, i.user_id, i.notification, i.listed, i.position, i.content::text AS content,
                i.seen_at, i.read_at, i.archived_at, i.snoozed_until, i.ended
           FROM unnest($1::text[], $2::text[], $3::uuid[]) w (tenant, user_id, notification)
           JOIN inbox_v1.items i USING (tenant, user_id, notification)",
    )
    .bind(keys.iter().map(|k| k.0.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|k| k.1.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|k| k.2).collect::<Vec<_>>())
    .fetch_all(connection)
    .await
}

/// One statement for the whole batch: new items, changed items, changes, counters, checkpoint.
const STORE: &str = "
WITH made AS (
    INSERT INTO inbox_v1.items (tenant, user_id, notification, listed, position, content,
                                seen_at, read_at, archived_at, snoozed_until, ended)
    SELECT tenant, user_id, notification, listed, position, content::json,
           seen_at, read_at, archived_at, snoozed_until, ended
      FROM unnest($1::text[], $2::text[], $3::uuid[], $4::bigint[], $5::bigint[], $6::text[],
                  $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::text[])
           m (tenant, user_id, notification, listed, position, content,
              seen_at, read_at, archived_at, snoozed_until, ended)
), moved AS (
    UPDATE inbox_v1.items i
       SET listed = m.listed, position = m.position, seen_at = m.seen_at, read_at = m.read_at,
           archived_at = m.archived_at, snoozed_until = m.snoozed_until, ended = m.ended
      FROM unnest($12::text[], $13::text[], $14::uuid[], $15::bigint[], $16::bigint[],
                  $17::timestamptz[], $18::timestamptz[], $19::timestamptz[], $20::timestamptz[], $21::text[])
           m (tenant, user_id, notification, listed, position,
              seen_at, read_at, archived_at, snoozed_until, ended)
     WHERE (i.tenant, i.user_id, i.notification) = (m.tenant, m.user_id, m.notification)
), changed AS (
    INSERT INTO inbox_v1.changes (tenant, user_id, position, event, notification,
                                  seen_at, read_at, archived_at, snoozed_until, unread, unseen)
    SELECT * FROM unnest($22::text[], $23::text[], $24::bigint[], $25::text[], $26::uuid[],
                         $27::timestamptz[], $28::timestamptz[], $29::timestamptz[], $30::timestamptz[],
                         $31::bigint[], $32::bigint[])
), counted AS (
    INSERT INTO inbox_v1.counters (tenant, user_id, unread, unseen)
    SELECT * FROM unnest($33::text[], $34::text[], $35::bigint[], $36::bigint[])
    ON CONFLICT (tenant, user_id) DO UPDATE SET unread = excluded.unread, unseen = excluded.unseen
)
UPDATE inbox_v1.checkpoint SET position = $37";

async fn store(
    connection: &mut PgConnection,
    rows: &Rows,
    folded: &[Folded],
    last: i64,
) -> Result<(), sqlx::Error> {
    let with_state = |keys: &HashSet<ItemKey>| -> Vec<(ItemKey, ItemState)> {
        keys.iter().filter_map(|key| Some((key.clone(), rows.items.get(key)?.clone()))).collect()
    };
    let (made, moved) = (with_state(&rows.made), with_state(&rows.moved));
    let changes: Vec<&Change> = folded.iter().filter_map(|f| f.change.as_ref()).collect();
    let query = sqlx::query(STORE)
        .bind(column(&made, |(k, _)| k.0.as_str()))
        .bind(column(&made, |(k, _)| k.1.as_str()))
        .bind(column(&made, |(k, _)| k.2))
        .bind(column(&made, |(_, s)| s.listed))
        .bind(column(&made, |(_, s)| s.position))
        .bind(column(&made, |(_, s)| &*s.content))
        .bind(column(&made, |(_, s)| s.seen_at))
        .bind(column(&made, |(_, s)| s.read_at))
        .bind(column(&made, |(_, s)| s.archived_at))
        .bind(column(&made, |(_, s)| s.snoozed_until))
        .bind(column(&made, |(_, s)| s.ended.map(Ended::as_str)))
        .bind(column(&moved, |(k, _)| k.0.as_str()))
        .bind(column(&moved, |(k, _)| k.1.as_str()))
        .bind(column(&moved, |(k, _)| k.2))
        .bind(column(&moved, |(_, s)| s.listed))
        .bind(column(&moved, |(_, s)| s.position))
        .bind(column(&moved, |(_, s)| s.seen_at))
        .bind(column(&moved, |(_, s)| s.read_at))
        .bind(column(&moved, |(_, s)| s.archived_at))
        .bind(column(&moved, |(_, s)| s.snoozed_until))
        .bind(column(&moved, |(_, s)| s.ended.map(Ended::as_str)));
    let counters: Vec<_> = rows.counters.iter().collect();
    query
        .bind(column(&changes, |c| c.tenant.as_str()))
        .bind(column(&changes, |c| c.user_id.as_str()))
        .bind(column(&changes, |c| c.item.state.position))
        .bind(column(&changes, |c| c.event.as_str()))
        .bind(column(&changes, |c| c.item.notification))
        .bind(column(&changes, |c| c.item.state.seen_at))
        .bind(column(&changes, |c| c.item.state.read_at))
        .bind(column(&changes, |c| c.item.state.archived_at))
        .bind(column(&changes, |c| c.item.state.snoozed_until))
        .bind(column(&changes, |c| c.counts.unread))
        .bind(column(&changes, |c| c.counts.unseen))
        .bind(column(&counters, |(key, _)| key.0.as_str()))
        .bind(column(&counters, |(key, _)| key.1.as_str()))
        .bind(column(&counters, |(_, counts)| counts.unread))
        .bind(column(&counters, |(_, counts)| counts.unseen))
        .bind(last)
        .execute(connection)
        .await?;
    Ok(())
}

fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
