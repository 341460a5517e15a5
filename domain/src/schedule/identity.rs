//! What schedules are called.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::identity::parts;
use crate::{InvalidIdentity, Tenant};

/// What a schedule is called: 1 to 128 characters of `a-z`, `0-9`, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScheduleKey(String);

impl ScheduleKey {
    pub const CHARS_MAX: usize = 128;
}

impl TryFrom<String> for ScheduleKey {
    type Error = InvalidIdentity;

    fn try_from(text: String) -> Result<Self, InvalidIdentity> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        match (1..=Self::CHARS_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            true => Ok(Self(text)),
            false => {
                Err(InvalidIdentity::of("a schedule's key is 1 to 128 characters of a-z, 0-9, ., _ and -"))
            }
        }
    }
}

impl From<ScheduleKey> for String {
    fn from(key: ScheduleKey) -> Self {
        key.0
    }
}

impl fmt::Display for ScheduleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tenant's schedule as an aggregate: `sch_`, the length of the tenant, a colon, the tenant and the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScheduleId {
    pub tenant: Tenant,
    pub key: ScheduleKey,
}

impl ScheduleId {
    /// What the ids of a tenant's schedules begin with.
    pub fn prefix(tenant: &Tenant) -> String {
        format!("sch_{}:{tenant}", tenant.as_str().len())
    }
}

impl FromStr for ScheduleId {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = InvalidIdentity::of(
            "a schedule's id is sch_, the length of the tenant, a colon, the tenant and the key",
        );
        let (tenant, key) = parts("sch_", text).ok_or(expected)?;
        Ok(Self { tenant, key: key.to_owned().try_into()? })
    }
}

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::prefix(&self.tenant), self.key)
    }
}
