//! Who and what: tenants, users, notification ids. Parsed once at the edge, valid ever after.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::subscription::Topic;
use crate::template::TemplateKey;

/// Why a text is not the identity it claims to be; the sentence is meant for the caller of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidIdentity(&'static str);

impl InvalidIdentity {
    pub(crate) fn of(expected: &'static str) -> Self {
        Self(expected)
    }
}

/// A tenant: one customer, product or environment. Nothing crosses from one to another.
/// 1 to 63 characters of `a-z`, `0-9` and `-`, the alphabet of a DNS label (RFC 1035).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(String);

impl Tenant {
    /// The tenant of the root key, and of tokens that name none.
    pub fn default_tenant() -> Self {
        Self("default".into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Tenant {
    type Error = InvalidIdentity;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=63).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text))
        } else {
            Err(InvalidIdentity("a tenant is 1 to 63 characters of a-z, 0-9 and -"))
        }
    }
}

impl From<Tenant> for String {
    fn from(tenant: Tenant) -> Self {
        tenant.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A user as the application names them: 1 to 256 characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

impl UserId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UserId {
    type Error = InvalidIdentity;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let length = text.chars().take(257).count();
        if (1..=256).contains(&length) && !text.chars().any(char::is_control) {
            Ok(Self(text))
        } else {
            Err(InvalidIdentity("a user id is 1 to 256 characters without control characters"))
        }
    }
}

impl From<UserId> for String {
    fn from(user: UserId) -> Self {
        user.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `ntf_` and a UUIDv7 (RFC 9562) in its canonical lower-case form: sortable by creation, one spelling per id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NotificationId(Uuid);

impl NotificationId {
    const PREFIX: &str = "ntf_";

    pub fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl FromStr for NotificationId {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: InvalidIdentity =
            InvalidIdentity("a notification id is ntf_ followed by a UUID in lower case");
        uuid_after(Self::PREFIX, text).map(Self).ok_or(EXPECTED)
    }
}

/// What follows the prefix, in its one spelling.
fn uuid_after(prefix: &str, text: &str) -> Option<Uuid> {
    let tail = text.strip_prefix(prefix)?;
    let uuid = Uuid::try_parse(tail).ok()?;
    let mut canonical = [0; uuid::fmt::Hyphenated::LENGTH];
    (uuid.as_hyphenated().encode_lower(&mut canonical) == tail).then_some(uuid)
}

impl TryFrom<String> for NotificationId {
    type Error = InvalidIdentity;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<NotificationId> for String {
    fn from(id: NotificationId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.0.as_hyphenated())
    }
}

/// `brd_` and a UUIDv7, spelled like the id of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BroadcastId(Uuid);

impl BroadcastId {
    const PREFIX: &str = "brd_";

    pub fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl FromStr for BroadcastId {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: InvalidIdentity =
            InvalidIdentity("a broadcast id is brd_ followed by a UUID in lower case");
        uuid_after(Self::PREFIX, text).map(Self).ok_or(EXPECTED)
    }
}

impl TryFrom<String> for BroadcastId {
    type Error = InvalidIdentity;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<BroadcastId> for String {
    fn from(id: BroadcastId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for BroadcastId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.0.as_hyphenated())
    }
}

/// A tenant's user as an aggregate: `rcp_`, the length of the tenant, a colon, the tenant and the user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecipientId {
    pub tenant: Tenant,
    pub user: UserId,
}

impl FromStr for RecipientId {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: InvalidIdentity = InvalidIdentity(
            "a recipient id is rcp_, the length of the tenant, a colon, the tenant and the user",
        );
        let (tenant, user) = parts("rcp_", text).ok_or(EXPECTED)?;
        Ok(Self { tenant, user: user.to_owned().try_into()? })
    }
}

impl fmt::Display for RecipientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, user } = self;
        write!(f, "rcp_{}:{tenant}{user}", tenant.as_str().len())
    }
}

/// A tenant's template as an aggregate: `tpl_`, the length of the tenant, a colon, the tenant and the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TemplateId {
    pub tenant: Tenant,
    pub key: TemplateKey,
}

impl FromStr for TemplateId {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: InvalidIdentity = InvalidIdentity(
            "a template id is tpl_, the length of the tenant, a colon, the tenant and the key",
        );
        let (tenant, key) = parts("tpl_", text).ok_or(EXPECTED)?;
        Ok(Self { tenant, key: TemplateKey::new(key.to_owned()).map_err(|_| EXPECTED)? })
    }
}

impl fmt::Display for TemplateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, key } = self;
        write!(f, "tpl_{}:{tenant}{key}", tenant.as_str().len())
    }
}

/// A user's subscription to a tenant's topic as an aggregate: `sub_`, the length of the tenant, a colon and the tenant,
/// the same of the topic, and the user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionId {
    pub tenant: Tenant,
    pub topic: Topic,
    pub user: UserId,
}

impl FromStr for SubscriptionId {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: InvalidIdentity = InvalidIdentity(
            "a subscription id is sub_, the length of the tenant, a colon, the tenant, the same of the topic, and the user",
        );
        let (tenant, rest) = parts("sub_", text).ok_or(EXPECTED)?;
        let (topic, user) = counted(rest).ok_or(EXPECTED)?;
        let topic = Topic::try_from(topic.to_owned()).map_err(|_| EXPECTED)?;
        Ok(Self { tenant, topic, user: user.to_owned().try_into()? })
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, topic, user } = self;
        write!(f, "sub_{}:{tenant}{}:{topic}{user}", tenant.as_str().len(), topic.as_str().len())
    }
}

/// A tenant's settings as an aggregate: `set_` and the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SettingsId {
    pub tenant: Tenant,
}

impl FromStr for SettingsId {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: InvalidIdentity = InvalidIdentity("an id of settings is set_ and the tenant");
        let tenant = text.strip_prefix("set_").ok_or(EXPECTED)?;
        Ok(Self { tenant: tenant.to_owned().try_into()? })
    }
}

impl fmt::Display for SettingsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set_{}", self.tenant)
    }
}

/// The tenant and the rest of a composite id.
pub(crate) fn parts<'a>(prefix: &str, text: &'a str) -> Option<(Tenant, &'a str)> {
    let (tenant, rest) = counted(text.strip_prefix(prefix)?)?;
    Some((Tenant::try_from(tenant.to_owned()).ok()?, rest))
}

/// A part with its length before it, and what follows. One spelling per id: a length has neither a sign nor leading zeros.
pub(crate) fn counted(text: &str) -> Option<(&str, &str)> {
    let (length, rest) = text.split_once(':')?;
    let (part, rest) = rest.split_at_checked(length.parse().ok()?)?;
    (part.len().to_string() == length).then_some((part, rest))
}

/// On whose behalf a command comes. An aggregate of another tenant, or of another user where one is named,
/// answers as if it did not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    pub tenant: Tenant,
    /// The end user, when the command comes from one; a service acts for its whole tenant.
    pub user: Option<UserId>,
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
