//! A token bucket, in whole numbers, so that this arithmetic and that of `take.lua` give the same answer.
//!
//! It is counted in millionths of a request: what one microsecond brings is then exactly `per_second` of them. With at most
//! 1,000,000 requests at once nothing that counts exceeds 2^53, which is as far as Lua's numbers are exact.

use std::fmt;
use std::time::Duration;

const ONE: u64 = 1_000_000;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests, in the long run.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
}

/// How full a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// In millionths of a request.
    pub level: u64,
    pub at_us: u64,
}

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub rate: Rate,
    pub admitted: bool,
    /// What is left, in millionths of a request.
    pub level: u64,
}

impl Rate {
    fn full(self) -> u64 {
        u64::from(self.burst) * ONE
    }

    /// Whole seconds until `wanted` is there, at least one.
    fn seconds_to(self, wanted: u64, level: u64) -> u64 {
        wanted.saturating_sub(level).div_ceil(u64::from(self.per_second) * ONE).max(1)
    }
}

impl Bucket {
    pub fn full(rate: Rate, now_us: u64) -> Self {
        Self { level: rate.full(), at_us: now_us }
    }

    pub fn take(&mut self, rate: Rate, now_us: u64) -> Standing {
        // A clock that was set back brings nothing, and goes on from there.
        let elapsed = now_us.saturating_sub(self.at_us);
        let brought = elapsed.saturating_mul(rate.per_second.into());
        let level = rate.full().min(self.level.saturating_add(brought));
        let admitted = level >= ONE;
        self.level = if admitted { level - ONE } else { level };
        self.at_us = now_us;
        Standing { rate, admitted, level: self.level }
    }
}

impl Standing {
    /// When one request is there again, in whole seconds: at least one.
    pub fn retry_after_seconds(&self) -> u64 {
        self.rate.seconds_to(ONE, self.level)
    }

    /// Until there is one request again.
    pub fn retry_after(&self) -> Duration {
        Duration::from_micros(ONE.saturating_sub(self.level).div_ceil(self.rate.per_second.into()))
    }

    /// `RateLimit-Policy`: at most `q` in `w` seconds, which is how long an empty bucket takes to be full.
    pub fn policy(&self) -> String {
        let Rate { burst, .. } = self.rate;
        format!("\"key\";q={burst};w={}", self.rate.seconds_to(self.rate.full(), 0))
    }
}

/// `RateLimit`: `r` requests are left, and in `t` seconds all of them are back.
impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let full_in = self.rate.seconds_to(self.rate.full(), self.level);
        write!(formatter, "\"key\";r={};t={full_in}", self.level / ONE)
    }
}
