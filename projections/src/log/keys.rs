//! The keys of recipients: made on first use, kept wrapped by the master key, cached in the clear in memory.
//!
//! A key row is committed before any event sealed with it is appended, so no stored event is ever unreadable
//! by accident. Requests for unknown keys are gathered and answered in one query at a time.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use lru::LruCache;
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

/// Cached keys of each kind; about 200 bytes an entry.
const CACHED_KEYS_MAX: NonZeroUsize = NonZeroUsize::new(50_000).expect("not zero");
/// Keys asked for in one query.
const ASKED_AT_ONCE_MAX: usize = 500;
const MASTER_KEY_CHECK: &[u8] = b"tidings master key";
const NONCE_BYTES: usize = 12;

#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the key store cannot be reached: {0}")]
    Database(Arc<sqlx::Error>),
    #[error("a stored key cannot be unwrapped with this master key")]
    Unwrap,
    #[error("the configured master key is not the one this database was written with")]
    WrongMasterKey,
}

impl From<sqlx::Error> for KeyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

/// The key of one recipient, unwrapped.
#[derive(Clone)]
pub struct RecipientKey {
    pub id: i64,
    pub secret: [u8; 32],
}

/// The key that wraps all others. It comes from the configuration and is never stored.
#[derive(Clone)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Refuses another key than the one this database was written with; the first start sets it.
    pub async fn check(&self, pool: &PgPool) -> Result<(), KeyError> {
        sqlx::query("INSERT INTO master_key_check (sealed) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(self.wrap(MASTER_KEY_CHECK, b"check"))
            .execute(pool)
            .await?;
        let sealed: Vec<u8> =
            sqlx::query_scalar("SELECT sealed FROM master_key_check").fetch_one(pool).await?;
        match self.unwrap(&sealed, b"check") {
            Ok(plain) if plain == MASTER_KEY_CHECK => Ok(()),
            _ => Err(KeyError::WrongMasterKey),
        }
    }

    fn wrap(&self, secret: &[u8], owner: &[u8]) -> Vec<u8> {
        let nonce = Aes256Gcm::generate_nonce(&mut OsRng);
        let sealed = Aes256Gcm::new(&self.0.into())
            .encrypt(&nonce, Payload { msg: secret, aad: owner })
            .expect("a key is far below the 64 GiB that AES-GCM can seal");
        [&nonce[..], &sealed].concat()
    }

    fn unwrap(&self, wrapped: &[u8], owner: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (nonce, sealed) = wrapped.split_first_chunk::<NONCE_BYTES>().ok_or(KeyError::Unwrap)?;
        Aes256Gcm::new(&self.0.into())
            .decrypt(&(*nonce).into(), Payload { msg: sealed, aad: owner })
            .map_err(|_| KeyError::Unwrap)
    }
}

/// Binds a wrapped key to its owner; the lengths keep two owners from reading as one.
fn owner(tenant: &str, recipient: &str) -> Vec<u8> {
    format!("{}:{tenant}{}:{recipient}", tenant.len(), recipient.len()).into_bytes()
}

type Owner = (String, String);
type Reply = oneshot::Sender<Result<Arc<RecipientKey>, KeyError>>;

struct Request {
    owner: Owner,
    reply: Reply,
}

struct Cache {
    by_owner: LruCache<Owner, Arc<RecipientKey>>,
    by_id: LruCache<i64, Arc<RecipientKey>>,
}

#[derive(Clone)]
pub struct KeyRing {
    store: KeyStore,
    cache: Arc<Mutex<Cache>>,
    requests: mpsc::Sender<Request>,
}

impl KeyRing {
    /// Spawns the task that gathers requests; it ends with the last clone of the ring.
    pub fn new(pool: PgPool, master: MasterKey) -> Self {
        let store = KeyStore { pool, master };
        let (requests, queue) = mpsc::channel(ASKED_AT_ONCE_MAX * 4);
        tokio::spawn(answer_requests(store.clone(), queue));
        let cache = Cache { by_owner: LruCache::new(CACHED_KEYS_MAX), by_id: LruCache::new(CACHED_KEYS_MAX) };
        Self { store, cache: Arc::new(Mutex::new(cache)), requests }
    }

    /// The recipient's key, made if there is none yet.
    pub async fn of_recipient(&self, tenant: &str, recipient: &str) -> Result<Arc<RecipientKey>, KeyError> {
        let owner = (tenant.to_owned(), recipient.to_owned());
        if let Some(key) = self.cache().by_owner.get(&owner) {
            return Ok(key.clone());
        }
        let (reply, answer) = oneshot::channel();
        let closed = |_| KeyError::from(sqlx::Error::PoolClosed);
        self.requests.send(Request { owner: owner.clone(), reply }).await.map_err(|e| closed(e.0.reply))?;
        let key = answer.await.map_err(|_| KeyError::from(sqlx::Error::PoolClosed))??;
        let mut cache = self.cache();
        cache.by_owner.put(owner, key.clone());
        cache.by_id.put(key.id, key.clone());
        Ok(key)
    }

    /// The keys of many, which are in order and distinct, made with one statement where there are none yet; in that order.
    pub async fn of_recipients(
        &self,
        tenant: &str,
        recipients: &[&str],
    ) -> Result<Vec<Arc<RecipientKey>>, KeyError> {
        let owners: Vec<Owner> =
            recipients.iter().map(|recipient| (tenant.to_owned(), (*recipient).to_owned())).collect();
        let known: Vec<Option<Arc<RecipientKey>>> = {
            let mut cache = self.cache();
            owners.iter().map(|owner| cache.by_owner.get(owner).cloned()).collect()
        };
        let unknown = owners.iter().zip(&known).filter(|(_, key)| key.is_none());
        let unknown: Vec<Owner> = unknown.map(|(owner, _)| owner.clone()).collect();
        let found = if unknown.is_empty() { Vec::new() } else { self.store.load_or_make(&unknown).await? };
        let mut cache = self.cache();
        for (owner, key) in unknown.into_iter().zip(&found) {
            cache.by_owner.put(owner, key.clone());
            cache.by_id.put(key.id, key.clone());
        }
        let mut found = found.into_iter();
        let keys = known.into_iter().map(|key| key.or_else(|| found.next()));
        keys.map(|key| key.ok_or_else(|| sqlx::Error::RowNotFound.into())).collect()
    }

    /// The key a sealed payload names; `None` once it was destroyed.
    pub async fn by_id(&self, id: i64) -> Result<Option<Arc<RecipientKey>>, KeyError> {
        if let Some(key) = self.cache().by_id.get(&id) {
            return Ok(Some(key.clone()));
        }
        let key = self.store.load(id).await?.map(Arc::new);
        if let Some(key) = &key {
            self.cache().by_id.put(id, key.clone());
        }
        Ok(key)
    }

    /// Brings keys into the cache with one query, for a reader that is about to open many payloads.
    pub async fn fetch(&self, mut ids: Vec<i64>) -> Result<(), KeyError> {
        {
            let cache = self.cache();
            ids.retain(|id| !cache.by_id.contains(id));
        }
        ids.sort_unstable();
        ids.dedup();
        // A single key is found as fast by the one who asks for it.
        if ids.len() < 2 {
            return Ok(());
        }
        // One that cannot be unwrapped is told when it is asked for by itself.
        for key in self.store.load_many(&ids).await?.into_iter().flatten() {
            self.cache().by_id.put(key.id, Arc::new(key));
        }
        Ok(())
    }

    /// Drops what is cached: after a change of epoch the table may hold other keys.
    pub fn clear(&self) {
        let mut cache = self.cache();
        cache.by_owner.clear();
        cache.by_id.clear();
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().expect("no code panics while it holds the key cache")
    }
}

async fn answer_requests(store: KeyStore, mut queue: mpsc::Receiver<Request>) {
    let mut waiting = Vec::new();
    while queue.recv_many(&mut waiting, ASKED_AT_ONCE_MAX).await > 0 {
        let mut owners: Vec<Owner> = waiting.iter().map(|r| r.owner.clone()).collect();
        owners.sort_unstable();
        owners.dedup();
        match store.load_or_make(&owners).await {
            Ok(keys) => {
                for Request { owner, reply } in waiting.drain(..) {
                    let key = owners.binary_search(&owner).map(|at| keys[at].clone());
                    let _ = reply.send(key.map_err(|_| KeyError::Unwrap));
                }
            }
            Err(error) => waiting.drain(..).for_each(|r| drop(r.reply.send(Err(error.clone())))),
        }
    }
}

#[derive(Clone)]
struct KeyStore {
    pool: PgPool,
    master: MasterKey,
}

#[derive(sqlx::FromRow)]
struct KeyRow {
    id: i64,
    tenant: String,
    recipient: String,
    wrapped: Vec<u8>,
}

impl KeyStore {
    /// The keys of `owners`, which are sorted and distinct, in their order.
    async fn load_or_make(&self, owners: &[Owner]) -> Result<Vec<Arc<RecipientKey>>, KeyError> {
        let (tenants, recipients): (Vec<&str>, Vec<&str>) =
            owners.iter().map(|(t, r)| (t.as_str(), r.as_str())).unzip();
        let mut rows = self.select(&tenants, &recipients).await?;
        if rows.len() < owners.len() {
            let known: HashSet<(&str, &str)> =
                rows.iter().map(|row| (row.tenant.as_str(), row.recipient.as_str())).collect();
            let missing = owners.iter().map(|(t, r)| (t.as_str(), r.as_str()));
            let missing: Vec<(&str, &str)> = missing.filter(|owner| !known.contains(owner)).collect();
            let made = self.make(&missing).await?;
            rows.extend(made);
        }
        if rows.len() < owners.len() {
            // Rivals have made some meanwhile.
            rows = self.select(&tenants, &recipients).await?;
        }
        if rows.len() < owners.len() {
            return Err(sqlx::Error::RowNotFound.into());
        }
        rows.sort_unstable_by(|a, b| (&a.tenant, &a.recipient).cmp(&(&b.tenant, &b.recipient)));
        rows.iter().map(|row| self.unwrap(row).map(Arc::new)).collect()
    }

    /// The keys that were made; a rival's row that nobody could see yet makes this wait, and is not among them.
    async fn make(&self, owners: &[(&str, &str)]) -> Result<Vec<KeyRow>, KeyError> {
        let fresh =
            |(t, r): &(&str, &str)| self.master.wrap(&Aes256Gcm::generate_key(&mut OsRng), &owner(t, r));
        let (tenants, recipients): (Vec<&str>, Vec<&str>) = owners.iter().copied().unzip();
        let made = sqlx::query_as(
            "INSERT INTO recipient_keys (tenant, recipient, wrapped)
             SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[])
             ON CONFLICT DO NOTHING RETURNING id, tenant, recipient, wrapped",
        );
        let made = made.bind(tenants).bind(recipients).bind(owners.iter().map(fresh).collect::<Vec<_>>());
        Ok(made.fetch_all(&self.pool).await?)
    }

    async fn select(&self, tenants: &[&str], recipients: &[&str]) -> Result<Vec<KeyRow>, sqlx::Error> {
        sqlx::query_as(
            "SELECT k.id, k.tenant, k.recipient, k.wrapped
               FROM unnest($1::text[], $2::text[]) w (tenant, recipient)
               JOIN LATERAL (SELECT * FROM recipient_keys k
                              WHERE k.tenant = w.tenant AND k.recipient = w.recipient LIMIT 1) k ON true",
        )
        .bind(tenants)
        .bind(recipients)
        .fetch_all(&self.pool)
        .await
    }

    async fn load(&self, id: i64) -> Result<Option<RecipientKey>, KeyError> {
        let row: Option<KeyRow> =
            sqlx::query_as("SELECT id, tenant, recipient, wrapped FROM recipient_keys WHERE id = $1")
                .bind(id)
                .fetch_optional(&self.pool)
                .await?;
        row.map(|row| self.unwrap(&row)).transpose()
    }

    async fn load_many(&self, ids: &[i64]) -> Result<Vec<Result<RecipientKey, KeyError>>, KeyError> {
        let rows: Vec<KeyRow> =
            sqlx::query_as("SELECT id, tenant, recipient, wrapped FROM recipient_keys WHERE id = ANY ($1)")
                .bind(ids)
                .fetch_all(&self.pool)
                .await?;
        Ok(rows.iter().map(|row| self.unwrap(row)).collect())
    }

    fn unwrap(&self, row: &KeyRow) -> Result<RecipientKey, KeyError> {
        let secret = self.master.unwrap(&row.wrapped, &owner(&row.tenant, &row.recipient))?;
        Ok(RecipientKey { id: row.id, secret: secret.try_into().map_err(|_| KeyError::Unwrap)? })
    }
}
