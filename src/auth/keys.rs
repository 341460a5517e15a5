//! Keys of services as they are kept: made, listed, revoked.
//!
//! The secret is 256 random bits, shown once, and kept as its SHA-256 only. A revoked key's row stays: it says who
//! acted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::PgPool;
use tidings_domain::Tenant;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Scope, sha256};
use crate::clock;

/// What a secret begins with, so that scanners of repositories know one.
const PREFIX: &str = "tdg_";
const RANDOM_BYTES: usize = 32;
/// Characters after the prefix: 32 bytes in base64url without padding.
const RANDOM_CHARS: usize = 43;
/// The last characters of a secret, which its row shows: 24 of 256 bits.
const HINT_CHARS: usize = 4;
/// Keys that are neither revoked nor expired, over all tenants: nodes keep them in memory, at about half a kilobyte each.
const KEYS_MAX: i64 = 100_000;
pub const NAME_CHARS_MAX: usize = 100;
/// Of `requests_per_second` and of `burst`.
pub const RATE_MAX: u32 = 1_000_000;

const ID_PREFIX: &str = "key_";

/// What a key to be made is.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub tenant: Tenant,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub requests_per_second: Option<u32>,
    pub burst: Option<u32>,
    pub expires_at: Option<OffsetDateTime>,
}

/// A key as it is kept.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct KeyRow {
    pub id: Uuid,
    pub tenant: String,
    pub name: String,
    pub hint: String,
    pub scopes: Vec<String>,
    pub requests_per_second: Option<i32>,
    pub burst: Option<i32>,
    pub created_at: OffsetDateTime,
    pub expires_at: Option<OffsetDateTime>,
    pub revoked_at: Option<OffsetDateTime>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// `pointer` is a JSON Pointer into what was asked for.
    #[error("{}: {detail}", .pointer.trim_start_matches('/'))]
    Invalid { pointer: String, detail: &'static str },
    #[error("there are 100,000 keys: revoke those that are not used")]
    TooMany,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl NewKey {
    fn check(&self, now: OffsetDateTime) -> Result<(), KeyError> {
        let refuse = |pointer: &str, detail| Err(KeyError::Invalid { pointer: pointer.into(), detail });
        let length = self.name.chars().count();
        if !(1..=NAME_CHARS_MAX).contains(&length) || self.name.chars().any(char::is_control) {
            return refuse("/name", "must have 1 to 100 characters, none of them a control character");
        }
        if self.scopes.is_empty() {
            return refuse("/scopes", "must name at least one scope");
        }
        let twice = (1..self.scopes.len()).find(|at| self.scopes[..*at].contains(&self.scopes[*at]));
        if let Some(at) = twice {
            return refuse(&format!("/scopes/{at}"), "is named twice");
        }
        for (pointer, rate) in [("/requests_per_second", self.requests_per_second), ("/burst", self.burst)] {
            if rate.is_some_and(|rate| !(1..=RATE_MAX).contains(&rate)) {
                return refuse(pointer, "must be from 1 to 1,000,000");
            }
        }
        if self.burst.is_some() && self.requests_per_second.is_none() {
            return refuse("/burst", "goes with requests_per_second");
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return refuse("/expires_at", "must lie in the future");
        }
        Ok(())
    }
}

/// Makes a key; the text is its secret, which nobody can read again.
pub async fn create(pool: &PgPool, new: &NewKey) -> Result<(String, KeyRow), KeyError> {
    let now = clock::now();
    new.check(now)?;
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random)
        .map_err(|error| sqlx::Error::Io(std::io::Error::other(error.to_string())))?;
    let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let row: Option<KeyRow> = sqlx::query_as(
        "INSERT INTO api_keys (id, tenant, name, sha256, hint, scopes, requests_per_second, burst, expires_at)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9
          WHERE (SELECT count(*) FROM api_keys WHERE revoked_at IS NULL AND expires_at IS NULL)
              + (SELECT count(*) FROM api_keys WHERE revoked_at IS NULL AND expires_at > $11) < $10
         RETURNING id, tenant, name, hint, scopes, requests_per_second, burst, created_at, expires_at, revoked_at",
    )
    .bind(clock::new_uuid())
    .bind(new.tenant.as_str())
    .bind(&new.name)
    .bind(sha256(&secret))
    .bind(&secret[secret.len() - HINT_CHARS..])
    .bind(new.scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>())
    .bind(new.requests_per_second.map(u32::cast_signed))
    .bind(new.burst.map(u32::cast_signed))
    .bind(new.expires_at)
    .bind(KEYS_MAX)
    .bind(now)
    .fetch_optional(pool)
    .await?;
    Ok((secret, row.ok_or(KeyError::TooMany)?))
}

/// Keys of a tenant, or of all, newest first: those made before `before`. Revoked ones are among them.
pub async fn list(
    pool: &PgPool,
    tenant: Option<&Tenant>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<KeyRow>, sqlx::Error> {
    let query = match tenant {
        Some(tenant) => sqlx::query_as(
            "SELECT id, tenant, name, hint, scopes, requests_per_second, burst, created_at, expires_at, revoked_at
               FROM api_keys WHERE tenant = $3 AND id < $1 ORDER BY id DESC LIMIT $2",
        )
        .bind(before.unwrap_or(Uuid::max()))
        .bind(limit)
        .bind(tenant.as_str()),
        None => sqlx::query_as(
            "SELECT id, tenant, name, hint, scopes, requests_per_second, burst, created_at, expires_at, revoked_at
               FROM api_keys WHERE id < $1 ORDER BY id DESC LIMIT $2",
        )
        .bind(before.unwrap_or(Uuid::max()))
        .bind(limit),
    };
    query.fetch_all(pool).await
}

/// Revokes a key, for good; one that is revoked stays as it is. `None`: there is no such key.
pub async fn revoke(pool: &PgPool, id: Uuid) -> Result<Option<KeyRow>, sqlx::Error> {
    sqlx::query_as(
        "UPDATE api_keys SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE id = $1
         RETURNING id, tenant, name, hint, scopes, requests_per_second, burst, created_at, expires_at, revoked_at",
    )
    .bind(id)
    .fetch_optional(pool)
    .await
}

/// Whether a text may be a secret; what may not need not be looked up.
pub fn is_well_formed(secret: &str) -> bool {
    let random = secret.strip_prefix(PREFIX);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    random.is_some_and(|random| random.len() == RANDOM_CHARS && random.bytes().all(allowed))
}

/// The name of a key outside of the database.
pub fn name_of(id: Uuid) -> String {
    format!("{ID_PREFIX}{}", id.as_hyphenated())
}

/// Reads a name back; one spelling per key.
pub fn parse_id(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text.strip_prefix(ID_PREFIX)?).ok()?;
    (name_of(id) == text).then_some(id)
}
