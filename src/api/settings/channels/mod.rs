//! Channels: by which providers a tenant reaches people, with secrets that go in and never come out.

mod provider;
mod trial;

pub use provider::public_key;
pub use trial::Trials;

use std::collections::BTreeMap;
use std::time::Duration;

use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::Deserialize;
use tidings_domain::notification::{Backoff, Channel, RetryPolicy};
use tidings_domain::settings::{
    self, Action, ChannelSettings, ConfigureChannel, Configured, InvalidChannel, Settings,
};
use tidings_domain::{SettingsId, Tenant};
use time::OffsetDateTime;

use self::provider::{Provider, PutProvider};
use crate::api::Tag;
use crate::api::http::body::Body;
use crate::api::http::credentials::{Admin, Caller, Service};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::reads::Reads;
use crate::api::http::request::{Command, Key};
use crate::api::values::duration;
use crate::channels::OutgoingPolicy;
use crate::clock;

pub struct Channels;

/// How a channel is served. It replaces what was said before; secrets that are left out stay.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct PutChannel {
    /// In order: one that fails for the moment, or has failed too often, is passed over.
    #[oai(validator(min_items = 1, max_items = 5))]
    providers: Vec<PutProvider>,
    /// How long one provider may take: `100ms` to `1m`, `15s` where it is left out.
    timeout: Option<String>,
    retry: Option<PutRetry>,
    rate: Option<PutRate>,
    semantics: Option<Semantics>,
}

/// How often a message is tried.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct PutRetry {
    schedule: Schedule,
    /// Attempts in all; 10 for `standard_webhooks` where it is left out.
    #[oai(validator(minimum(value = "1"), maximum(value = "50")))]
    attempts_max: Option<u32>,
    /// The first wait of `exponential`, such as `30s`.
    base: Option<String>,
    /// The longest wait of `exponential`, at most `7d`.
    cap: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
enum Schedule {
    /// Anything up to `base`, doubled with each attempt up to `cap`.
    Exponential,
    /// At once, then after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h.
    StandardWebhooks,
}

/// What happens where it is not known whether an e-mail was taken.
#[derive(Clone, Copy, Debug, Deserialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
enum Semantics {
    /// It is sent again, with the same `Message-ID`.
    AtLeastOnce,
    /// It is left alone, and shown as `unknown`.
    AtMostOnce,
}

/// How fast the tenant's messages go out on the channel, over all nodes.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct PutRate {
    #[oai(validator(minimum(value = "1"), maximum(value = "100000")))]
    per_second: u32,
}

/// How a channel is served.
#[derive(Debug, Object)]
#[oai(rename = "ConfiguredChannel", skip_serializing_if_is_none)]
struct Shown {
    /// `email`, `slack`, `webhook` or `web_push`.
    channel: String,
    providers: Vec<Provider>,
    timeout: String,
    retry: Retry,
    rate: Option<Rate>,
    semantics: Semantics,
}

/// How often a message is tried.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Retry {
    schedule: Schedule,
    attempts_max: u32,
    base: Option<String>,
    cap: Option<String>,
}

/// How fast messages go out.
#[derive(Debug, Object)]
struct Rate {
    per_second: u32,
}

/// The channels of a tenant.
#[derive(Debug, Object)]
struct ChannelList {
    channels: Vec<Shown>,
}

/// A channel that is no more.
#[derive(Debug, Object)]
struct RemovedChannel {
    channel: String,
}

#[derive(ApiResponse)]
enum ChannelResponse {
    /// Recorded, or already so.
    #[oai(status = 200)]
    Kept(
        Json<Shown>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had done it.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

#[derive(ApiResponse)]
enum RemovedResponse {
    /// Recorded, or already so.
    #[oai(status = 200)]
    Removed(
        Json<RemovedChannel>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had done it.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Channels")]
impl Channels {
    /// Configure a channel
    ///
    /// It replaces what was said before. Secrets are sealed in the log and never shown; one that is left out stays, as long as
    /// the provider keeps its name and, for a password, its server and user name. A channel or an endpoint that was disabled,
    /// because it said that it is no more, is used again.
    #[oai(path = "/channels/:channel", method = "put", operation_id = "configureChannel")]
    async fn configure(
        &self,
        command: Command<Service<Admin>, Body<PutChannel>>,
        /// `email`, `slack`, `webhook` or `web_push`.
        channel: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<ChannelResponse, Problem> {
        let (channel, now) = (parse(&channel)?, clock::now());
        let asked = command.body.parse::<PutChannel>()?;
        let configure = asked.into_domain(channel, &command.backend.outgoing, now)?;
        let id = id(command.principal().tenant());
        let action = Action::ConfigureChannel(Box::new(configure));
        let changed = command.backend.commands.change_settings(&command.context(&key), &id, action).await?;
        // As it stood then: a repetition is given the answer of the first, whatever was said since.
        let reads = &command.backend.reads;
        let settings = reads.settings_at(&id.tenant, changed.position).await?;
        let shown = Shown::of(channel, &settings, now)?;
        let replayed = changed.replayed.then_some(true);
        Ok(ChannelResponse::Kept(Json(shown), reads.cursor(changed.position), replayed))
    }

    /// Look at a channel
    #[oai(path = "/channels/:channel", method = "get", operation_id = "getChannel")]
    async fn get(
        &self,
        caller: Caller<Service<Admin>>,
        reads: &Reads,
        /// `email`, `slack`, `webhook` or `web_push`.
        channel: Path<String>,
    ) -> Result<Json<Shown>, Problem> {
        let channel = parse(&channel)?;
        let settings = reads.settings(caller.principal.tenant()).await?;
        Shown::of(channel, &settings, clock::now()).map(Json)
    }

    /// Remove a channel
    ///
    /// Its secrets are forgotten; what would have gone out on it is skipped as `not_configured`.
    #[oai(path = "/channels/:channel", method = "delete", operation_id = "removeChannel")]
    async fn remove(
        &self,
        command: Command<Service<Admin>>,
        /// `email`, `slack`, `webhook` or `web_push`.
        channel: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<RemovedResponse, Problem> {
        command.body.parse()?;
        let channel = parse(&channel)?;
        let (id, action) = (id(command.principal().tenant()), Action::RemoveChannel { channel });
        let changed = command.backend.commands.change_settings(&command.context(&key), &id, action).await?;
        let removed = RemovedChannel { channel: channel.as_str().into() };
        let cursor = command.backend.reads.cursor(changed.position);
        Ok(RemovedResponse::Removed(Json(removed), cursor, changed.replayed.then_some(true)))
    }

    /// List channels
    ///
    /// Those that the key's tenant has configured.
    #[oai(path = "/channels", method = "get", operation_id = "listChannels")]
    async fn list(
        &self,
        caller: Caller<Service<Admin>>,
        reads: &Reads,
    ) -> Result<Json<ChannelList>, Problem> {
        let settings = reads.settings(caller.principal.tenant()).await?;
        let channels = settings.channels.keys().map(|channel| Shown::of(*channel, &settings, clock::now()));
        Ok(Json(ChannelList { channels: channels.collect::<Result<_, Problem>>()? }))
    }
}

fn parse(text: &str) -> Result<Channel, Problem> {
    let channel = Channel::parse(text).filter(|channel| channel.calls_outside());
    let expected = "must be one of `email`, `slack`, `webhook` and `web_push`";
    channel.ok_or_else(|| Problem::at(Kind::Malformed, "channel", expected))
}

fn id(tenant: &Tenant) -> SettingsId {
    SettingsId { tenant: tenant.clone() }
}

impl PutChannel {
    fn into_domain(
        self,
        channel: Channel,
        outgoing: &OutgoingPolicy,
        now: OffsetDateTime,
    ) -> Result<ConfigureChannel, Problem> {
        let mut secrets = BTreeMap::new();
        let mut providers = Vec::with_capacity(self.providers.len());
        for (index, provider) in self.providers.into_iter().enumerate() {
            let (provider, new) = provider.into_domain(&format!("/providers/{index}"), outgoing, now)?;
            secrets.insert(provider.name.clone(), new);
            providers.push(provider);
        }
        let timeout_ms = match self.timeout {
            None => ChannelSettings::TIMEOUT_MS_DEFAULT,
            Some(text) => {
                let bounds = [ChannelSettings::TIMEOUT_MS_MIN, ChannelSettings::TIMEOUT_MS_MAX];
                let [min, max] = bounds.map(|ms| Duration::from_millis(ms.into()));
                let timeout = duration::parse_at("/timeout", &text, min..=max)?;
                u32::try_from(timeout.as_millis()).unwrap_or(ChannelSettings::TIMEOUT_MS_MAX)
            }
        };
        let settings = ChannelSettings {
            providers,
            timeout_ms,
            retry: self
                .retry
                .map_or(Ok(ChannelSettings::retry_default(channel)), |retry| retry.into_domain())?,
            per_second: self.rate.map(|rate| rate.per_second),
            semantics: match self.semantics {
                Some(Semantics::AtMostOnce) => settings::Semantics::AtMostOnce,
                Some(Semantics::AtLeastOnce) | None => settings::Semantics::AtLeastOnce,
            },
        };
        settings.check(channel)?;
        Ok(ConfigureChannel { channel, settings, secrets, now })
    }
}

impl PutRetry {
    fn into_domain(self) -> Result<RetryPolicy, Problem> {
        let wait = |pointer: &str, given: Option<String>| {
            let text = given.ok_or_else(|| {
                Problem::at(Kind::Invalid, pointer, "must be given with the schedule `exponential`")
            })?;
            let bounds = Duration::from_millis(1)..=Duration::from_millis(ChannelSettings::CAP_MS_MAX);
            let wait = duration::parse_at(pointer, &text, bounds)?;
            Ok::<u64, Problem>(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
        };
        let standard = RetryPolicy::STANDARD_WEBHOOKS;
        match self.schedule {
            Schedule::StandardWebhooks => {
                let needless = [("/retry/base", &self.base), ("/retry/cap", &self.cap)];
                if let Some((pointer, _)) = needless.into_iter().find(|(_, given)| given.is_some()) {
                    return Err(Problem::at(Kind::Invalid, pointer, "goes with the schedule `exponential`"));
                }
                let attempts_max = self.attempts_max.unwrap_or(standard.attempts_max);
                Ok(RetryPolicy { attempts_max, ..standard })
            }
            Schedule::Exponential => {
                let (base_ms, cap_ms) = (wait("/retry/base", self.base)?, wait("/retry/cap", self.cap)?);
                let attempts_max = self.attempts_max.ok_or_else(|| {
                    let expected = "must be given with the schedule `exponential`";
                    Problem::at(Kind::Invalid, "/retry/attempts_max", expected)
                })?;
                Ok(RetryPolicy { attempts_max, backoff: Backoff::Exponential { base_ms, cap_ms } })
            }
        }
    }
}

impl Shown {
    fn of(channel: Channel, settings: &Settings, now: OffsetDateTime) -> Result<Self, Problem> {
        let configured = settings.channels.get(&channel);
        let configured =
            configured.ok_or_else(|| Problem::new(Kind::NotFound, "the channel is not configured"))?;
        let Configured { settings, .. } = configured;
        let ms = |ms: u64| duration::format(Duration::from_millis(ms));
        let attempts_max = settings.retry.attempts_max;
        Ok(Self {
            channel: channel.as_str().into(),
            providers: settings.providers.iter().map(|it| Provider::of(it, configured, now)).collect(),
            timeout: ms(settings.timeout_ms.into()),
            retry: match settings.retry.backoff {
                Backoff::StandardWebhooks => {
                    Retry { schedule: Schedule::StandardWebhooks, attempts_max, base: None, cap: None }
                }
                Backoff::Exponential { base_ms, cap_ms } => Retry {
                    schedule: Schedule::Exponential,
                    attempts_max,
                    base: Some(ms(base_ms)),
                    cap: Some(ms(cap_ms)),
                },
            },
            rate: settings.per_second.map(|per_second| Rate { per_second }),
            semantics: match settings.semantics {
                settings::Semantics::AtLeastOnce => Semantics::AtLeastOnce,
                settings::Semantics::AtMostOnce => Semantics::AtMostOnce,
            },
        })
    }
}

impl From<InvalidChannel> for Problem {
    fn from(invalid: InvalidChannel) -> Self {
        Self::at(Kind::Invalid, invalid.pointer, invalid.detail)
    }
}

impl From<settings::Error> for Problem {
    fn from(refusal: settings::Error) -> Self {
        match refusal {
            settings::Error::Invalid(invalid) => invalid.into(),
            settings::Error::UnknownPlan => Self::at(Kind::Invalid, "/plan_name", refusal.to_string()),
            settings::Error::PlanInUse { .. }
            | settings::Error::TooManyCategories
            | settings::Error::TooManyPlans => Self::new(Kind::InvalidState, refusal.to_string()),
        }
    }
}
