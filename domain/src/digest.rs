//! Which digest collects: of one recipient, in one category, for what has one key.
//!
//! Whoever opens a digest says so here, in the job that makes its notification. So of two that open one at the same time, one is
//! refused by the log, and finds the other's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::decode::stored;
use crate::identity::{counted, parts};
use crate::notification::Category;
use crate::{InvalidIdentity, NotificationId, Tenant, UserId};

/// `dig_`, the length of the tenant in bytes, a colon and the tenant, the same of the category and of what stands for the key,
/// and the user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DigestId {
    pub tenant: Tenant,
    pub category: Category,
    /// Stands for the key, which may be personal: lower-case hexadecimal digits of its hash, or nothing.
    pub key_hash: String,
    pub user: UserId,
}

impl FromStr for DigestId {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "a digest id is dig_, the length of the tenant, a colon, the tenant, the same of the category and \
                                of the key's hash, and the user";
        let expected = || InvalidIdentity::of(EXPECTED);
        let (tenant, rest) = parts("dig_", text).ok_or_else(expected)?;
        let (category, rest) = counted(rest).ok_or_else(expected)?;
        let (key_hash, user) = counted(rest).ok_or_else(expected)?;
        let category = Category::new(category.to_owned()).map_err(|_| expected())?;
        if !key_hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(expected());
        }
        Ok(Self { tenant, category, key_hash: key_hash.to_owned(), user: user.to_owned().try_into()? })
    }
}

impl fmt::Display for DigestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, category, key_hash, user } = self;
        let category = category.as_str();
        write!(f, "dig_{}:{tenant}{}:{category}", tenant.as_str().len(), category.len())?;
        write!(f, "{}:{key_hash}{user}", key_hash.len())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    #[serde(rename = "digest.opened")]
    Opened {
        tenant: Tenant,
        category: Category,
        user_id: UserId,
        notification_id: NotificationId,
        /// When it is delivered; nothing is collected from then on.
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
    },
}

stored! { Event {
    Self::Opened { .. } => "digest.opened" @ "1.0.0",
} }

/// The digest that was opened last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    last: Option<(NotificationId, OffsetDateTime)>,
}

impl Window {
    pub const TYPE: &'static str = "digest";

    /// The digest that collects `now`, unless it has ended before its time.
    pub fn collecting(&self, now: OffsetDateTime) -> Option<NotificationId> {
        self.last.filter(|(_, until)| *until > now).map(|(id, _)| id)
    }

    /// The one that was opened last, whether it collects or not.
    pub fn last(&self) -> Option<NotificationId> {
        self.last.map(|(id, _)| id)
    }

    /// Another takes its place.
    pub fn open(id: &DigestId, notification_id: NotificationId, until: OffsetDateTime) -> Event {
        let DigestId { tenant, category, user, .. } = id.clone();
        Event::Opened { tenant, category, user_id: user, notification_id, until }
    }

    /// Folds one fact into the state.
    pub fn evolve(&mut self, event: &Event) {
        let Event::Opened { notification_id, until, .. } = event;
        self.last = Some((*notification_id, *until));
    }
}

#[cfg(test)]
mod tests {
    //! Which digest collects, and what it is called.
    #![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

    use std::collections::BTreeMap;

    use time::Duration;
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;
    use crate::golden::Contract;

    const NOW: OffsetDateTime = datetime!(2026-08-01 08:00 UTC);

    fn id(tenant: &str, category: &str, key_hash: &str, user: &str) -> DigestId {
        DigestId {
            tenant: Tenant::try_from(tenant.to_owned()).unwrap(),
            category: Category::new(category.into()).unwrap(),
            key_hash: key_hash.into(),
            user: UserId::try_from(user.to_owned()).unwrap(),
        }
    }

    fn opened(number: u128, until: OffsetDateTime) -> Event {
        Window::open(&id("acme", "news", "", "ada"), NotificationId::new(Uuid::from_u128(number)), until)
    }

    #[test]
    fn the_log_is_read_for_ever() {
        let event = opened(7, NOW);
        let expectations = BTreeMap::from([("digest.opened@1.0.0", event.clone())]);
        Contract { families: &["digest."], expectations }.check(&[event]);
    }

    #[test]
    fn the_one_that_was_opened_last_collects_until_its_time() {
        let mut window = Window::default();
        assert_eq!((window.collecting(NOW), window.last()), (None, None));
        window.evolve(&opened(1, NOW + Duration::HOUR));
        window.evolve(&opened(2, NOW + Duration::MINUTE));
        let last = Some(NotificationId::new(Uuid::from_u128(2)));
        assert_eq!((window.collecting(NOW), window.last()), (last, last));
        assert_eq!(window.collecting(NOW + Duration::seconds(59)), last);
        assert_eq!(window.collecting(NOW + Duration::MINUTE), None);
        assert_eq!(window.last(), last);
    }

    #[test]
    fn an_id_tells_its_parts_apart() {
        assert_eq!(id("acme", "news", "0a", "ada").to_string(), "dig_4:acme4:news2:0aada");
        for id in
            [id("acme", "a:b 1:c", "", "2:d"), id("acme", "näws", "ff00", "💶"), id("a", "n", "", "ewsada")]
        {
            assert_eq!(id.to_string().parse::<DigestId>().unwrap(), id);
        }
        for text in [
            "",
            "dig_",
            "dig_4:acme4:news",
            "dig_4:acme4:newsada",
            "dig_4:acme4:news2:0Aada",
            "adm_4:acme4:newsada",
        ] {
            assert!(text.parse::<DigestId>().is_err(), "{text:?}");
        }
    }
}
