//! Tickets: one user's way to open one socket where neither header nor subprotocol can carry a token.
//!
//! A ticket counts once and for 30 seconds, by the clock of the database, on whichever node it is shown. Only its
//! hash is stored. What it was made with it passes on: the socket ends with that token, or that key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::PgPool;
use tidings_domain::{Tenant, UserId};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Denied, Keys, Principal, keys, sha256};

const RANDOM_BYTES: usize = 32;
const PREFIX: &str = "tkt_";

#[derive(Clone)]
pub struct Tickets {
    pool: PgPool,
    keys: Keys,
}

/// A ticket as its bearer gets it.
pub struct Ticket {
    pub secret: String,
    pub expires_at: OffsetDateTime,
}

type Redeemed = (String, String, Option<i64>, Option<Uuid>, bool);

impl Tickets {
    pub fn new(pool: PgPool, keys: Keys) -> Self {
        Self { pool, keys }
    }

    /// A ticket for `user`, whom `principal` has access to. Some that have expired unused are swept with it.
    pub async fn issue(&self, principal: &Principal, user: &UserId) -> Result<Ticket, sqlx::Error> {
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random)
            .map_err(|error| sqlx::Error::Io(std::io::Error::other(error.to_string())))?;
        let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
        let expires_at = sqlx::query_scalar(
            "WITH swept AS (
                DELETE FROM tickets WHERE sha256 IN (
                    SELECT sha256 FROM tickets WHERE expires_at < clock_timestamp()
                     ORDER BY expires_at LIMIT 100 FOR UPDATE SKIP LOCKED))
             INSERT INTO tickets (sha256, tenant, user_id, token_expires_at_unix_s, key_id, expires_at)
             VALUES ($1, $2, $3, $4, $5, clock_timestamp() + interval '30 seconds') RETURNING expires_at",
        )
        .bind(sha256(&secret))
        .bind(principal.tenant().as_str())
        .bind(user.as_str())
        .bind(principal.expires_at_unix_seconds())
        // The root key has no row, and no end.
        .bind(principal.key().and_then(|key| keys::parse_id(&key.id)))
        .fetch_one(&self.pool)
        .await?;
        Ok(Ticket { secret, expires_at })
    }

    /// Whom the ticket lets in. It is used up by this, whatever comes of it.
    pub async fn redeem(&self, secret: &str) -> Result<Result<Principal, Denied>, sqlx::Error> {
        let redeemed: Option<Redeemed> = sqlx::query_as(
            "DELETE FROM tickets WHERE sha256 = $1
             RETURNING tenant, user_id, token_expires_at_unix_s, key_id, expires_at >= clock_timestamp()",
        )
        .bind(sha256(secret))
        .fetch_optional(&self.pool)
        .await?;
        let Some((tenant, user, expires_at_unix_seconds, key_id, true)) = redeemed else {
            return Ok(Err(Denied::UnknownTicket));
        };
        let vouched_by = match key_id {
            None => None,
            Some(id) => match self.keys.find_by_id(id).await {
                Ok(Some(key)) => Some(key),
                Ok(None) => return Ok(Err(Denied::UnknownTicket)),
                Err(denied) => return Ok(Err(denied)),
            },
        };
        Ok(match (Tenant::try_from(tenant), UserId::try_from(user)) {
            (Ok(tenant), Ok(user)) => {
                Ok(Principal::User { tenant, user, expires_at_unix_seconds, vouched_by })
            }
            _ => Err(Denied::UnknownTicket),
        })
    }
}
