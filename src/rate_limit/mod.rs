//! How many requests a key may make: a bucket in Redis that all nodes take from, and one on each node for when Redis does
//! not serve.
//!
//! The invariant: a request never waits longer than `PATIENCE` for this, and an outage of Redis never refuses what the
//! limit allows. The node's own bucket follows the shared one, so an outage does not fill it either: it allows each node at most what
//! the limit allows all of them.

mod bucket;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use redis::{Client, RedisError, Script};
use tokio::time::Instant;

use self::bucket::Bucket;
pub use self::bucket::{Rate, Standing};
use crate::redis_link::{Link, Session, in_time};

/// How long a request waits for Redis. The next ones do not: Redis is left alone until it answers again, and in this time.
const PATIENCE: Duration = Duration::from_millis(50);
/// The braces keep all keys in one slot of a cluster.
const BUCKETS: &str = "tidings:{limit}:";
/// The bucket by which a connection shows that it can take: of no key, and forgotten in two seconds.
const PROBE: &str = "probe";
const PROBE_RATE: Rate = Rate { per_second: 1, burst: 1 };

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

    pub fn rate(&self) -> Rate {
        self.rate
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
    take: Arc<Script>,
    link: Link,
}

/// Looks after the connection: one task per node.
pub struct Connector {
    limits: RateLimits,
}

impl RateLimits {
    pub fn new(client: Client) -> (Self, Connector) {
        let take = Arc::new(Script::new(include_str!("take.lua")));
        let limits = Self { take, link: Link::new(client, "limits of keys") };
        (limits.clone(), Connector { limits })
    }

    /// Counts one request of the key `id`.
    pub async fn take(&self, id: &str, limit: &Limit) -> Standing {
        let taken = self.link.with(async |session| self.take_shared(session, id, limit.rate).await).await;
        match taken {
            Some(standing) => {
                limit.follow(&standing);
                standing
            }
            None => limit.take(),
        }
    }

    async fn take_shared(&self, session: &mut Session, id: &str, rate: Rate) -> Result<Standing, RedisError> {
        let mut call = self.take.key(format!("{BUCKETS}{id}"));
        call.arg(rate.per_second).arg(rate.burst);
        let (admitted, level) = in_time(PATIENCE, call.invoke_async(&mut session.connection)).await?;
        Ok(Standing { rate, admitted, level })
    }
}

impl Connector {
    /// Runs until the task is aborted.
    pub async fn run(self) {
        loop {
            self.limits.link.due().await;
            self.connect().await;
        }
    }

    async fn connect(&self) -> bool {
        let limits = &self.limits;
        limits
            .link
            .connect(async |session| limits.take_shared(session, PROBE, PROBE_RATE).await.map(drop))
            .await
    }
}
