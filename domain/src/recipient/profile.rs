//! Where a recipient is reached, in which language and on whose clock.

use serde::{Deserialize, Serialize};

use crate::notification::Channel;

/// What is not acceptable, and why; `pointer` is a JSON Pointer (RFC 6901) below the profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {detail}")]
pub struct InvalidProfile {
    pub pointer: &'static str,
    pub detail: &'static str,
}

/// A language as BCP 47 names it, such as `de-AT`, in its canonical spelling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Locale(String);

impl Locale {
    /// RFC 5646, section 4.4.1, has every tag that is in use fit 35 characters.
    pub const CHARS_MAX: usize = 35;

    pub fn new(text: String) -> Result<Self, InvalidProfile> {
        let is_subtag =
            |tag: &str| (1..=8).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric());
        if text.len() <= Self::CHARS_MAX && text.split('-').all(is_subtag) {
            Ok(Self(text))
        } else {
            Err(InvalidProfile {
                pointer: "/locale",
                detail: "must be a language tag such as `de` or `de-AT`",
            })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A time zone as the IANA database names it, such as `Europe/Vienna`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimeZone(String);

impl TimeZone {
    pub const CHARS_MAX: usize = 64;

    pub fn new(text: String) -> Result<Self, InvalidProfile> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/_+-".contains(&b);
        if (1..=Self::CHARS_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text))
        } else {
            Err(InvalidProfile {
                pointer: "/time_zone",
                detail: "must be a name of the IANA time zone database, such as `Europe/Vienna`",
            })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where each channel reaches the recipient. Personal: the log seals them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The URL of an incoming webhook of Slack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
}

impl Addresses {
    pub const EMAIL_CHARS_MAX: usize = 254;
    pub const URL_CHARS_MAX: usize = 2_048;

    /// An address that would break out of a header or a request line is none.
    pub fn new(
        email: Option<String>,
        slack: Option<String>,
        webhook: Option<String>,
    ) -> Result<Self, InvalidProfile> {
        let refuse = |pointer, detail| Err(InvalidProfile { pointer, detail });
        if email.as_deref().is_some_and(|text| !is_plain(text, Self::EMAIL_CHARS_MAX)) {
            return refuse("/addresses/email", "must be an e-mail address of at most 254 characters");
        }
        for (pointer, url) in [("/addresses/slack", &slack), ("/addresses/webhook", &webhook)] {
            if url.as_deref().is_some_and(|text| !is_plain(text, Self::URL_CHARS_MAX)) {
                return refuse(pointer, "must be a URL of at most 2,048 characters");
            }
        }
        Ok(Self { email, slack, webhook })
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Where the channel reaches the recipient, if it does by an address.
    pub fn of(&self, channel: Channel) -> Option<&str> {
        let address = match channel {
            Channel::InApp => &None,
            Channel::Email => &self.email,
            Channel::Slack => &self.slack,
            Channel::Webhook => &self.webhook,
        };
        address.as_deref()
    }

    pub(super) fn forget(&mut self, channel: Channel) {
        match channel {
            Channel::InApp => {}
            Channel::Email => self.email = None,
            Channel::Slack => self.slack = None,
            Channel::Webhook => self.webhook = None,
        }
    }
}

fn is_plain(text: &str, chars_max: usize) -> bool {
    let fits = (1..=chars_max).contains(&text.chars().take(chars_max + 1).count());
    fits && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// All that is known of how a recipient is reached. A change replaces the whole of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<Locale>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<TimeZone>,
    /// Empty, too, once the recipient's key was destroyed.
    #[serde(default, skip_serializing_if = "Addresses::is_empty")]
    pub addresses: Addresses,
}
