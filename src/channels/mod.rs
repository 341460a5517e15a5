//! Ways to people outside of the service: by a tenant's providers, in order, each with its time limit and its breaker.
//!
//! A channel calls and tells how it went. Whether there is another attempt, and what follows from a failure, is decided by the
//! notification.

mod breaker;
mod email;
mod guard;
mod message;
mod pace;
mod post;
mod slack;
mod webhook;

pub use guard::OutgoingPolicy;
pub use message::Message;

use std::sync::Arc;
use std::time::Duration;

use tidings_domain::notification::{Channel, Failure, FailureClass, SkipReason};
use tidings_domain::recipient::{self, Addresses};
use tidings_domain::settings::{self, Configured, Endpoint, Provider, Secrets, Semantics};
use tidings_domain::{RecipientId, SettingsId, Tenant};
use tidings_projections::log::ReadError;
use tokio::time::Instant;

use self::breaker::{Breakers, Circuit};
use self::email::{Exit, Mail};
use self::pace::Pace;
use self::post::Post;
use crate::auth::Principal;
use crate::clock;
use crate::commands::{CommandError, Commands, Context};
use crate::directory::Directory;
use crate::rate_limit::RateLimits;
use crate::telemetry::metrics::ChannelMetrics;

/// How long a channel that cannot say how a trial went keeps others from trying, beyond the time limit of a call.
const TRIAL_MARGIN: Duration = Duration::from_secs(5);

/// Cheap to clone.
#[derive(Clone)]
pub struct Channels {
    inner: Arc<Inner>,
}

struct Inner {
    directory: Directory,
    commands: Arc<Commands>,
    breakers: Breakers,
    pace: Pace,
    post: Post,
    mail: Mail,
    metrics: ChannelMetrics,
}

/// Why nothing is sent now.
#[derive(Debug)]
pub enum NoRoute {
    /// For good.
    Skip(SkipReason),
    /// For so long: every endpoint has failed too often or asked for time, or the tenant's rate is used up. Where that is so
    /// for the `whole` of what the tenant sends there, nobody else needs to ask meanwhile.
    Later {
        pause: Duration,
        whole: bool,
    },
    Unavailable(ReadError),
}

/// How a message reaches its recipient.
pub struct Route {
    inner: Arc<Inner>,
    tenant: Tenant,
    channel: Channel,
    targets: Vec<Target>,
    time_limit: Duration,
    semantics: Semantics,
}

/// How it went.
#[derive(Debug, PartialEq)]
pub enum Sent {
    Delivered { provider_ref: Option<String> },
    Failed { failure: Failure, retry_after_s: Option<u32> },
}

impl Sent {
    /// The same without the address that was called: servers like to repeat it, and what they say is kept in clear.
    fn without(self, address: &str) -> Self {
        match self {
            Self::Failed { failure, retry_after_s } => {
                let detail = without(&failure.detail, address);
                Self::Failed { failure: Failure { detail, ..failure }, retry_after_s }
            }
            delivered @ Self::Delivered { .. } => delivered,
        }
    }
}

/// In capitals or not.
fn without(told: &str, address: &str) -> String {
    // Both keep their lengths, so that places in one are places in the other.
    let (lower, address) = (told.to_ascii_lowercase(), address.to_ascii_lowercase());
    if address.is_empty() || !lower.contains(&address) {
        return told.to_owned();
    }
    let (mut rest, mut at) = (String::with_capacity(told.len()), 0);
    for (found, _) in lower.match_indices(&address) {
        rest.push_str(&told[at..found]);
        rest.push_str("(the address)");
        at = found + address.len();
    }
    rest.push_str(&told[at..]);
    rest
}

struct Target {
    provider: Provider,
    secrets: Secrets,
    circuit: Circuit,
    /// A URL, or an e-mail address.
    address: String,
    /// It is the recipient's own, and not the tenant's.
    own: bool,
}

fn failed(class: FailureClass, detail: String) -> Sent {
    Sent::Failed { failure: Failure { class, detail }, retry_after_s: None }
}

impl Channels {
    pub fn new(
        directory: Directory,
        commands: Arc<Commands>,
        limits: RateLimits,
        outgoing: &OutgoingPolicy,
        metrics: &ChannelMetrics,
    ) -> Result<Self, reqwest::Error> {
        let breakers = Breakers::new(metrics.breaker_open.clone());
        let (pace, post, mail) = (Pace::new(limits), Post::new(outgoing)?, Mail::new(outgoing));
        let metrics = metrics.clone();
        Ok(Self { inner: Arc::new(Inner { directory, commands, breakers, pace, post, mail, metrics }) })
    }

    /// Whether and how the recipient is reached there, before an attempt begins. It counts towards the tenant's rate.
    pub async fn route(
        &self,
        tenant: &Tenant,
        channel: Channel,
        addresses: &Addresses,
    ) -> Result<Route, NoRoute> {
        let inner = &self.inner;
        let settings = inner.directory.settings(tenant).await.map_err(NoRoute::Unavailable)?;
        let configured = settings.channels.get(&channel).ok_or(NoRoute::Skip(SkipReason::NotConfigured))?;
        let targets = targets(tenant, channel, configured, addresses).map_err(NoRoute::Skip)?;
        let now = Instant::now();
        // Elsewhere the next message may go to an address of its reader's own.
        let whole = channel == Channel::Email;
        let later = |until: Instant| NoRoute::Later { pause: until.saturating_duration_since(now), whole };
        let open =
            || targets.iter().map(|target| inner.breakers.open_until(&target.circuit, now)).min().flatten();
        // `None` comes first: one that may be called now.
        if let Some(until) = open() {
            return Err(later(until));
        }
        if let Some(per_second) = configured.settings.per_second
            && let Err(pause) = inner.pace.take(tenant, channel, per_second).await
        {
            return Err(NoRoute::Later { pause, whole: true });
        }
        let time_limit = Duration::from_millis(configured.settings.timeout_ms.into());
        // Who finds a breaker half open has its trial from here on: an attempt that begins has somebody to call.
        let first =
            targets.iter().position(|target| inner.breakers.pass(&target.circuit, now, patience(time_limit)));
        let first = first.ok_or_else(|| later(open().unwrap_or(now + TRIAL_MARGIN)))?;
        Ok(Route {
            inner: inner.clone(),
            tenant: tenant.clone(),
            channel,
            targets: targets.into_iter().skip(first).collect(),
            time_limit,
            semantics: configured.settings.semantics,
        })
    }
}

/// The recipient's own address, else the tenant's, by each provider that is not disabled.
fn targets(
    tenant: &Tenant,
    channel: Channel,
    configured: &Configured,
    addresses: &Addresses,
) -> Result<Vec<Target>, SkipReason> {
    let (own, email) = match channel {
        Channel::InApp => return Err(SkipReason::NotConfigured),
        Channel::Email => (None, Some(addresses.email.as_deref().ok_or(SkipReason::NoAddress)?)),
        Channel::Slack => (addresses.slack.as_deref(), None),
        Channel::Webhook => (addresses.webhook.as_deref(), None),
    };
    let target = |provider: &Provider, address: &str, own: bool| {
        // Who is set up anew is tried anew.
        let endpoint = match &provider.endpoint {
            _ if own => address.to_owned(),
            Endpoint::Smtp(smtp) => format!("{} {}:{}", provider.name, smtp.host, smtp.port),
            Endpoint::Webhook { .. } | Endpoint::Slack {} => format!("{} {address}", provider.name),
        };
        Target {
            provider: provider.clone(),
            secrets: configured.secrets.get(&provider.name).cloned().unwrap_or_default(),
            circuit: Circuit { tenant: tenant.to_string(), channel, endpoint },
            address: address.to_owned(),
            own,
        }
    };
    let providers = &configured.settings.providers;
    if let Some(address) = own {
        return Ok(providers.iter().take(1).map(|provider| target(provider, address, true)).collect());
    }
    let called = providers.iter().filter_map(|provider| {
        let address = email.or_else(|| configured.url(&provider.name))?;
        (!configured.disabled.contains(&provider.name)).then(|| target(provider, address, false))
    });
    let called: Vec<Target> = called.collect();
    match called.is_empty() {
        false => Ok(called),
        true if configured.disabled.is_empty() => Err(SkipReason::NoAddress),
        true => Err(SkipReason::NotConfigured),
    }
}

/// How long others wait for who tries an endpoint that was failing: an e-mail's connection and its sending have the limit each.
fn patience(time_limit: Duration) -> Duration {
    time_limit * 2 + TRIAL_MARGIN
}

impl Route {
    /// How long [`Route::send`] takes at most, but for what is quick: an e-mail's connection and its sending have the limit each.
    pub fn timeout(&self) -> Duration {
        let calls = if self.channel == Channel::Email { 2 } else { 1 };
        self.time_limit * u32::try_from(calls * self.targets.len()).unwrap_or(u32::MAX)
    }

    pub fn is_at_most_once(&self) -> bool {
        self.semantics == Semantics::AtMostOnce
    }

    /// By the first provider that takes it. One that fails for the moment, is no more or was failing before is passed over.
    pub async fn send(&self, message: &Message) -> Sent {
        let mut passed_over: Vec<(Sent, &Target)> = Vec::new();
        for (place, target) in self.targets.iter().enumerate() {
            let (breakers, now) = (&self.inner.breakers, Instant::now());
            // The first has passed already.
            if place > 0 && !breakers.pass(&target.circuit, now, patience(self.time_limit)) {
                continue;
            }
            let called = Instant::now();
            let sent = self.call(target, message).await.without(&target.address);
            let took = called.elapsed().as_secs_f64();
            self.inner.metrics.call_seconds.of(self.channel).observe(took);
            let (class, asked) = match &sent {
                Sent::Delivered { .. } => (None, None),
                Sent::Failed { failure, retry_after_s } => (Some(failure.class), *retry_after_s),
            };
            match (class, asked) {
                (Some(FailureClass::Transient), Some(seconds)) => {
                    breakers.asked(&target.circuit, Instant::now(), Duration::from_secs(seconds.into()));
                }
                (Some(FailureClass::Transient | FailureClass::Unknown), _) => {
                    breakers.failed(&target.circuit, called, Instant::now());
                }
                _ => breakers.succeeded(&target.circuit, called),
            }
            match class {
                Some(FailureClass::Transient) => passed_over.push((sent, target)),
                Some(FailureClass::Gone) => {
                    self.disable(target, message).await;
                    passed_over.push((sent, target));
                }
                _ => return sent,
            }
        }
        summary(passed_over)
    }

    async fn call(&self, target: &Target, message: &Message) -> Sent {
        let (post, limit) = (&self.inner.post, self.time_limit);
        match &target.provider.endpoint {
            Endpoint::Webhook { .. } => {
                webhook::send(post, &target.address, &target.secrets, message, limit).await
            }
            Endpoint::Slack {} => slack::send(post, &target.address, message, limit).await,
            Endpoint::Smtp(smtp) => {
                let (password, semantics) = (target.secrets.password.as_deref(), self.semantics);
                let exit = Exit { smtp, password, semantics, time_limit: limit };
                self.inner.mail.send(&exit, &target.address, message).await
            }
        }
    }

    /// An endpoint that is no more is not called again, and an event says so.
    async fn disable(&self, target: &Target, message: &Message) {
        let context = Context {
            principal: Principal::Timer { tenant: self.tenant.clone() },
            request_id: clock::new_uuid().to_string(),
            idempotency: None,
            trace: None,
        };
        let (channel, commands) = (self.channel, &self.inner.commands);
        let changed: Result<_, CommandError> = if target.own {
            let id = RecipientId { tenant: self.tenant.clone(), user: message.user.clone() };
            let address = target.address.clone();
            let action = recipient::Action::DisableAddress { channel, address };
            commands.describe_recipient(&context, &id, action).await
        } else {
            let id = SettingsId { tenant: self.tenant.clone() };
            let (provider, url) = (target.provider.name.clone(), target.address.clone());
            let action = settings::Action::DisableEndpoint { channel, provider, url };
            commands.change_settings(&context, &id, action).await
        };
        // The next message finds out by itself.
        if let Err(error) = changed {
            tracing::warn!(%error, "an endpoint that is no more could not be disabled");
        }
    }
}

/// What all failures come to: worth another attempt where one of them is. Without any, every breaker opened meanwhile.
fn summary(failures: Vec<(Sent, &Target)>) -> Sent {
    let told: Vec<String> = failures
        .iter()
        .filter_map(|(sent, target)| match sent {
            Sent::Failed { failure, .. } => Some(format!("{}: {}", target.provider.name, failure.detail)),
            Sent::Delivered { .. } => None,
        })
        .collect();
    let several = told.len() > 1;
    let is_transient = |sent: &Sent| matches!(sent, Sent::Failed { failure, .. } if failure.class == FailureClass::Transient);
    let mut all: Vec<Sent> = failures.into_iter().map(|(sent, _)| sent).collect();
    let at = all.iter().position(is_transient).unwrap_or(0);
    if all.is_empty() {
        return failed(FailureClass::Transient, "its endpoints have failed too often lately".into());
    }
    match all.swap_remove(at) {
        Sent::Failed { failure, retry_after_s } if several => {
            Sent::Failed { failure: Failure { detail: told.join("; "), ..failure }, retry_after_s }
        }
        sent => sent,
    }
}

#[cfg(test)]
mod tests {
    //! What is told of a failure.
    use super::*;

    #[test]
    fn an_address_is_not_repeated_in_what_is_told() {
        for (told, kept) in [
            ("550 <Alice@Example.com>: no such user", "550 <(the address)>: no such user"),
            ("alice@example.com alice@example.com", "(the address) (the address)"),
            ("Ärger mit ALICE@EXAMPLE.COM", "Ärger mit (the address)"),
            ("HTTP 503 Service Unavailable", "HTTP 503 Service Unavailable"),
        ] {
            assert_eq!(without(told, "alice@example.com"), kept);
        }
        assert_eq!(without("told", ""), "told");
    }
}
