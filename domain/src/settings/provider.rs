//! Who takes a channel's messages: an SMTP server, Slack, an endpoint of webhooks, browsers; and the secrets that go with each.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{InvalidChannel, NewSecrets};

/// What a provider is called: 1 to 63 characters of `a-z`, `0-9` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProviderName(String);

impl ProviderName {
    pub fn new(text: String) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        ((1..=63).contains(&text.len()) && text.bytes().all(allowed)).then_some(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    pub name: ProviderName,
    #[serde(flatten)]
    pub endpoint: Endpoint,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Endpoint {
    Smtp(Smtp),
    /// An incoming webhook, whose URL is a secret.
    Slack {},
    Webhook {
        /// For whoever has no URL of his own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    },
    /// The push services of browsers, each where its browser says.
    WebPush {
        /// Whom they turn to (RFC 8292, 2.1): a `mailto:` or an `https:` URI.
        subject: String,
    },
}

/// How a connection to an SMTP server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// In the clear at first; a server that does not offer more is left (RFC 3207).
    Starttls,
    /// From the first byte (RFC 8314).
    Tls,
    None,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smtp {
    pub host: String,
    pub port: u16,
    pub security: Security,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// A mailbox (RFC 5322, 3.4), with or without a name.
    pub from: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// Certificates in PEM that are trusted beside those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<String>,
    /// Where a reader unsubscribes (RFC 2369), with places for `{user_id}` and `{category}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsubscribe_url: Option<String>,
    /// It takes a POST without any further question (RFC 8058).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsubscribe_one_click: bool,
}

impl Endpoint {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Smtp(_) => "smtp",
            Self::Slack {} => "slack",
            Self::Webhook { .. } => "webhook",
            Self::WebPush { .. } => "web_push",
        }
    }

    /// Whether the same password opens both.
    pub(super) fn is_same_account(&self, other: &Self) -> bool {
        let account = |endpoint: &Self| match endpoint {
            Self::Smtp(Smtp { host, port, username, .. }) => {
                Some((host.to_ascii_lowercase(), *port, username.clone()))
            }
            Self::Slack {} | Self::Webhook { .. } | Self::WebPush { .. } => None,
        };
        account(self) == account(other)
    }

    /// Refuses an endpoint that could not be used with these.
    pub(super) fn check_secrets(&self, index: usize, secrets: &Secrets) -> Result<(), InvalidChannel> {
        let refuse = |member, detail| {
            let pointer = format!("/providers/{index}/{}/{member}", self.kind());
            Err(InvalidChannel { pointer, detail })
        };
        match self {
            Self::Smtp(smtp) if smtp.username.is_some() && secrets.password.is_none() => {
                refuse("password", "must be given with a user name, and again when the server is another")
            }
            Self::Smtp(smtp) if smtp.username.is_none() && secrets.password.is_some() => {
                refuse("username", "must be given with a password")
            }
            Self::Webhook { .. } if secrets.signing.is_empty() => {
                refuse("secret", "must be given: every webhook is signed")
            }
            Self::WebPush { .. } if secrets.private_key.is_none() => {
                refuse("private_key", "must be given: every push is signed")
            }
            Self::Smtp(_) | Self::Slack {} | Self::Webhook { .. } | Self::WebPush { .. } => Ok(()),
        }
    }
}

/// What nobody is shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Of Slack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The newest first; it has no end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signing: Vec<SigningSecret>,
    /// Of Web Push (RFC 8292): 32 bytes in base64url. Browsers subscribe to what it opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<String>,
}

/// A secret as Standard Webhooks writes it: `whsec_` and base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningSecret {
    pub secret: String,
    /// It signs until then.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub until: Option<OffsetDateTime>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(..)")
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningSecret(.., {:?})", self.until)
    }
}

impl Secrets {
    /// Secrets that sign at once at most.
    pub const SIGNING_MAX: usize = 5;

    /// Those that sign at an instant, the newest first.
    pub fn signing_at(&self, now: OffsetDateTime) -> impl Iterator<Item = &str> {
        let current =
            self.signing.iter().filter(move |signing| signing.until.is_none_or(|until| until > now));
        current.map(|signing| signing.secret.as_str())
    }

    pub(super) fn with(mut self, new: NewSecrets, now: OffsetDateTime) -> Self {
        self.password = new.password.or(self.password);
        self.url = new.url.or(self.url);
        self.private_key = new.private_key.or(self.private_key).or(new.private_key_made);
        let Some(new) = new.signing else { return self };
        if self.signing.first().is_some_and(|newest| newest.secret == new.secret) {
            return self;
        }
        let mut signing = vec![SigningSecret { secret: new.secret.clone(), until: None }];
        for mut before in self.signing {
            let until = before.until.map_or(new.overlap_until, |until| until.min(new.overlap_until));
            before.until = Some(until);
            if until > now && before.secret != new.secret && signing.len() < Self::SIGNING_MAX {
                signing.push(before);
            }
        }
        self.signing = signing;
        self
    }
}
