//! What a tenant says of a kind of notification, and its plans that have names.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::notification::{Category, Channel, Plan};
use crate::recipient::{Preferences, Switches};

use super::DigestSettings;

/// The name of a plan: 1 to 64 characters of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`. The first is a letter or a digit,
/// because a path that ends in `.` or `..` is another one by the time it arrives (RFC 3986, 5.2.4).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlanName(String);

/// Why a text names no plan; the sentence is meant for the caller of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a plan's name is 1 to 64 characters of A-Z, a-z, 0-9, ., _ and -, the first of them a letter or a digit"
)]
pub struct InvalidPlanName;

impl PlanName {
    pub const CHARS_MAX: usize = 64;
    /// That of what names no plan, and whose category names none.
    pub const DEFAULT: &str = "default";

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PlanName {
    type Error = InvalidPlanName;

    fn try_from(text: String) -> Result<Self, InvalidPlanName> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let fits = begins && text.len() <= Self::CHARS_MAX && text.bytes().all(allowed);
        if fits { Ok(Self(text)) } else { Err(InvalidPlanName) }
    }
}

impl From<PlanName> for String {
    fn from(name: PlanName) -> Self {
        name.0
    }
}

impl fmt::Display for PlanName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One of the tenant's, or one of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PlanChoice {
    Named(PlanName),
    Steps(Plan),
}

/// How notifications of a category are delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategorySettings {
    /// It reaches recipients whatever they switched off, and at any hour.
    #[serde(default, skip_serializing_if = "is_false")]
    pub critical: bool,
    /// For recipients who say nothing of it.
    #[serde(default, skip_serializing_if = "Switches::is_empty")]
    pub channels: Switches,
    /// Of a notification that names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanChoice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<DigestSettings>,
}

/// How many of them a recipient gets: the rest is recorded, and not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    pub max: u32,
    /// In every span of so many seconds.
    pub window_s: u32,
}

impl Throttle {
    pub const MAX_MAX: u32 = 1_000;
    /// 30 days.
    pub const WINDOW_S_MAX: u32 = 30 * 24 * 60 * 60;
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes what it asks by reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl CategorySettings {
    /// Whether it goes out on a channel: the recipient's word first, then the category's, then yes.
    pub fn admits(&self, preferences: &Preferences, category: &Category, channel: Channel) -> bool {
        let word =
            preferences.wants(Some(category), channel).or_else(|| self.channels.get(&channel).copied());
        self.critical || word.unwrap_or(true)
    }
}
