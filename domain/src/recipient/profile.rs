//! Where a recipient is reached, in which language and on whose clock.

use serde::{Deserialize, Serialize};

use super::PushSubscription;
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
    /// The oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub web_push: Vec<PushSubscription>,
}

impl Addresses {
    pub const EMAIL_CHARS_MAX: usize = 254;
    pub const URL_CHARS_MAX: usize = 2_048;

    /// An address that would break out of a header or a request line is none.
    pub fn new(
        email: Option<String>,
        slack: Option<String>,
        webhook: Option<String>,
        web_push: Vec<PushSubscription>,
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
        let known = |at: usize| web_push[..at].iter().any(|it| it.endpoint == web_push[at].endpoint);
        if web_push.len() > PushSubscription::COUNT_MAX || (0..web_push.len()).any(known) {
            return refuse(
                "/addresses/web_push",
                "must have at most 10 items, no two with the same endpoint",
            );
        }
        if web_push.iter().any(|it| !is_plain(&it.endpoint, PushSubscription::ENDPOINT_CHARS_MAX)) {
            return refuse("/addresses/web_push", "must have endpoints of at most 2,048 characters");
        }
        Ok(Self { email, slack, webhook, web_push })
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What [`Self::forget`] needs to forget an address, if the channel reaches the recipient there: which of several it is.
    pub(super) fn which(&self, channel: Channel, address: &str) -> Option<Self> {
        let only = match channel {
            Channel::InApp => &None,
            Channel::Email => &self.email,
            Channel::Slack => &self.slack,
            Channel::Webhook => &self.webhook,
            Channel::WebPush => {
                let one = self.web_push.iter().find(|it| it.endpoint == address)?;
                return Some(Self { web_push: vec![one.clone()], ..Self::default() });
            }
        };
        (only.as_deref() == Some(address)).then(Self::default)
    }

    /// All that the channel has, but for Web Push where it is said which.
    pub(super) fn forget(&mut self, channel: Channel, which: &Self) {
        match channel {
            Channel::InApp => {}
            Channel::Email => self.email = None,
            Channel::Slack => self.slack = None,
            Channel::Webhook => self.webhook = None,
            Channel::WebPush if which.web_push.is_empty() => self.web_push.clear(),
            Channel::WebPush => which.web_push.iter().for_each(|gone| self.unsubscribe(&gone.endpoint)),
        }
    }

    /// The newest, instead of one with the same endpoint, or of the oldest where there are too many.
    pub(super) fn subscribe(&mut self, subscription: PushSubscription) {
        self.unsubscribe(&subscription.endpoint);
        let surplus = (self.web_push.len() + 1).saturating_sub(PushSubscription::COUNT_MAX);
        self.web_push.drain(..surplus);
        self.web_push.push(subscription);
    }

    pub(super) fn unsubscribe(&mut self, endpoint: &str) {
        self.web_push.retain(|it| it.endpoint != endpoint);
    }
}

fn is_plain(text: &str, chars_max: usize) -> bool {
    let fits = (1..=chars_max).contains(&text.chars().take(chars_max + 1).count());
    fits && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// All that is known of how a recipient is reached.
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
