//! Providers on the wire: what each kind of them needs, checked before it is kept.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use lettre::message::Mailbox;
use lettre::transport::smtp::client::Certificate;
use poem_openapi::{Enum, Object};
use reqwest::Url;
use serde::Deserialize;
use tidings_domain::settings::{
    self, Configured, Endpoint, NewSecrets, NewSigningSecret, ProviderName, Secrets,
};
use tidings_projections::inbox::rfc3339;
use time::OffsetDateTime;

use crate::api::http::problem::{Kind, Problem};
use crate::api::values::addresses;
use crate::api::values::duration;
use crate::channels::{OutgoingPolicy, VapidKey};

/// How long a secret that is replaced goes on signing, where nobody says otherwise.
const OVERLAP_DEFAULT: Duration = Duration::from_secs(24 * 3600);
const OVERLAP_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Standard Webhooks, "Symmetric signatures": what a secret decodes to.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const HOST_CHARS_MAX: usize = 253;
const CA_BYTES_MAX: usize = 64 << 10;
const TEXT_CHARS_MAX: usize = 512;

/// One provider, by exactly one of its kinds.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
pub struct PutProvider {
    /// What it is called: 1 to 63 characters of `a-z`, `0-9` and `-`. Secrets are kept by it.
    #[oai(validator(min_length = 1, max_length = 63))]
    name: String,
    smtp: Option<PutSmtp>,
    slack: Option<PutSlack>,
    webhook: Option<PutWebhook>,
    web_push: Option<PutWebPush>,
}

/// An SMTP server, of `email`.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct PutSmtp {
    #[oai(validator(min_length = 1, max_length = 253))]
    host: String,
    #[oai(validator(minimum(value = "1")))]
    port: u16,
    security: Security,
    #[oai(validator(min_length = 1, max_length = 512))]
    username: Option<String>,
    /// Never shown. Left out it stays, while the server and the user name do.
    #[oai(validator(min_length = 1, max_length = 512))]
    password: Option<String>,
    /// The sender, with or without a name: `Acme <no-reply@acme.example>`.
    #[oai(validator(min_length = 1, max_length = 512))]
    from: String,
    #[oai(validator(min_length = 1, max_length = 512))]
    reply_to: Option<String>,
    /// Certificates in PEM that are trusted beside those of the system, at most 64 KiB.
    tls_ca: Option<String>,
    unsubscribe: Option<PutUnsubscribe>,
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, Deserialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
enum Security {
    /// In the clear at first; a server that does not offer more is left.
    Starttls,
    /// From the first byte.
    Tls,
    /// Not at all: where the operator allows the address, and nowhere else.
    None,
}

/// `List-Unsubscribe` of e-mails that have a category which is not critical; where it is longer than a line of mail, there is none.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct PutUnsubscribe {
    /// An `https` URL, with `{user_id}` and `{category}` where they belong.
    #[oai(validator(min_length = 1, max_length = 2048))]
    url: String,
    /// Whether a POST there unsubscribes without further questions (RFC 8058).
    one_click: Option<bool>,
}

/// An incoming webhook of Slack, of `slack`.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct PutSlack {
    /// For users without one of their own. It is a secret: never shown, and left out it stays.
    #[oai(validator(min_length = 1, max_length = 2048))]
    url: Option<String>,
}

/// An endpoint of webhooks, of `webhook`.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct PutWebhook {
    /// For users without one of their own.
    #[oai(validator(min_length = 1, max_length = 2048))]
    url: Option<String>,
    /// Signs, as Standard Webhooks has it: `whsec_` and base64 of 24 to 64 bytes. Never shown; left out it stays.
    #[oai(validator(min_length = 1, max_length = 100))]
    secret: Option<String>,
    /// How long the secret before goes on signing beside a new one: `0s` to `7d`, `24h` where it is left out.
    overlap: Option<String>,
}

/// The push services of browsers, of `web_push`: each is called where its browser says.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct PutWebPush {
    /// Whom push services turn to when something is wrong: `mailto:` and an e-mail address, or an `https` URL.
    #[oai(validator(min_length = 1, max_length = 512))]
    subject: String,
    /// Signs (RFC 8292): 32 bytes in base64url, as `web-push generate-vapid-keys` writes it. Never shown; left out it stays, and
    /// where there is none yet, one is made. With another one every browser has to subscribe anew.
    #[oai(validator(min_length = 43, max_length = 43))]
    private_key: Option<String>,
}

/// One provider.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Provider {
    name: String,
    /// Whether it said that it is no more (410), and is left alone until the channel is configured again.
    disabled: bool,
    smtp: Option<Smtp>,
    slack: Option<Slack>,
    webhook: Option<Webhook>,
    web_push: Option<WebPush>,
}

/// An SMTP server.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Smtp {
    host: String,
    port: u16,
    security: Security,
    username: Option<String>,
    has_password: bool,
    from: String,
    reply_to: Option<String>,
    tls_ca: Option<String>,
    unsubscribe: Option<Unsubscribe>,
}

/// `List-Unsubscribe`.
#[derive(Debug, Object)]
struct Unsubscribe {
    url: String,
    one_click: bool,
}

/// An incoming webhook of Slack.
#[derive(Debug, Object)]
struct Slack {
    has_url: bool,
}

/// An endpoint of webhooks.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Webhook {
    url: Option<String>,
    /// Secrets that sign at present: more than one until the last overlap ends.
    secrets: usize,
    /// When the last overlap ends.
    overlap_until: Option<String>,
}

/// The push services of browsers.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct WebPush {
    subject: String,
    /// What a page passes as `applicationServerKey`: an uncompressed point of P-256 in base64url.
    public_key: Option<String>,
}

fn refuse(pointer: impl Into<String>, detail: impl Into<String>) -> Problem {
    Problem::at(Kind::Invalid, pointer, detail)
}

impl PutProvider {
    pub fn into_domain(
        self,
        at: &str,
        outgoing: &OutgoingPolicy,
        now: OffsetDateTime,
    ) -> Result<(settings::Provider, NewSecrets), Problem> {
        let name = ProviderName::new(self.name).ok_or_else(|| {
            refuse(format!("{at}/name"), "must be 1 to 63 characters of `a-z`, `0-9` and `-`")
        })?;
        let (endpoint, secrets) = match (self.smtp, self.slack, self.webhook, self.web_push) {
            (Some(smtp), None, None, None) => smtp.into_domain(&format!("{at}/smtp"), outgoing)?,
            (None, Some(slack), None, None) => slack.into_domain(&format!("{at}/slack"), outgoing)?,
            (None, None, Some(webhook), None) => {
                webhook.into_domain(&format!("{at}/webhook"), outgoing, now)?
            }
            (None, None, None, Some(push)) => push.into_domain(&format!("{at}/web_push"))?,
            _ => {
                return Err(refuse(at, "must have exactly one of `smtp`, `slack`, `webhook` and `web_push`"));
            }
        };
        Ok((settings::Provider { name, endpoint }, secrets))
    }
}

impl PutSmtp {
    fn into_domain(self, at: &str, outgoing: &OutgoingPolicy) -> Result<(Endpoint, NewSecrets), Problem> {
        let member = |name: &str| format!("{at}/{name}");
        if !is_host(&self.host) {
            return Err(refuse(member("host"), "must be the name or the address of a host"));
        }
        let plain = matches!(self.security, Security::None);
        let allowed = outgoing.check_host(&self.host, plain);
        allowed.map_err(|refused| refuse(member("host"), refused.to_string()))?;
        // Their bytes are sent within lines.
        for (name, given) in [("username", &self.username), ("password", &self.password)] {
            if given.as_deref().is_some_and(|text| !is_line(text)) {
                return Err(refuse(member(name), "must be 1 to 512 characters without controls"));
            }
        }
        mailbox(&member("from"), &self.from)?;
        self.reply_to.as_deref().map_or(Ok(()), |text| mailbox(&member("reply_to"), text))?;
        if let Some(pem) = &self.tls_ca {
            let fits = pem.len() <= CA_BYTES_MAX && pem.contains("-----BEGIN CERTIFICATE-----");
            if !fits || Certificate::from_pem(pem.as_bytes()).is_err() {
                return Err(refuse(member("tls_ca"), "must be certificates in PEM, at most 64 KiB"));
            }
        }
        let (url, one_click) = match self.unsubscribe {
            Some(PutUnsubscribe { url, one_click }) => {
                (Some(unsubscribe(&member("unsubscribe/url"), url)?), one_click.unwrap_or_default())
            }
            None => (None, false),
        };
        let smtp = settings::Smtp {
            host: self.host,
            port: self.port,
            security: match self.security {
                Security::Starttls => settings::Security::Starttls,
                Security::Tls => settings::Security::Tls,
                Security::None => settings::Security::None,
            },
            username: self.username,
            from: self.from,
            reply_to: self.reply_to,
            tls_ca: self.tls_ca,
            unsubscribe_url: url,
            unsubscribe_one_click: one_click,
        };
        Ok((Endpoint::Smtp(smtp), NewSecrets { password: self.password, ..NewSecrets::default() }))
    }
}

impl PutSlack {
    fn into_domain(self, at: &str, outgoing: &OutgoingPolicy) -> Result<(Endpoint, NewSecrets), Problem> {
        let url =
            self.url.map(|text| addresses::endpoint(&format!("{at}/url"), text, outgoing)).transpose()?;
        Ok((Endpoint::Slack {}, NewSecrets { url, ..NewSecrets::default() }))
    }
}

impl PutWebhook {
    fn into_domain(
        self,
        at: &str,
        outgoing: &OutgoingPolicy,
        now: OffsetDateTime,
    ) -> Result<(Endpoint, NewSecrets), Problem> {
        let url =
            self.url.map(|text| addresses::endpoint(&format!("{at}/url"), text, outgoing)).transpose()?;
        let overlap = self
            .overlap
            .map(|text| duration::parse_at(&format!("{at}/overlap"), &text, Duration::ZERO..=OVERLAP_MAX));
        let overlap_until = now + overlap.transpose()?.unwrap_or(OVERLAP_DEFAULT);
        let signing = self.secret.map(|secret| {
            let bytes = secret.strip_prefix("whsec_").and_then(|text| BASE64.decode(text).ok());
            match bytes.is_some_and(|bytes| SECRET_BYTES.contains(&bytes.len())) {
                true => Ok(NewSigningSecret { secret, overlap_until }),
                false => {
                    let expected = "must be `whsec_` and base64 of 24 to 64 bytes";
                    Err(refuse(format!("{at}/secret"), expected))
                }
            }
        });
        let secrets = NewSecrets { signing: signing.transpose()?, ..NewSecrets::default() };
        Ok((Endpoint::Webhook { url }, secrets))
    }
}

impl PutWebPush {
    fn into_domain(self, at: &str) -> Result<(Endpoint, NewSecrets), Problem> {
        if !is_subject(&self.subject) {
            let expected = "must be `mailto:` and an e-mail address, or an `https` URL";
            return Err(refuse(format!("{at}/subject"), expected));
        }
        if self.private_key.as_deref().is_some_and(|key| VapidKey::parse(key).is_none()) {
            let expected = "must be a private key of P-256: 32 bytes in base64url";
            return Err(refuse(format!("{at}/private_key"), expected));
        }
        let made = VapidKey::make().map_err(|error| Problem::internal(&error))?;
        let secrets = NewSecrets {
            private_key: self.private_key,
            private_key_made: Some(made),
            ..NewSecrets::default()
        };
        Ok((Endpoint::WebPush { subject: self.subject }, secrets))
    }
}

/// RFC 8292, 2.1.
fn is_subject(text: &str) -> bool {
    let is_url = |text: &str| Url::parse(text).is_ok_and(|url| url.scheme() == "https" && url.has_host());
    let plain = text.len() <= TEXT_CHARS_MAX && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    plain
        && match text.strip_prefix("mailto:") {
            Some(address) => address.parse::<lettre::Address>().is_ok(),
            None => is_url(text),
        }
}

/// What a URL's host may be is a host.
fn is_host(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
    let bare = text.parse::<std::net::Ipv6Addr>().is_ok();
    let url = Url::parse(&if bare { format!("http://[{text}]/") } else { format!("http://{text}/") });
    let only_host = |url: Url| url.has_host() && url.port().is_none() && url.path() == "/";
    text.len() <= HOST_CHARS_MAX && text.bytes().all(allowed) && url.is_ok_and(only_host)
}

fn is_line(text: &str) -> bool {
    (1..=TEXT_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn mailbox(pointer: &str, text: &str) -> Result<(), Problem> {
    match is_line(text) && text.parse::<Mailbox>().is_ok() {
        true => Ok(()),
        false => Err(refuse(pointer, "must be an e-mail address, or a name and an address in `<>`")),
    }
}

fn unsubscribe(pointer: &str, text: String) -> Result<String, Problem> {
    let filled = text.replace("{user_id}", "x").replace("{category}", "x");
    let plain = !filled.chars().any(|c| c.is_control() || c.is_whitespace() || "{}<>,".contains(c));
    let url = Url::parse(&filled).ok().filter(|url| url.scheme() == "https" && plain);
    let expected = "must be an `https` URL, with no other places than `{user_id}` and `{category}`";
    url.map(|_| text).ok_or_else(|| refuse(pointer, expected))
}

impl Provider {
    pub fn of(provider: &settings::Provider, configured: &Configured, now: OffsetDateTime) -> Self {
        let secrets = configured.secrets.get(&provider.name).cloned().unwrap_or_default();
        let mut shown = Self {
            name: provider.name.to_string(),
            disabled: configured.disabled.contains(&provider.name),
            smtp: None,
            slack: None,
            webhook: None,
            web_push: None,
        };
        match provider.endpoint.clone() {
            Endpoint::Smtp(smtp) => shown.smtp = Some(Smtp::of(smtp, secrets.password.is_some())),
            Endpoint::Slack {} => shown.slack = Some(Slack { has_url: secrets.url.is_some() }),
            Endpoint::Webhook { url } => {
                let ends = secrets.signing.iter().filter_map(|signing| signing.until);
                let overlap_until = ends.filter(|until| *until > now).max().map(rfc3339);
                shown.webhook =
                    Some(Webhook { url, secrets: secrets.signing_at(now).count(), overlap_until });
            }
            Endpoint::WebPush { subject } => {
                shown.web_push = Some(WebPush { subject, public_key: public_key(&secrets) });
            }
        }
        shown
    }
}

/// What browsers subscribe to.
pub fn public_key(secrets: &Secrets) -> Option<String> {
    secrets.private_key.as_deref().and_then(VapidKey::parse).map(|key| key.public())
}

impl Smtp {
    fn of(smtp: settings::Smtp, has_password: bool) -> Self {
        let one_click = smtp.unsubscribe_one_click;
        Self {
            host: smtp.host,
            port: smtp.port,
            security: match smtp.security {
                settings::Security::Starttls => Security::Starttls,
                settings::Security::Tls => Security::Tls,
                settings::Security::None => Security::None,
            },
            username: smtp.username,
            has_password,
            from: smtp.from,
            reply_to: smtp.reply_to,
            tls_ca: smtp.tls_ca,
            unsubscribe: smtp.unsubscribe_url.map(|url| Unsubscribe { url, one_click }),
        }
    }
}
