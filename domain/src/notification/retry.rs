//! When a failed attempt is followed by another. The policy is fixed in the plan; the instant and the randomness come in
//! with the command.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

/// How often a channel is tried, and how long it waits in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts that are made by themselves. Somebody who asks for a retry gets one more.
    pub attempts_max: u32,
    pub backoff: Backoff,
}

/// The waits between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// With full jitter (Brooker, "Exponential Backoff And Jitter", 2015): anything below `base_ms`, doubled with each
    /// attempt up to `cap_ms`.
    Exponential { base_ms: u64, cap_ms: u64 },
    /// The schedule that Standard Webhooks recommends, each wait a fifth longer or shorter at most.
    StandardWebhooks,
}

/// A number of which each is as likely as any other: where between its bounds a wait lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jitter(pub u32);

/// Waits before the attempts from the first on, in seconds. Stored plans mean these numbers, so they do not change.
const STANDARD_WEBHOOKS_S: [u64; 10] =
    [0, 5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600];

impl RetryPolicy {
    pub const STANDARD_WEBHOOKS: Self =
        Self { attempts_max: STANDARD_WEBHOOKS_S.len() as u32, backoff: Backoff::StandardWebhooks };
    /// The longest that a server may ask to be left alone: a day, the longest wait of the schedule.
    pub const RETRY_AFTER_S_MAX: u32 = 24 * 3600;

    pub fn has_attempt_after(&self, attempt: u32) -> bool {
        attempt < self.attempts_max
    }

    /// When the attempt after `attempt` may begin, to the millisecond; `None` where that was the last. What the server
    /// asked for (`Retry-After`, RFC 9110, 10.2.3) is a lower bound, up to a day.
    pub fn next_at(
        &self,
        attempt: u32,
        now: OffsetDateTime,
        retry_after_s: Option<u32>,
        jitter: Jitter,
    ) -> Option<OffsetDateTime> {
        if !self.has_attempt_after(attempt) {
            return None;
        }
        let asked_s = retry_after_s.unwrap_or(0).min(Self::RETRY_AFTER_S_MAX);
        let wait_ms = self.backoff.wait_ms(attempt, jitter).max(u64::from(asked_s) * 1000);
        let wait = Duration::milliseconds(i64::try_from(wait_ms).unwrap_or(i64::MAX));
        Some(now.saturating_add(wait).truncate_to_millisecond())
    }
}

impl Backoff {
    /// From the failure of `attempt`, counted from 1, to the one after it.
    fn wait_ms(self, attempt: u32, jitter: Jitter) -> u64 {
        match self {
            Self::Exponential { base_ms, cap_ms } => {
                let doubled = 2_u64.saturating_pow(attempt.saturating_sub(1)).saturating_mul(base_ms);
                jitter.below(doubled.min(cap_ms))
            }
            Self::StandardWebhooks => {
                let last = STANDARD_WEBHOOKS_S.len() - 1;
                let wait_ms = STANDARD_WEBHOOKS_S[(attempt as usize).min(last)] * 1000;
                wait_ms / 10 * 8 + jitter.below(wait_ms / 10 * 4)
            }
        }
    }
}

impl Jitter {
    /// A share of `bound`, below it unless that is 0.
    fn below(self, bound: u64) -> u64 {
        let share = (u128::from(bound) * u128::from(self.0)) >> 32;
        u64::try_from(share).expect("a share is not greater than the whole")
    }
}
