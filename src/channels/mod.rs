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
mod route;
mod slack;
mod smtp;
mod target;
mod vapid;
mod web_push;
mod webhook;

pub use breaker::Cause;
pub use guard::OutgoingPolicy;
pub use message::Message;
pub use route::Route;
pub use vapid::VapidKey;
pub use web_push::{BrowserKeys, InvalidKey};

use std::sync::Arc;
use std::time::Duration;

use tidings_domain::Tenant;
use tidings_domain::notification::{Channel, Failure, FailureClass, SkipReason};
use tidings_domain::recipient::Addresses;
use tidings_projections::log::ReadError;
use tokio::time::Instant;

use self::breaker::Breakers;
use self::email::Mail;
use self::pace::Pace;
use self::post::Post;
use self::route::calls_everyone;
use self::target::{Target, targets};
use crate::commands::Commands;
use crate::directory::Directory;
use crate::rate_limit::RateLimits;
use crate::telemetry::metrics::ChannelMetrics;

/// How long a channel that cannot say how a trial went keeps others from trying, beyond the time limit of a call.
const TRIAL_MARGIN: Duration = Duration::from_secs(5);

/// Characters of what is told of a call. They are counted without the address: half of one is an address, too.
const TOLD_CHARS_MAX: usize = 240;

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
    /// For so long: every endpoint has failed too often or asked for time. Where that is so for the `whole` of what the tenant
    /// sends there, nobody else needs to ask meanwhile.
    LeftAlone {
        pause: Duration,
        whole: bool,
        cause: Cause,
    },
    /// For so long the tenant's rate is used up.
    Paced {
        pause: Duration,
    },
    Unavailable(ReadError),
}

/// How it went.
#[derive(Debug, PartialEq)]
pub enum Sent {
    Delivered {
        provider_ref: Option<String>,
    },
    Failed {
        failure: Failure,
        retry_after_s: Option<u32>,
    },
    /// The endpoint is well, and does not take this message, or not now: that says nothing of the next one.
    Refused {
        failure: Failure,
    },
}

impl Sent {
    /// Of a failure.
    fn class(&self) -> Option<FailureClass> {
        match self {
            Self::Delivered { .. } => None,
            Self::Failed { failure, .. } | Self::Refused { failure } => Some(failure.class),
        }
    }

    /// The same without the address that was called: servers like to repeat it, and what they say is kept in clear.
    fn without(self, address: &str) -> Self {
        match self {
            Self::Failed { failure, retry_after_s } => {
                let detail = cut(without(&failure.detail, address));
                Self::Failed { failure: Failure { detail, ..failure }, retry_after_s }
            }
            Self::Refused { failure } => {
                let detail = cut(without(&failure.detail, address));
                Self::Refused { failure: Failure { detail, ..failure } }
            }
            Self::Delivered { provider_ref } => {
                Self::Delivered { provider_ref: provider_ref.map(|told| cut(without(&told, address))) }
            }
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

fn cut(told: String) -> String {
    told.chars().take(TOLD_CHARS_MAX).collect()
}

fn failed(class: FailureClass, detail: String) -> Sent {
    Sent::Failed { failure: Failure { class, detail }, retry_after_s: None }
}

impl Inner {
    /// Until when all of them are left alone, and why, if they are.
    fn open_until(&self, targets: &[Target], now: Instant) -> Option<(Instant, Cause)> {
        targets.iter().map(|target| self.breakers.open_until(&target.circuit, now)).min().flatten()
    }
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

    /// Whether there is somebody to call there.
    pub async fn reaches(
        &self,
        tenant: &Tenant,
        channel: Channel,
        addresses: &Addresses,
    ) -> Result<bool, ReadError> {
        let settings = self.inner.directory.settings(tenant).await?;
        let configured = settings.channels.get(&channel);
        Ok(configured.is_some_and(|configured| targets(tenant, channel, configured, addresses).is_ok()))
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
        let later = |(until, cause): (Instant, Cause)| {
            let pause = until.saturating_duration_since(now);
            NoRoute::LeftAlone { pause, whole, cause }
        };
        // `None` comes first: one that may be called now.
        if let Some(until) = inner.open_until(&targets, now) {
            return Err(later(until));
        }
        if let Some(per_second) = configured.settings.per_second
            && let Err(pause) = inner.pace.take(tenant, channel, per_second).await
        {
            return Err(NoRoute::Paced { pause });
        }
        let time_limit = Duration::from_millis(configured.settings.timeout_ms.into());
        // Who finds a breaker half open has its trial from here on: an attempt that begins has somebody to call.
        let may = |target: &Target| inner.breakers.pass(&target.circuit, now, patience(time_limit));
        let (targets, left_alone) = may_be_called(channel, targets, may);
        if targets.is_empty() {
            return Err(later(inner.open_until(&left_alone, now).unwrap_or((now, Cause::Trial))));
        }
        Ok(Route {
            inner: inner.clone(),
            tenant: tenant.clone(),
            channel,
            targets,
            incomplete: !left_alone.is_empty(),
            time_limit,
            semantics: configured.settings.semantics,
        })
    }
}

/// Those who may be called, from the first who may; and the others.
fn may_be_called(
    channel: Channel,
    mut targets: Vec<Target>,
    mut may: impl FnMut(&Target) -> bool,
) -> (Vec<Target>, Vec<Target>) {
    if calls_everyone(channel) {
        return targets.into_iter().partition(may);
    }
    let first = targets.iter().position(&mut may).unwrap_or(targets.len());
    let rest = targets.split_off(first);
    (rest, targets)
}

/// How long others wait for who tries an endpoint that was failing: an e-mail's connection and its sending have the limit each.
fn patience(time_limit: Duration) -> Duration {
    time_limit * 2 + TRIAL_MARGIN
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

    #[test]
    fn what_is_told_is_cut_once_no_part_of_an_address_is_left() {
        let address = "https://push.example/".to_owned() + &"x".repeat(500);
        let told = format!("HTTP 400: {address} is none; {}", "y".repeat(500));
        let Sent::Failed { failure, .. } = failed(FailureClass::Permanent, told).without(&address) else {
            panic!("it failed");
        };
        assert!(failure.detail.starts_with("HTTP 400: (the address) is none; yyy"), "{}", failure.detail);
        assert_eq!(failure.detail.len(), TOLD_CHARS_MAX);
        let delivered = Sent::Delivered { provider_ref: Some("250 for <alice@b.example>".into()) };
        let expected = Sent::Delivered { provider_ref: Some("250 for <(the address)>".into()) };
        assert_eq!(delivered.without("alice@b.example"), expected);
    }
}
