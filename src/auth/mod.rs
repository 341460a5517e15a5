//! Who is asking. A service shows an API key and acts for its tenant; an end user shows a token and acts for
//! himself alone.

mod jwks;
mod tickets;
mod token;

pub use jwks::{Jwks, JwksError, Location, Refresher};
pub use tickets::{Ticket, Tickets};
pub use token::{LEEWAY_SECONDS, TokenRules, issue};

use sha2::{Digest, Sha256};
use tidings_domain::{Issuer, Tenant, UserId};

const ROOT_KEY_ID: &str = "root";

/// Somebody whose credentials were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    Service {
        tenant: Tenant,
        key_id: String,
    },
    User {
        tenant: Tenant,
        user: UserId,
        /// `None` where a service vouched for the user without a token.
        expires_at_unix_seconds: Option<i64>,
    },
    /// The service itself, when the time of something has come. Nobody becomes it by any credentials.
    Timer {
        tenant: Tenant,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("credentials are missing: send an x-api-key header, or Authorization: Bearer with a token")]
    Missing,
    #[error("the API key is not known")]
    UnknownKey,
    /// Neither good nor bad: what knows it cannot be asked.
    #[error("the credentials cannot be checked now: {0}")]
    Unavailable(&'static str),
    #[error("the ticket is not known: it counts once, and for 30 seconds")]
    UnknownTicket,
    /// Why a token is not accepted is said in general terms only.
    #[error("the token is not valid: {0}")]
    Token(&'static str),
    #[error("this needs an API key; a user's token may only read and mark that user's inbox")]
    ServiceOnly,
    #[error("this needs the root key")]
    RootOnly,
    #[error("a token reaches the inbox of its own user only")]
    AnotherUser,
}

impl Denied {
    /// A word for it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::UnknownKey => "unknown_key",
            Self::Unavailable(_) => "unavailable",
            Self::UnknownTicket => "unknown_ticket",
            Self::Token(_) => "invalid_token",
            Self::ServiceOnly => "service_only",
            Self::RootOnly => "root_only",
            Self::AnotherUser => "another_user",
        }
    }
}

impl Principal {
    pub fn tenant(&self) -> &Tenant {
        match self {
            Self::Service { tenant, .. } | Self::User { tenant, .. } | Self::Timer { tenant } => tenant,
        }
    }

    pub fn issuer(&self) -> Issuer {
        let user = match self {
            Self::Service { .. } | Self::Timer { .. } => None,
            Self::User { user, .. } => Some(user.clone()),
        };
        Issuer { tenant: self.tenant().clone(), user }
    }

    /// When the token behind it expires, in Unix seconds; nothing else expires by itself.
    pub fn expires_at_unix_seconds(&self) -> Option<i64> {
        match self {
            Self::Service { .. } | Self::Timer { .. } => None,
            Self::User { expires_at_unix_seconds, .. } => *expires_at_unix_seconds,
        }
    }

    /// Who did it, as the metadata of events say.
    pub fn actor(&self) -> String {
        match self {
            Self::Service { key_id, .. } => format!("key:{key_id}"),
            Self::User { user, .. } => format!("user:{user}"),
            Self::Timer { .. } => "timer".into(),
        }
    }

    /// Whose idempotency keys these are: all services of a tenant share theirs, each user has his own.
    pub fn idempotency_scope(&self) -> String {
        match self {
            Self::Service { .. } => "service".into(),
            Self::User { user, .. } => format!("user:{user}"),
            Self::Timer { .. } => "timer".into(),
        }
    }

    /// The root key alone reaches what concerns all tenants.
    pub fn require_root(&self) -> Result<(), Denied> {
        match self {
            Self::Service { key_id, .. } if key_id == ROOT_KEY_ID => Ok(()),
            _ => Err(Denied::RootOnly),
        }
    }

    pub fn require_service(&self) -> Result<(), Denied> {
        match self {
            Self::Service { .. } => Ok(()),
            Self::User { .. } | Self::Timer { .. } => Err(Denied::ServiceOnly),
        }
    }

    /// A service reaches every user of its tenant, a user only himself.
    pub fn require_access_to(&self, wanted: &UserId) -> Result<(), Denied> {
        match self {
            Self::Service { .. } => Ok(()),
            Self::User { user, .. } if user == wanted => Ok(()),
            Self::User { .. } | Self::Timer { .. } => Err(Denied::AnotherUser),
        }
    }
}

/// Checks credentials. Keys are compared by their SHA-256, so the time it takes says nothing about them.
#[derive(Clone)]
pub struct Authenticator {
    root_key_sha256: Option<[u8; 32]>,
    tokens: Option<TokenRules>,
}

impl Authenticator {
    pub fn new(root_api_key: Option<&str>, tokens: Option<TokenRules>) -> Self {
        Self { root_key_sha256: root_api_key.map(sha256), tokens }
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
        if self.root_key_sha256 == Some(sha256(key)) {
            Ok(Principal::Service { tenant: Tenant::default_tenant(), key_id: ROOT_KEY_ID.into() })
        } else {
            Err(Denied::UnknownKey)
        }
    }
}

fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}
