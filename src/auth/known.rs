//! The keys that are in use, in memory: every node keeps them all, by their SHA-256, so that checking one costs no
//! round trip and goes on while Postgres is away.
//!
//! A change of any key raises a revision in Postgres. A node reads what is newer than it knows when it is notified,
//! every half second in case a notification was lost, and before it says of a secret that it is unknown, as that may
//! be a key that was just made elsewhere. All who wait for such a reading share it, so guessing costs the database
//! one look at a row now and then, however many guess.
//!
//! A key that has expired is let go of by the next reading: like one that was revoked it is then as unknown as any other.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tidings_domain::Tenant;
use time::OffsetDateTime;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use uuid::Uuid;

use super::keys::{is_well_formed, name_of};
use super::{Denied, ROOT_KEY_ID, Scope, Scopes, Sha256};
use crate::clock;
use crate::rate_limit::{Limit, Rate};
use crate::telemetry::Trouble;
use crate::telemetry::metrics::LastRead;

/// How often to look for what no notification told.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a request waits to learn whether its key is known.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(2);
/// From one reading to the next that a request asks for: those who come meanwhile share that one.
const REFRESH_PAUSE: Duration = Duration::from_millis(10);

/// A key that is in use.
#[derive(Debug)]
pub struct Key {
    /// As events name it: `key_...`, or `root`.
    pub id: Box<str>,
    pub tenant: Tenant,
    pub scopes: Scopes,
    /// How many requests it may make; `None`: as many as there are.
    pub limit: Option<Limit>,
    pub expires_at: Option<OffsetDateTime>,
    revoked: AtomicBool,
}

impl Key {
    pub fn root() -> Self {
        Self {
            id: ROOT_KEY_ID.into(),
            tenant: Tenant::default_tenant(),
            scopes: Scopes::from_iter([Scope::Admin]),
            limit: None,
            expires_at: None,
            revoked: AtomicBool::new(false),
        }
    }

    /// Whether it is over: revoked or expired. Whoever holds a key asks again before each thing he does with it.
    pub fn has_ended(&self) -> bool {
        self.revoked.load(Ordering::Acquire) || self.expires_at.is_some_and(|at| at <= clock::now())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Key {}

#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    /// Of its own, so that neither a busy pool nor a long request keeps a revocation waiting: one connection listens,
    /// one reads.
    pool: PgPool,
    known: RwLock<Known>,
    /// Readings that were begun, and behind the lock how the last one ended.
    begun: AtomicU64,
    read: Mutex<Reading>,
    last_read: LastRead,
    /// Counts the readings that ended keys.
    endings: watch::Sender<u64>,
}

#[derive(Default)]
struct Known {
    by_sha256: HashMap<Sha256, Arc<Key>>,
    by_id: HashMap<Uuid, (Sha256, Arc<Key>)>,
    by_expiry: BTreeSet<(OffsetDateTime, Uuid)>,
}

struct Reading {
    /// Which of those that were begun it was.
    number: u64,
    ended_at: Instant,
    outcome: Result<(), Stale>,
    /// What it read up to.
    revision: i64,
    epoch: i64,
}

/// What there is cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the keys cannot be read: {0}")]
pub struct Stale(Arc<str>);

#[derive(sqlx::FromRow)]
struct Row {
    epoch: i64,
    head: i64,
    /// Null, with the rest, where nothing is newer.
    id: Option<Uuid>,
    sha256: Option<Vec<u8>>,
    tenant: Option<String>,
    scopes: Option<Vec<String>>,
    requests_per_second: Option<i32>,
    burst: Option<i32>,
    expires_at: Option<OffsetDateTime>,
    is_revoked: Option<bool>,
}

impl Keys {
    /// Knows those that there are.
    pub async fn load(connect: PgConnectOptions) -> Result<Self, Stale> {
        let keys = Self::none(connect);
        keys.refresh().await?;
        Ok(keys)
    }

    fn none(connect: PgConnectOptions) -> Self {
        let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(REFRESH_TIMEOUT);
        let pool = pool.connect_lazy_with(connect);
        let read = Reading { number: 0, ended_at: Instant::now(), outcome: Ok(()), revision: 0, epoch: 0 };
        Self(Arc::new(Inner {
            pool,
            known: RwLock::default(),
            begun: AtomicU64::new(0),
            read: Mutex::new(read),
            last_read: LastRead::default(),
            endings: watch::Sender::new(0),
        }))
    }

    /// The key with this secret, whose hash is at hand.
    pub async fn find(&self, secret: &str, sha256: &Sha256) -> Result<Arc<Key>, Denied> {
        if !is_well_formed(secret) {
            return Err(Denied::UnknownKey);
        }
        let known = || self.known().by_sha256.get(sha256).cloned();
        self.once_more(known).await?.ok_or(Denied::UnknownKey)
    }

    /// The key with this id.
    pub async fn find_by_id(&self, id: Uuid) -> Result<Option<Arc<Key>>, Denied> {
        self.once_more(|| self.known().by_id.get(&id).map(|(_, key)| key.clone())).await
    }

    /// What is not known is looked for again after a reading that has begun after the question.
    async fn once_more(&self, known: impl Fn() -> Option<Arc<Key>>) -> Result<Option<Arc<Key>>, Denied> {
        let mut found = known();
        if found.is_none() {
            let unavailable = |_| Denied::Unavailable("the database cannot be reached");
            self.refresh().await.map_err(unavailable)?;
            found = known();
        }
        Ok(found.filter(|key| !key.has_ended()))
    }

    /// Keeps them current until the task is aborted.
    pub async fn follow(self) {
        tokio::join!(self.look(), self.listen());
    }

    async fn look(&self) {
        let mut trouble = Trouble::default();
        loop {
            match self.refresh().await {
                Ok(()) if trouble.ends() => tracing::info!("the keys can be read again"),
                Err(error) if trouble.begins() => {
                    tracing::warn!(%error, "known keys go on, and no revocation reaches this node");
                }
                Ok(()) | Err(_) => {}
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn listen(&self) {
        loop {
            // What is wrong is said by those who look, and what is missed they find.
            let _: Result<(), sqlx::Error> = self.obey().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn obey(&self) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.0.pool).await?;
        listener.listen("tidings_keys").await?;
        while listener.try_recv().await?.is_some() {
            let _: Result<(), Stale> = self.refresh().await;
        }
        Ok(())
    }

    /// When what is known here was last as it is in Postgres.
    pub fn last_read(&self) -> LastRead {
        self.0.last_read.clone()
    }

    /// Told each time after keys were revoked.
    pub fn endings(&self) -> watch::Receiver<u64> {
        self.0.endings.subscribe()
    }

    /// The revocation of a key was committed. It has ended here when this returns, whether or not anything can be read.
    pub async fn revoked(&self, id: Uuid) {
        self.end(id);
        if self.refresh().await.is_err() {
            // A reading that was older than the revocation may have brought it meanwhile, and is over by now.
            self.end(id);
        }
    }

    fn end(&self, id: Uuid) {
        let held = self.known().by_id.get(&id).map(|(_, key)| key.clone());
        if held.is_some_and(|key| key.revoke()) {
            self.0.endings.send_modify(|count| *count += 1);
        }
    }

    /// Learns everything that was committed before the call. Who calls while others wait shares their reading, and whoever
    /// calls knows within two seconds.
    pub async fn refresh(&self) -> Result<(), Stale> {
        let inner = &*self.0;
        let deadline = Instant::now() + REFRESH_TIMEOUT;
        let silent = || Stale("Postgres does not answer".into());
        let begun_before = inner.begun.load(Ordering::SeqCst);
        let mut read = timeout_at(deadline, inner.read.lock()).await.map_err(|_| silent())?;
        if read.number > begun_before {
            return read.outcome.clone();
        }
        sleep_until(read.ended_at + REFRESH_PAUSE).await;
        if Instant::now() >= deadline {
            // That would be a reading of no time, and its end the answer to those who have time.
            return Err(silent());
        }
        let number = inner.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let asked_at = Instant::now();
        let outcome = match timeout_at(deadline, self.read_newer(&mut read)).await {
            Ok(Ok(())) => {
                inner.last_read.set(asked_at);
                Ok(())
            }
            Ok(Err(error)) => Err(Stale(error.to_string().into())),
            Err(_) => Err(silent()),
        };
        (read.number, read.ended_at, read.outcome) = (number, Instant::now(), outcome.clone());
        outcome
    }

    async fn read_newer(&self, read: &mut Reading) -> Result<(), sqlx::Error> {
        let mut rows = self.rows_after(read.revision).await?;
        let now = |rows: &[Row]| rows.first().map_or((0, 0), |row| (row.epoch, row.head));
        // Another history, of a backup or a standby that lagged: what is known may never have been.
        let anew = now(&rows).0 != read.epoch || now(&rows).1 < read.revision;
        if anew {
            rows = self.rows_after(0).await?;
        }
        (read.epoch, read.revision) = now(&rows);
        if self.learn(rows, anew) {
            self.0.endings.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// All of one statement, and so of one moment.
    async fn rows_after(&self, revision: i64) -> Result<Vec<Row>, sqlx::Error> {
        sqlx::query_as(
            "SELECT log.epoch, head.revision AS head, key.id, key.sha256, key.tenant, key.scopes,
                    key.requests_per_second, key.burst, key.expires_at, key.revoked_at IS NOT NULL AS is_revoked
               FROM api_keys_head head CROSS JOIN log_head log
               LEFT JOIN api_keys key ON key.revision > $1
                AND ($1 > 0 OR key.revoked_at IS NULL AND coalesce(key.expires_at > $2, true))",
        )
        .bind(revision)
        .bind(clock::now())
        .fetch_all(&self.0.pool)
        .await
    }

    /// True if keys ended with it.
    fn learn(&self, rows: Vec<Row>, anew: bool) -> bool {
        let mut known = self.0.known.write().expect("no code panics while it holds the keys");
        let mut before = HashMap::new();
        if anew {
            before = std::mem::take(&mut *known).by_id;
        }
        known.let_go_of_expired();
        let mut ended = false;
        for row in rows {
            let Some((id, sha256)) = row.id.zip(row.sha256.as_deref().and_then(|it| it.try_into().ok()))
            else {
                continue;
            };
            let held = known.by_id.remove(&id).or_else(|| before.remove(&id)).map(|(_, key)| key);
            if row.is_revoked == Some(true) {
                known.by_sha256.remove(&sha256);
                if let Some(key) = held {
                    key.expires_at.iter().for_each(|at| _ = known.by_expiry.remove(&(*at, id)));
                    ended |= key.revoke();
                }
            } else if let Some(key) = held.or_else(|| row.into_key().map(Arc::new)) {
                known.by_expiry.extend(key.expires_at.map(|at| (at, id)));
                known.by_sha256.insert(sha256, key.clone());
                known.by_id.insert(id, (sha256, key));
            }
        }
        before.into_values().fold(ended, |ended, (_, key)| key.revoke() || ended)
    }

    fn known(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        self.0.known.read().expect("no code panics while it holds the keys")
    }
}

impl Known {
    /// Whoever still has one of them goes by the clock.
    fn let_go_of_expired(&mut self) {
        let now = clock::now();
        while self.by_expiry.first().is_some_and(|(at, _)| *at <= now) {
            let expired = self.by_expiry.pop_first().and_then(|(_, id)| self.by_id.remove(&id));
            expired.iter().for_each(|(sha256, _)| _ = self.by_sha256.remove(sha256));
        }
    }
}

impl Key {
    /// True: whoever holds it must hear of it.
    fn revoke(&self) -> bool {
        !self.revoked.swap(true, Ordering::AcqRel)
    }
}

impl Row {
    /// Nothing that this binary understands: a newer one may know more scopes, and allows them.
    fn into_key(self) -> Option<Key> {
        let rate = |rate: Option<i32>| rate.and_then(|rate| u32::try_from(rate).ok());
        Some(Key {
            id: name_of(self.id?).into(),
            tenant: Tenant::try_from(self.tenant?).ok()?,
            scopes: self.scopes?.iter().filter_map(|name| name.parse().ok()).collect(),
            limit: rate(self.requests_per_second).map(|per_second| {
                Limit::new(Rate { per_second, burst: rate(self.burst).unwrap_or(per_second) })
            }),
            expires_at: self.expires_at,
            revoked: AtomicBool::new(false),
        })
    }
}

#[cfg(test)]
mod tests {
    //! How long it takes to know, and what is let go of.
    use std::net::TcpListener;

    use super::*;

    fn row(id: Uuid, expires_at: Option<OffsetDateTime>) -> Row {
        Row {
            epoch: 1,
            head: 1,
            id: Some(id),
            sha256: Some(id.as_bytes().repeat(2)),
            tenant: Some("default".into()),
            scopes: Some(vec!["admin".into()]),
            requests_per_second: None,
            burst: None,
            expires_at,
            is_revoked: Some(false),
        }
    }

    /// Of a Postgres that accepts, and never says a word.
    fn keys() -> (TcpListener, Keys) {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = silent.local_addr().expect("an address").port();
        let connect = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port);
        (silent, Keys::none(connect))
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_while_others_wait_for_keys_waits_no_longer_than_they() {
        let (_silent, keys) = keys();
        let mut waiting = tokio::task::JoinSet::new();
        for late_ms in [0, 500, 1_000, 1_500, 1_990, 2_000] {
            let keys = keys.clone();
            waiting.spawn(async move {
                tokio::time::sleep(Duration::from_millis(late_ms)).await;
                let began = Instant::now();
                assert!(keys.refresh().await.is_err());
                began.elapsed()
            });
        }
        while let Some(waited) = waiting.join_next().await {
            let waited = waited.expect("no panic");
            assert!(waited <= REFRESH_TIMEOUT + REFRESH_PAUSE, "{waited:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_no_time_left_does_not_answer_for_those_who_have() {
        let (_silent, keys) = keys();
        // No reading has ended a moment before, and the second comes to its turn at its end.
        let waiting = [100, 105, 2_000].map(|late_ms| {
            let keys = keys.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(late_ms)).await;
                let began = Instant::now();
                assert!(keys.refresh().await.is_err());
                began.elapsed()
            }
        });
        let waited = futures_util::future::join_all(waiting).await;
        assert!(waited[2] >= REFRESH_TIMEOUT, "{waited:?}");
    }

    #[tokio::test]
    async fn expired_keys_are_let_go_of_and_others_stay() {
        let (_silent, keys) = keys();
        let in_a = |seconds| Some(clock::now() + time::Duration::seconds(seconds));
        let rows = [None, in_a(3_600), in_a(-1), in_a(-1)].map(|at| row(clock::new_uuid(), at));
        let ids: Vec<Uuid> = rows.iter().filter_map(|row| row.id).collect();
        assert!(!keys.learn(rows.into(), false));
        keys.learn(Vec::new(), false);
        let known = keys.known();
        assert!(ids[..2].iter().all(|id| known.by_id.contains_key(id)), "those that are good");
        assert_eq!((known.by_id.len(), known.by_sha256.len(), known.by_expiry.len()), (2, 2, 1));
    }
}
