//! How many requests a key may make: a bucket in Redis that all nodes take from, and one on each node for when Redis is
//! away.
//!
//! The invariant: a request never waits longer than `PATIENCE` for this, and an outage of Redis never refuses what the
//! limit allows. The node's own bucket follows the shared one, so an outage does not fill it either: it allows each node at most what
//! the limit allows all of them.

mod bucket;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Script};
use tokio::time::{Instant, MissedTickBehavior};

use self::bucket::Bucket;
pub use self::bucket::{Rate, Standing};
use crate::telemetry::Trouble;

/// How long a request waits for Redis. The next ones do not: Redis is left alone until it answers again.
const PATIENCE: Duration = Duration::from_millis(50);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_EVERY: Duration = Duration::from_secs(1);
/// The braces keep all keys in one slot of a cluster.
const BUCKETS: &str = "tidings:{limit}:";

/// The limit of one key, with this node's bucket.
#[derive(Debug)]
pub struct Limit {
    rate: Rate,
    bucket: Mutex<Local>,
}

#[derive(Debug)]
struct Local {
    bucket: Bucket,
    /// What its microseconds are counted from.
    since: Instant,
}

impl Limit {
    /// Nothing of it is used.
    pub fn new(rate: Rate) -> Self {
        Self { rate, bucket: Mutex::new(Local { bucket: Bucket::full(rate, 0), since: Instant::now() }) }
    }

    fn take(&self) -> Standing {
        let mut local = self.local();
        let now_us = local.now_us();
        local.bucket.take(self.rate, now_us)
    }

    fn follow(&self, standing: &Standing) {
        let mut local = self.local();
        local.bucket = Bucket { level: standing.level, at_us: local.now_us() };
    }

    fn local(&self) -> MutexGuard<'_, Local> {
        self.bucket.lock().expect("no code panics while it holds a bucket")
    }
}

impl Local {
    fn now_us(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Counts requests.
#[derive(Clone)]
pub struct RateLimits {
    shared: Arc<Shared>,
}

struct Shared {
    take: Script,
    /// There while Redis is.
    redis: Mutex<Option<MultiplexedConnection>>,
}

/// Looks after the connection: one task per node.
pub struct Connector {
    client: Client,
    limits: RateLimits,
}

impl RateLimits {
    pub fn new(client: Client) -> (Self, Connector) {
        let take = Script::new(include_str!("take.lua"));
        let limits = Self { shared: Arc::new(Shared { take, redis: Mutex::default() }) };
        (limits.clone(), Connector { client, limits })
    }

    /// Counts one request of the key `id`.
    pub async fn take(&self, id: &str, limit: &Limit) -> Standing {
        match tokio::time::timeout(PATIENCE, self.take_shared(id, limit.rate)).await {
            Ok(Some(standing)) => {
                limit.follow(&standing);
                return standing;
            }
            Ok(None) => {}
            Err(_) => self.lose(&"it does not answer"),
        }
        limit.take()
    }

    /// What Redis says; `None` if it says nothing.
    async fn take_shared(&self, id: &str, rate: Rate) -> Option<Standing> {
        let mut redis = self.redis().clone()?;
        let mut call = self.shared.take.key(format!("{BUCKETS}{id}"));
        call.arg(rate.per_second).arg(rate.burst);
        match call.invoke_async(&mut redis).await {
            Ok((admitted, level)) => Some(Standing { rate, admitted, level }),
            Err(error) => {
                self.lose(&error);
                None
            }
        }
    }

    fn redis(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        self.shared.redis.lock().expect("no code panics while it holds a connection")
    }

    /// One slow answer is no news yet: whether Redis is away is found by those who reconnect.
    fn lose(&self, error: &dyn std::fmt::Display) {
        if self.redis().take().is_some() {
            tracing::debug!(%error, "the limits of keys are counted here until Redis answers");
        }
    }
}

impl Connector {
    /// Runs until the task is aborted.
    pub async fn run(self) {
        let mut every = tokio::time::interval(CONNECT_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut trouble = Trouble::default();
        loop {
            every.tick().await;
            if self.limits.redis().is_some() {
                continue;
            }
            match self.connect().await {
                Ok(redis) => {
                    *self.limits.redis() = Some(redis);
                    if trouble.ends() {
                        tracing::info!("limits of keys hold over all nodes again");
                    }
                }
                Err(error) if trouble.begins() => {
                    tracing::warn!(%error, "Redis is away: limits of keys hold per node");
                }
                Err(_) => {}
            }
        }
    }

    /// A connection to a Redis that answers; one that hangs accepts connections, too.
    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT));
        let mut redis = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        redis::cmd("PING").exec_async(&mut redis).await?;
        Ok(redis)
    }
}
