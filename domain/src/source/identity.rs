//! What sources and their hooks are called.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::identity::parts;
use crate::{InvalidIdentity, Tenant};

/// What a source is called: 1 to 63 characters of `a-z`, `0-9`, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourceName(String);

impl SourceName {
    pub const CHARS_MAX: usize = 63;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SourceName {
    type Error = InvalidIdentity;

    fn try_from(text: String) -> Result<Self, InvalidIdentity> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
        match (1..=Self::CHARS_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            true => Ok(Self(text)),
            false => Err(InvalidIdentity::of("a source's name is 1 to 63 characters of a-z, 0-9, - and _")),
        }
    }
}

impl From<SourceName> for String {
    fn from(name: SourceName) -> Self {
        name.0
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tenant's source as an aggregate: `src_`, the length of the tenant, a colon, the tenant and the name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceId {
    pub tenant: Tenant,
    pub name: SourceName,
}

impl FromStr for SourceId {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = InvalidIdentity::of(
            "a source's id is src_, the length of the tenant, a colon, the tenant and the name",
        );
        let (tenant, name) = parts("src_", text).ok_or(expected)?;
        Ok(Self { tenant, name: name.to_owned().try_into()? })
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, name } = self;
        write!(f, "src_{}:{tenant}{name}", tenant.as_str().len())
    }
}

/// One hook of a source as an aggregate: `hok_`, the length of the tenant, a colon, the tenant, the source's name, a colon and a
/// UUIDv7. So a source's hooks stand beside each other, in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HookId {
    pub source: SourceId,
    pub uuid: Uuid,
}

impl HookId {
    /// What the ids of a source's hooks begin with.
    pub fn prefix(source: &SourceId) -> String {
        let SourceId { tenant, name } = source;
        format!("hok_{}:{tenant}{name}:", tenant.as_str().len())
    }
}

impl FromStr for HookId {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected =
            || InvalidIdentity::of("a hook's id is that of its source, with hok_, a colon and a UUID");
        let (tenant, rest) = parts("hok_", text).ok_or_else(expected)?;
        let (name, uuid) = rest.split_once(':').ok_or_else(expected)?;
        let parsed = Uuid::try_parse(uuid).map_err(|_| expected())?;
        // One spelling per id.
        if parsed.hyphenated().to_string() != uuid {
            return Err(expected());
        }
        Ok(Self { source: SourceId { tenant, name: name.to_owned().try_into()? }, uuid: parsed })
    }
}

impl fmt::Display for HookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::prefix(&self.source), self.uuid.hyphenated())
    }
}
