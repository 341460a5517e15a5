//! Who was let in: the notifications of a category that one recipient got of late, against what the tenant allows.
//!
//! A grant stands in the log with the notification that it is for, or neither does. So however many ask at once, no window
//! holds more than it may.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::decode::stored;
use crate::identity::{counted, parts};
use crate::notification::Category;
use crate::settings::Throttle;
use crate::{InvalidIdentity, NotificationId, Tenant, UserId};

/// A user and a category of a tenant as an aggregate: `adm_`, the length of the tenant in bytes, a colon and the tenant, the
/// same of the category, and the user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdmissionId {
    pub tenant: Tenant,
    pub category: Category,
    pub user: UserId,
}

impl FromStr for AdmissionId {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "an admission id is adm_, the length of the tenant, a colon, the tenant, the same of the category, \
                                and the user";
        let expected = || InvalidIdentity::of(EXPECTED);
        let (tenant, rest) = parts("adm_", text).ok_or_else(expected)?;
        let (category, user) = counted(rest).ok_or_else(expected)?;
        let category = Category::new(category.to_owned()).map_err(|_| expected())?;
        Ok(Self { tenant, category, user: user.to_owned().try_into()? })
    }
}

impl fmt::Display for AdmissionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, category, user } = self;
        let category = category.as_str();
        write!(f, "adm_{}:{tenant}{}:{category}{user}", tenant.as_str().len(), category.len())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    #[serde(rename = "admission.granted")]
    Granted {
        tenant: Tenant,
        category: Category,
        user_id: UserId,
        notification_id: NotificationId,
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
}

stored! { Event {
    Self::Granted { .. } => "admission.granted" @ "1.0.0",
} }

/// The grants that still count, which the newest are: `max` of them are all it takes to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    granted: Vec<OffsetDateTime>,
}

impl Admission {
    pub const TYPE: &'static str = "admission";

    /// Lets a notification in, unless the window that ends `now` is full.
    pub fn admit(
        &self,
        id: &AdmissionId,
        notification_id: NotificationId,
        throttle: Throttle,
        now: OffsetDateTime,
    ) -> Option<Event> {
        let begin = now.saturating_sub(Duration::seconds(throttle.window_s.into()));
        let within = self.granted.iter().filter(|at| **at > begin).count();
        let AdmissionId { tenant, category, user: user_id } = id.clone();
        let granted = Event::Granted { tenant, category, user_id, notification_id, at: now };
        (within < throttle.max as usize).then_some(granted)
    }

    /// Folds one fact into the state.
    pub fn evolve(&mut self, event: &Event) {
        let Event::Granted { at, .. } = event;
        self.granted.push(*at);
    }
}

#[cfg(test)]
mod tests {
    //! A window is full, and then it is not any more.
    #![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

    use std::collections::BTreeMap;

    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;
    use crate::golden::Contract;

    const NOW: OffsetDateTime = datetime!(2026-08-01 08:00 UTC);
    const TWO_A_MINUTE: Throttle = Throttle { max: 2, window_s: 60 };

    fn id(tenant: &str, category: &str, user: &str) -> AdmissionId {
        AdmissionId {
            tenant: Tenant::try_from(tenant.to_owned()).unwrap(),
            category: Category::new(category.into()).unwrap(),
            user: UserId::try_from(user.to_owned()).unwrap(),
        }
    }

    fn granted(at: OffsetDateTime) -> Event {
        let AdmissionId { tenant, category, user: user_id } = id("acme", "news", "ada");
        let notification_id = NotificationId::new(Uuid::from_u128(7));
        Event::Granted { tenant, category, user_id, notification_id, at }
    }

    #[test]
    fn the_log_is_read_for_ever() {
        let expectations = BTreeMap::from([("admission.granted@1.0.0", granted(NOW))]);
        Contract { families: &["admission."], expectations }.check(&[granted(NOW)]);
    }

    #[test]
    fn so_many_are_let_in_per_window_and_the_rest_when_it_has_moved_on() {
        let mut admission = Admission::default();
        let ask = |admission: &mut Admission, seconds: i64| {
            let notification = NotificationId::new(Uuid::from_u128(7));
            let at = NOW + Duration::seconds(seconds);
            let event = admission.admit(&id("acme", "news", "ada"), notification, TWO_A_MINUTE, at);
            event.iter().for_each(|event| admission.evolve(event));
            assert_eq!(event, event.is_some().then(|| granted(at)));
            event.is_some()
        };
        let asked = [0, 30, 59, 60, 61, 89, 90, 200].map(|seconds| ask(&mut admission, seconds));
        assert_eq!(asked, [true, true, false, true, false, false, true, true]);
    }

    #[test]
    fn an_id_tells_its_parts_apart() {
        assert_eq!(id("acme", "news", "ada").to_string(), "adm_4:acme4:newsada");
        for id in [id("acme", "a:b 1:c", "2:d"), id("acme", "näws", "💶"), id("a", "n", "ewsada")] {
            assert_eq!(id.to_string().parse::<AdmissionId>().unwrap(), id);
        }
        for text in
            ["", "adm_", "adm_4:acme", "adm_4:acme4:news", "adm_4:acme04:newsada", "sub_4:acme4:newsada"]
        {
            assert!(text.parse::<AdmissionId>().is_err(), "{text:?}");
        }
    }
}
