//! How a channel is served: its providers in order, how long each may take, how often it is tried, how fast.

use serde::{Deserialize, Serialize};

use super::{Endpoint, Provider, ProviderName};
use crate::notification::{Backoff, Channel, RetryPolicy};

/// Which member is not acceptable, and why; `pointer` is a JSON Pointer (RFC 6901) below the channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {detail}")]
pub struct InvalidChannel {
    pub pointer: String,
    pub detail: &'static str,
}

/// What happens where it is not known whether a message was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Semantics {
    /// It is sent again, with the same id.
    #[default]
    AtLeastOnce,
    /// It is left alone.
    AtMostOnce,
}

impl Semantics {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelSettings {
    /// The first that works is used.
    pub providers: Vec<Provider>,
    /// Of one provider.
    pub timeout_ms: u32,
    pub retry: RetryPolicy,
    /// Messages of the tenant on this channel, over all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u32>,
    #[serde(default, skip_serializing_if = "Semantics::is_default")]
    pub semantics: Semantics,
}

impl ChannelSettings {
    pub const PROVIDERS_MAX: usize = 5;
    pub const TIMEOUT_MS_MIN: u32 = 100;
    pub const TIMEOUT_MS_MAX: u32 = 60_000;
    pub const TIMEOUT_MS_DEFAULT: u32 = 15_000;
    pub const ATTEMPTS_MAX: u32 = 50;
    pub const PER_SECOND_MAX: u32 = 100_000;
    /// A week.
    pub const CAP_MS_MAX: u64 = 7 * 24 * 3_600_000;

    /// Where the tenant says nothing of it.
    pub const fn retry_default(channel: Channel) -> RetryPolicy {
        const fn exponential(attempts_max: u32, base_ms: u64, cap_ms: u64) -> RetryPolicy {
            RetryPolicy { attempts_max, backoff: Backoff::Exponential { base_ms, cap_ms } }
        }
        match channel {
            Channel::InApp => exponential(1, 1, 1),
            Channel::Email => exponential(10, 30_000, 3_600_000),
            Channel::Slack | Channel::WebPush => exponential(6, 5_000, 600_000),
            Channel::Webhook => RetryPolicy::STANDARD_WEBHOOKS,
        }
    }

    pub fn provider(&self, name: &ProviderName) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.name == *name)
    }

    /// Refuses what could not be used on the channel.
    pub fn check(&self, channel: Channel) -> Result<(), InvalidChannel> {
        let refuse = |pointer: String, detail| Err(InvalidChannel { pointer, detail });
        if !(1..=Self::PROVIDERS_MAX).contains(&self.providers.len()) {
            return refuse("/providers".into(), "must have 1 to 5 items");
        }
        for (index, provider) in self.providers.iter().enumerate() {
            if self.providers[..index].iter().any(|before| before.name == provider.name) {
                return refuse(
                    format!("/providers/{index}/name"),
                    "must not be the name of another provider",
                );
            }
            let fits = match provider.endpoint {
                Endpoint::Smtp(_) => channel == Channel::Email,
                Endpoint::Slack {} => channel == Channel::Slack,
                Endpoint::Webhook { .. } => channel == Channel::Webhook,
                Endpoint::WebPush { .. } => channel == Channel::WebPush,
            };
            if !fits {
                let kind = provider.endpoint.kind();
                return refuse(format!("/providers/{index}/{kind}"), "does not serve this channel");
            }
        }
        if channel == Channel::WebPush && self.providers.len() > 1 {
            return refuse(
                "/providers".into(),
                "must have 1 item for `web_push`: a browser subscribes to one key",
            );
        }
        if !(Self::TIMEOUT_MS_MIN..=Self::TIMEOUT_MS_MAX).contains(&self.timeout_ms) {
            return refuse("/timeout".into(), "must be 100 milliseconds to 1 minute");
        }
        if !(1..=Self::ATTEMPTS_MAX).contains(&self.retry.attempts_max) {
            return refuse("/retry/attempts_max".into(), "must be 1 to 50");
        }
        if let Backoff::Exponential { base_ms, cap_ms } = self.retry.backoff {
            if !(1..=Self::CAP_MS_MAX).contains(&cap_ms) {
                return refuse("/retry/cap".into(), "must be 1 millisecond to 7 days");
            }
            if !(1..=cap_ms).contains(&base_ms) {
                return refuse("/retry/base".into(), "must be 1 millisecond to `cap`");
            }
        }
        if self.per_second.is_some_and(|rate| !(1..=Self::PER_SECOND_MAX).contains(&rate)) {
            return refuse("/rate/per_second".into(), "must be 1 to 100,000");
        }
        if self.semantics != Semantics::default() && channel != Channel::Email {
            return refuse("/semantics".into(), "can be chosen for `email` only");
        }
        Ok(())
    }
}
