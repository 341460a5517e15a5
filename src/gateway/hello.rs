//! The handshake of a socket: who it is and what it asks for. A browser cannot see why an upgrade was refused, so
//! what is wrong is said by a close code after it.

use tidings_domain::UserId;
use tidings_projections::log::Cursor;
use uuid::Uuid;

use super::Gateway;
use super::frame::Close;
use super::hub::Owner;
use crate::auth::{Denied, Principal, Scope};

/// The credentials that came with the handshake.
pub enum Shown {
    /// A key or a token, checked.
    Checked(Result<Principal, Denied>),
    /// A ticket, not redeemed yet.
    Ticket(String),
    /// None: the first frame will bring a token.
    Nothing,
}

/// The query of the handshake.
#[derive(Default)]
pub struct Query {
    /// For a service: whose inbox. A user's own is the only one he gets.
    pub user_id: Option<UserId>,
    pub cursor: Option<Cursor>,
    /// An earlier connection of the user, whose place this one takes.
    pub goes_on_from: Option<Uuid>,
}

/// A handshake. The query is an error where any of it is.
pub struct Hello {
    pub shown: Shown,
    pub query: Result<Query, Close>,
}

impl Shown {
    /// The principal; `None` where he is yet to come.
    pub async fn check(self, gateway: &Gateway) -> Result<Option<Principal>, Close> {
        match self {
            Self::Nothing => Ok(None),
            Self::Checked(checked) => checked.map(Some).map_err(|denied| refused(gateway, denied)),
            Self::Ticket(secret) => match gateway.tickets.redeem(&secret).await {
                Ok(redeemed) => redeemed.map(Some).map_err(|denied| refused(gateway, denied)),
                Err(error) => {
                    if let Some(connections) = gateway.trouble.count() {
                        tracing::warn!(%error, connections, "a ticket cannot be looked up");
                    }
                    Err(Close::GoingAway)
                }
            },
        }
    }
}

/// Credentials that are not good; where that cannot be told now, or it is only too early, the client comes back.
pub fn refused(gateway: &Gateway, denied: Denied) -> Close {
    gateway.metrics.auth.denied(denied);
    match denied {
        Denied::Unavailable(_) | Denied::RateLimited => Close::GoingAway,
        _ => Close::Unauthorized,
    }
}

impl Query {
    /// Whose inbox the principal gets.
    pub fn owner(&self, principal: &Principal) -> Result<Owner, Close> {
        let user = match (principal, &self.user_id) {
            (principal, _) if principal.require(Scope::InboxRead).is_err() => {
                return Err(Close::Unauthorized);
            }
            (Principal::Service { .. }, None) => return Err(Close::BadRequest),
            (Principal::Timer { .. } | Principal::Dispatcher { .. } | Principal::Source { .. }, _) => {
                return Err(Close::Unauthorized);
            }
            (Principal::User { user, .. }, Some(wanted)) if user != wanted => {
                return Err(Close::Unauthorized);
            }
            (Principal::Service { .. }, Some(user)) | (Principal::User { user, .. }, _) => user,
        };
        Ok(Owner { tenant: principal.tenant().as_str().into(), user_id: user.as_str().into() })
    }
}
