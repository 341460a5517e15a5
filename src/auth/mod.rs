//! Who is asking. A service shows an API key and acts for its tenant; an end user shows a token and acts for
//! himself alone.

mod jwks;
pub mod keys;
mod known;
mod scope;
mod tickets;
mod token;

pub use jwks::{Jwks, JwksError, Location, Refresher};
pub use known::{Key, Keys, Stale};
pub use scope::{Scope, Scopes, UnknownScope};
pub use tickets::{Ticket, Tickets};
pub use token::{LEEWAY_SECONDS, TokenRules, issue};

use std::sync::Arc;

use sha2::Digest;
use tidings_domain::source::SourceId;
use tidings_domain::{Issuer, Tenant, UserId};

use crate::rate_limit::{Limit, RateLimits, Standing};

const ROOT_KEY_ID: &str = "root";

type Sha256 = [u8; 32];

/// Somebody whose credentials were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    Service {
        key: Arc<Key>,
    },
    User {
        tenant: Tenant,
        user: UserId,
        /// `None` where a service vouched for the user without a token.
        expires_at_unix_seconds: Option<i64>,
        /// The key of the service that vouched for the user, unless it was the root key: it ends with that.
        vouched_by: Option<Arc<Key>>,
    },
    /// The service itself, when the time of something has come. Nobody becomes it by any credentials.
    Timer {
        tenant: Tenant,
    },
    /// The service itself, when it delivers something. Nobody becomes it either.
    Dispatcher {
        tenant: Tenant,
    },
    /// A source of webhooks, by its signature.
    Source {
        source: SourceId,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("credentials are missing: send an x-api-key header, or Authorization: Bearer with a token")]
    Missing,
    #[error("the API key is not known: it was never made, was revoked, or has expired")]
    UnknownKey,
    /// Neither good nor bad: what knows it cannot be asked.
    #[error("the credentials cannot be checked now: {0}")]
    Unavailable(&'static str),
    #[error("the key has made as many requests as its limit allows")]
    RateLimited,
    #[error("the ticket is not known: it counts once, and for 30 seconds")]
    UnknownTicket,
    /// Why a token is not accepted is said in general terms only.
    #[error("the token is not valid: {0}")]
    Token(&'static str),
    #[error("this needs an API key; a user's token may only read and mark that user's inbox")]
    ServiceOnly,
    #[error("this needs a key with the scope {0}")]
    Scope(Scope),
    #[error("this needs the root key")]
    RootOnly,
    #[error("a token reaches the inbox of its own user only")]
    AnotherUser,
    /// Whether there is such a source is not told.
    #[error("there is no such source, or the request is not signed by it")]
    UnknownSignature,
    #[error(
        "the signature is right, but was not made around now: see the source's tolerance, and the sender's clock"
    )]
    StaleSignature,
}

impl Denied {
    /// A word for it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::UnknownKey => "unknown_key",
            Self::Unavailable(_) => "unavailable",
            Self::RateLimited => "rate_limited",
            Self::UnknownTicket => "unknown_ticket",
            Self::Token(_) => "invalid_token",
            Self::ServiceOnly => "service_only",
            Self::Scope(_) => "missing_scope",
            Self::RootOnly => "root_only",
            Self::AnotherUser => "another_user",
            Self::UnknownSignature => "unknown_signature",
            Self::StaleSignature => "stale_signature",
        }
    }
}

impl Principal {
    pub fn tenant(&self) -> &Tenant {
        match self {
            Self::Service { key } => &key.tenant,
            Self::User { tenant, .. } | Self::Timer { tenant } | Self::Dispatcher { tenant } => tenant,
            Self::Source { source } => &source.tenant,
        }
    }

    pub fn issuer(&self) -> Issuer {
        let user = match self {
            Self::Service { .. } | Self::Timer { .. } | Self::Dispatcher { .. } | Self::Source { .. } => None,
            Self::User { user, .. } => Some(user.clone()),
        };
        Issuer { tenant: self.tenant().clone(), user }
    }

    /// The key behind it. Whoever serves it for longer than a request asks whether that has ended.
    pub fn key(&self) -> Option<&Arc<Key>> {
        match self {
            Self::Service { key } => Some(key),
            Self::User { vouched_by, .. } => vouched_by.as_ref(),
            Self::Timer { .. } | Self::Dispatcher { .. } | Self::Source { .. } => None,
        }
    }

    /// Fails once the key behind it has ended.
    pub fn check(&self) -> Result<(), Denied> {
        match self.key() {
            Some(key) if key.has_ended() => Err(Denied::UnknownKey),
            _ => Ok(()),
        }
    }

    /// When the token behind it expires, in Unix seconds; nothing else expires by itself.
    pub fn expires_at_unix_seconds(&self) -> Option<i64> {
        match self {
            Self::Service { .. } | Self::Timer { .. } | Self::Dispatcher { .. } | Self::Source { .. } => None,
            Self::User { expires_at_unix_seconds, .. } => *expires_at_unix_seconds,
        }
    }

    /// Who did it, as the metadata of events say.
    pub fn actor(&self) -> String {
        match self {
            Self::Service { key } => format!("key:{}", key.id),
            Self::User { user, .. } => format!("user:{user}"),
            Self::Timer { .. } => "timer".into(),
            Self::Dispatcher { .. } => "dispatcher".into(),
            Self::Source { source } => format!("source:{}", source.name),
        }
    }

    /// Whose idempotency keys these are: all services of a tenant share theirs, each user has his own.
    pub fn idempotency_scope(&self) -> String {
        match self {
            Self::Service { .. } => "service".into(),
            Self::User { user, .. } => format!("user:{user}"),
            Self::Timer { .. } => "timer".into(),
            Self::Dispatcher { .. } => "dispatcher".into(),
            Self::Source { source } => format!("source:{}", source.name),
        }
    }

    /// The root key alone reaches what concerns all tenants.
    pub fn require_root(&self) -> Result<(), Denied> {
        match self {
            Self::Service { key } if &*key.id == ROOT_KEY_ID => Ok(()),
            Self::Service { .. }
            | Self::User { .. }
            | Self::Timer { .. }
            | Self::Dispatcher { .. }
            | Self::Source { .. } => Err(Denied::RootOnly),
        }
    }

    /// A key has the scopes it was made with, a user may read and mark.
    pub fn require(&self, scope: Scope) -> Result<(), Denied> {
        match self {
            Self::Service { key } if key.scopes.allow(scope) => Ok(()),
            Self::Service { .. } => Err(Denied::Scope(scope)),
            Self::User { .. } if matches!(scope, Scope::InboxRead | Scope::InboxWrite) => Ok(()),
            Self::User { .. } | Self::Timer { .. } | Self::Dispatcher { .. } | Self::Source { .. } => {
                Err(Denied::ServiceOnly)
            }
        }
    }

    /// A service reaches every user of its tenant, a user only himself.
    pub fn require_access_to(&self, wanted: &UserId) -> Result<(), Denied> {
        match self {
            Self::Service { .. } => Ok(()),
            Self::User { user, .. } if user == wanted => Ok(()),
            Self::User { .. } | Self::Timer { .. } | Self::Dispatcher { .. } | Self::Source { .. } => {
                Err(Denied::AnotherUser)
            }
        }
    }
}

/// Checks credentials. Keys are compared by their SHA-256, so the time it takes says nothing about them.
#[derive(Clone)]
pub struct Authenticator {
    root_key_sha256: Option<Sha256>,
    root: Arc<Key>,
    keys: Keys,
    tokens: Option<TokenRules>,
    limits: RateLimits,
}

impl Authenticator {
    pub fn new(
        root_api_key: Option<&str>,
        keys: Keys,
        tokens: Option<TokenRules>,
        limits: RateLimits,
    ) -> Self {
        Self { root_key_sha256: root_api_key.map(sha256), root: Arc::new(Key::root()), keys, tokens, limits }
    }

    /// Counts a request of the principal, where a limit counts him.
    pub async fn count(&self, principal: &Principal) -> Option<Standing> {
        match principal {
            Principal::Service { key } => Some(self.limits.take(&key.id, key.limit.as_ref()?).await),
            Principal::User { .. }
            | Principal::Timer { .. }
            | Principal::Dispatcher { .. }
            | Principal::Source { .. } => None,
        }
    }

    /// Counts a hook of a source that has a limit.
    pub async fn count_hook(&self, source: &SourceId, limit: &Limit) -> Standing {
        self.limits.take(&source.to_string(), limit).await
    }

    /// The API key wins where both are shown.
    pub async fn check(&self, api_key: Option<&str>, bearer: Option<&str>) -> Result<Principal, Denied> {
        match (api_key, bearer) {
            (Some(key), _) => self.check_key(key).await,
            (None, Some(token)) => self.check_token(token).await,
            (None, None) => Err(Denied::Missing),
        }
    }

    pub async fn check_token(&self, token: &str) -> Result<Principal, Denied> {
        self.tokens.as_ref().ok_or(Denied::Token("no token is accepted here"))?.check(token).await
    }

    async fn check_key(&self, key: &str) -> Result<Principal, Denied> {
        let sha256 = sha256(key);
        if self.root_key_sha256 == Some(sha256) {
            return Ok(Principal::Service { key: self.root.clone() });
        }
        Ok(Principal::Service { key: self.keys.find(key, &sha256).await? })
    }
}

fn sha256(text: &str) -> Sha256 {
    sha2::Sha256::digest(text).into()
}
