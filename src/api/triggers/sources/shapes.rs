//! The shapes of sources and their deliveries on the wire, and their conversion from and to what the domain speaks.

use std::collections::BTreeMap;
use std::time::Duration;

use poem_openapi::types::Any;
use poem_openapi::{Enum, Object};
use serde::Deserialize;
use serde_json::Value;
use tidings_domain::source::{self, Configured, Hook, Secrets, SourceId};
use tidings_domain::template::TemplateKey;

use super::super::hooks::path_of;
use crate::api::http::next::Next;
use crate::api::http::problem::{Kind, Problem};
use crate::api::values::duration;
use crate::hooks::check_secret;

const TOLERANCE_S_MIN: u64 = 1;
const TOLERANCE_S_MAX: u64 = 3_600;
const TOLERANCE_S_DEFAULT: u32 = 300;
const RATE_MAX: u32 = 1_000_000;

/// How a request proves that it comes from the source.
#[derive(Clone, Copy, Debug, Deserialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
pub enum SourceScheme {
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature` (standardwebhooks.com).
    StandardWebhooks,
    /// `X-Hub-Signature-256`, `X-GitHub-Delivery`.
    Github,
    /// `Stripe-Signature`, and the event's `id`.
    Stripe,
}

/// What is made of a webhook: expressions in CEL (cel.dev), at most 2,000 bytes each, over `payload`, `headers` (by name, in
/// lower case, without those that prove who sent them) and `source`, its name. They have the standard operators and macros and
/// the functions `size`, `type`, `int`, `uint`, `double`, `string`, `bytes`, `dyn`, `contains`, `startsWith`, `endsWith`,
/// `charAt`, `substring`, `split`, `join`, `trim`, `lowerAscii` and `upperAscii`.
#[derive(Clone, Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct SourceMapping {
    /// A bool. What it is false for is ignored.
    pub when: Option<String>,
    /// Whose inbox: a string, or a list of at most 100 of them. An empty list is ignored.
    pub user_id: String,
    /// A string: 1 to 1,000 characters. Goes with `body`, unless there is a `template`.
    pub title: Option<String>,
    /// A string.
    pub body: Option<String>,
    /// The key of a template, as it is, in the place of `title` and `body`.
    #[oai(validator(min_length = 1, max_length = 128))]
    pub template: Option<String>,
    /// Its arguments by name: strings, numbers, and what a template takes for a date.
    pub args: Option<BTreeMap<String, String>>,
    /// A string: where a click leads.
    pub action_url: Option<String>,
    /// A string: 1 to 64 characters.
    pub category: Option<String>,
    /// A string: `low`, `normal`, `high` or `urgent`.
    pub priority: Option<String>,
    /// A map: anything the front end needs.
    pub data: Option<String>,
    /// A list of at most 20 strings.
    pub tags: Option<String>,
}

/// A source of webhooks.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
pub struct PutSource {
    pub scheme: SourceScheme,
    /// What its webhooks are signed with: one secret, or two while one takes the place of the other. Those of Standard Webhooks
    /// are `whsec_` and 24 to 64 bytes in base64, others 16 to 256 printable ASCII characters. Nobody can read them again;
    /// those that are set stay where they are left out.
    #[oai(validator(min_items = 1, max_items = 2))]
    pub secrets: Option<Vec<String>>,
    /// How far a signed timestamp may lie from now, either way: whole seconds from `1s` to `1h`, `5m` where it is left out.
    /// GitHub signs none.
    pub tolerance: Option<String>,
    pub mapping: SourceMapping,
    /// How many webhooks per second it may send on average: 1 to 1,000,000; as many as there are where it is left out.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000")))]
    pub requests_per_second: Option<u32>,
    /// How many of them may come at once: 1 to 1,000,000, and only together with `requests_per_second`.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000")))]
    pub burst: Option<u32>,
}

/// A source of webhooks as it stands.
#[derive(Debug, Object)]
#[oai(rename = "Source", skip_serializing_if_is_none)]
pub struct SourceBody {
    pub source: String,
    /// What the provider is given, behind the address of this service.
    pub path: String,
    /// `standard_webhooks`, `github` or `stripe`.
    pub scheme: String,
    /// How many secrets are set.
    pub secrets: u32,
    pub tolerance: String,
    pub mapping: SourceMapping,
    pub requests_per_second: Option<u32>,
    pub burst: Option<u32>,
}

/// A source in a list.
#[derive(Debug, Object)]
pub struct SourceSummary {
    pub source: String,
    pub path: String,
    pub scheme: String,
}

/// Sources by name.
#[derive(Debug, Object)]
pub struct SourcePage {
    pub sources: Vec<SourceSummary>,
    /// Pass it as `after` for the next page; null at the end. A page may have few sources, or none, where many were removed.
    pub next: Next,
}

/// A source that is no more.
#[derive(Debug, Object)]
pub struct RemovedSource {
    pub source: String,
}

/// A webhook, as it might come.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
pub struct PreviewHook {
    /// By name.
    pub headers: Option<BTreeMap<String, String>>,
    pub payload: BTreeMap<String, Value>,
}

/// What would be made of it.
#[derive(Debug, Object)]
pub struct HookPreview {
    /// Whether nothing would.
    pub ignored: bool,
    /// Bodies of `POST /v1/notifications`.
    pub notifications: Vec<Any<Value>>,
}

/// What became of a webhook.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct HookDelivery {
    /// What the provider calls it.
    pub delivery_id: String,
    pub received_at: String,
    /// `accepted`, `ignored` or `failed`. New ones may be added.
    pub outcome: String,
    /// The notifications that were made of it.
    pub notifications: Option<Vec<String>>,
    /// The member of the mapping that is at fault, where it is one: a JSON Pointer (RFC 6901).
    pub pointer: Option<String>,
    /// What is wrong.
    pub reason: Option<String>,
    /// Its position in the log.
    pub cursor: String,
}

/// What became of webhooks, the newest first. A repetition of one that was accepted is none of its own.
#[derive(Debug, Object)]
pub struct HookDeliveryPage {
    pub deliveries: Vec<HookDelivery>,
    /// Pass it as `before` for the next page; null at the end.
    pub next: Next,
}

impl PutSource {
    pub fn into_domain(self) -> Result<(source::Settings, Option<Secrets>), Problem> {
        let refuse = |pointer: &str, detail: &str| Err(Problem::at(Kind::Invalid, pointer, detail));
        let scheme = match self.scheme {
            SourceScheme::StandardWebhooks => source::Scheme::StandardWebhooks,
            SourceScheme::Github => source::Scheme::Github,
            SourceScheme::Stripe => source::Scheme::Stripe,
        };
        if let Some(secrets) = &self.secrets {
            if !(1..=Secrets::MAX).contains(&secrets.len()) {
                return refuse("/secrets", "must be one or two");
            }
            for (index, secret) in secrets.iter().enumerate() {
                check_secret(scheme, secret)
                    .map_err(|detail| Problem::at(Kind::Invalid, format!("/secrets/{index}"), detail))?;
            }
        }
        let tolerance_s = match self.tolerance {
            None => TOLERANCE_S_DEFAULT,
            Some(text) => tolerance(&text)?,
        };
        for (name, rate) in [("/requests_per_second", self.requests_per_second), ("/burst", self.burst)] {
            if rate.is_some_and(|rate| !(1..=RATE_MAX).contains(&rate)) {
                return refuse(name, "must be 1 to 1,000,000");
            }
        }
        if self.burst.is_some() && self.requests_per_second.is_none() {
            return refuse("/burst", "goes with `requests_per_second`");
        }
        let mapping = self.mapping.into_domain()?;
        let (requests_per_second, burst) = (self.requests_per_second, self.burst);
        let settings = source::Settings { scheme, tolerance_s, mapping, requests_per_second, burst };
        Ok((settings, self.secrets.map(Secrets)))
    }
}

fn tolerance(text: &str) -> Result<u32, Problem> {
    let bounds = Duration::from_secs(TOLERANCE_S_MIN)..=Duration::from_secs(TOLERANCE_S_MAX);
    let tolerance = duration::parse_at("/tolerance", text, bounds)?;
    if tolerance.subsec_millis() != 0 {
        return Err(Problem::at(Kind::Invalid, "/tolerance", "must be whole seconds"));
    }
    Ok(u32::try_from(tolerance.as_secs()).expect("an hour is within its bounds"))
}

impl SourceMapping {
    fn into_domain(self) -> Result<source::Mapping, Problem> {
        self.check_words()?;
        let Self { when, user_id, title, body, template, args, action_url, category, priority, data, tags } =
            self;
        Ok(source::Mapping {
            when,
            user_id,
            title,
            body,
            template,
            args: args.unwrap_or_default(),
            action_url,
            category,
            priority,
            data,
            tags,
        })
    }

    /// Words, or a template that has them.
    fn check_words(&self) -> Result<(), Problem> {
        let refuse = |member: &str, detail: &str| {
            Err(Problem::at(Kind::Invalid, format!("/mapping/{member}"), detail))
        };
        let words = [("title", self.title.is_some()), ("body", self.body.is_some())];
        let Some(key) = &self.template else {
            if self.args.is_some() {
                return refuse("args", "goes with a template");
            }
            return words
                .iter()
                .find(|(_, is_there)| !is_there)
                .map_or(Ok(()), |(name, _)| refuse(name, "is required where there is no template"));
        };
        if let Some((name, _)) = words.iter().find(|(_, is_there)| *is_there) {
            return refuse(name, "does not go with a template");
        }
        TemplateKey::new(key.clone()).map_or_else(|invalid| refuse("template", invalid.detail), |_| Ok(()))
    }

    fn new(mapping: source::Mapping) -> Self {
        let source::Mapping {
            when,
            user_id,
            title,
            body,
            template,
            args,
            action_url,
            category,
            priority,
            data,
            tags,
        } = mapping;
        let args = Some(args).filter(|args| !args.is_empty());
        Self { when, user_id, title, body, template, args, action_url, category, priority, data, tags }
    }
}

impl SourceBody {
    pub fn new(id: &SourceId, Configured { settings, secrets }: &Configured) -> Self {
        Self {
            source: id.name.to_string(),
            path: path_of(id),
            scheme: settings.scheme.as_str().into(),
            secrets: u32::try_from(secrets.0.len()).unwrap_or(u32::MAX),
            tolerance: duration::format(Duration::from_secs(settings.tolerance_s.into())),
            mapping: SourceMapping::new(settings.mapping.clone()),
            requests_per_second: settings.requests_per_second,
            burst: settings.burst,
        }
    }
}

impl HookDelivery {
    pub fn new(hook: &Hook, received_at: String, cursor: String) -> Self {
        let (delivery_id, outcome) = match hook {
            Hook::Accepted { delivery_id, .. } => (delivery_id, "accepted"),
            Hook::Ignored { delivery_id, .. } => (delivery_id, "ignored"),
            Hook::Failed { delivery_id, .. } => (delivery_id, "failed"),
        };
        let notifications = match hook {
            Hook::Accepted { notifications, .. } => {
                Some(notifications.iter().map(ToString::to_string).collect())
            }
            Hook::Ignored { .. } | Hook::Failed { .. } => None,
        };
        let fault = match hook {
            Hook::Failed { reason, .. } => Some(reason.clone()),
            Hook::Accepted { .. } | Hook::Ignored { .. } => None,
        };
        let pointer = fault.as_ref().map(|fault| fault.pointer.clone()).filter(|pointer| !pointer.is_empty());
        Self {
            delivery_id: delivery_id.clone(),
            received_at,
            outcome: outcome.into(),
            notifications,
            pointer,
            reason: fault.map(|fault| fault.detail),
            cursor,
        }
    }
}
