//! The life of what is behind a connection. A token: a notice before it ends, and the end at the moment from which a
//! new connection with it would be refused. A key: the end, without a notice, as nobody could bring another.

use std::time::Duration;

use time::OffsetDateTime;

use super::frame::{Close, Frame};
use crate::auth::{LEEWAY_SECONDS, Principal};

/// How long before its expiry a client is told.
const NOTICE: time::Duration = time::Duration::seconds(30);

pub struct Expiry {
    /// `None`: it does not expire.
    expires_at: Option<OffsetDateTime>,
    told: bool,
    /// When the key behind it does, if it does.
    key_expires_at: Option<OffsetDateTime>,
}

/// What the passing of time calls for.
#[derive(Debug)]
pub enum Due {
    Tell(Frame),
    End(Close),
}

impl Expiry {
    /// A token that expires beyond the year 9999 does not.
    pub fn of(principal: &Principal) -> Self {
        let expires_at = principal.expires_at_unix_seconds();
        let expires_at = expires_at.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
        let key_expires_at = principal.key().and_then(|key| key.expires_at);
        Self { expires_at, told: false, key_expires_at }
    }

    /// How long from `now` until there is something to do.
    pub fn next_in(&self, now: OffsetDateTime) -> Option<Duration> {
        let of_token = |at| if self.told { refused_from(at) } else { at - NOTICE };
        let due = self.expires_at.map(of_token).into_iter().chain(self.key_expires_at).min()?;
        Some((due - now).try_into().unwrap_or(Duration::ZERO))
    }

    /// What is to be done at `now`; each only once, but for the end.
    pub fn due(&mut self, now: OffsetDateTime) -> Option<Due> {
        if self.key_expires_at.is_some_and(|at| now >= at) {
            return Some(Due::End(Close::Revoked));
        }
        let expires_at = self.expires_at?;
        if now >= refused_from(expires_at) {
            return Some(Due::End(Close::TokenExpired));
        }
        if self.told || now < expires_at - NOTICE {
            return None;
        }
        self.told = true;
        Some(Due::Tell(Frame::token_expiring(expires_at)))
    }
}

/// Tokens are checked in whole seconds: the leeway's last one still counts.
fn refused_from(expires_at: OffsetDateTime) -> OffsetDateTime {
    expires_at.saturating_add(time::Duration::seconds(LEEWAY_SECONDS.cast_signed() + 1))
}

#[cfg(test)]
mod tests {
    //! When a client is told, and when it ends.
    use tidings_domain::{Tenant, UserId};

    use super::*;

    fn expiring(at: Option<i64>) -> Expiry {
        Expiry::of(&Principal::User {
            tenant: Tenant::default_tenant(),
            user: UserId::try_from("alice".to_owned()).expect("a user"),
            expires_at_unix_seconds: at,
            vouched_by: None,
        })
    }

    fn at(unix_seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(unix_seconds).expect("an instant")
    }

    #[test]
    fn the_notice_comes_once_thirty_seconds_before_and_the_end_when_the_leeway_is_over() {
        let mut expiry = expiring(Some(1_000));
        assert_eq!(expiry.next_in(at(900)), Some(Duration::from_secs(70)));
        assert!(expiry.due(at(969)).is_none());
        let Some(Due::Tell(frame)) = expiry.due(at(970)) else { panic!("the notice is due") };
        assert!(frame.json.contains(r#""expires_at":"1970-01-01T00:16:40"#), "{}", frame.json);
        assert!(expiry.due(at(1_030)).is_none());
        assert_eq!(expiry.next_in(at(1_030)), Some(Duration::from_secs(1)));
        assert!(matches!(expiry.due(at(1_031)), Some(Due::End(Close::TokenExpired))));
        assert_eq!(expiry.next_in(at(2_000)), Some(Duration::ZERO));
    }

    #[test]
    fn a_token_that_ends_soon_is_told_at_once_and_what_has_no_end_never() {
        assert!(matches!(expiring(Some(1_000)).due(at(999)), Some(Due::Tell(_))));
        for never in [None, Some(i64::MAX)] {
            let mut expiry = expiring(never);
            assert!(expiry.due(at(1_000)).is_none() && expiry.next_in(at(1_000)).is_none());
        }
        assert!(expiring(Some(253_402_300_799)).due(at(1_000)).is_none(), "the last second there is");
    }
}
