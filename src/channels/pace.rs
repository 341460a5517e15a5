//! How fast a tenant's messages go out on a channel: the bucket that all nodes take from, as keys' requests do.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lru::LruCache;
use tidings_domain::Tenant;
use tidings_domain::notification::Channel;

use crate::rate_limit::{Limit, Rate, RateLimits};

/// Limits whose bucket this node keeps for when Redis does not serve.
const LIMITS_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

type Limits = LruCache<(Tenant, Channel), (u32, Arc<Limit>)>;

pub struct Pace {
    limits: RateLimits,
    known: Mutex<Limits>,
}

impl Pace {
    pub fn new(limits: RateLimits) -> Self {
        Self { limits, known: Mutex::new(LruCache::new(LIMITS_MAX)) }
    }

    /// Counts one message; the error says how long to wait.
    pub async fn take(&self, tenant: &Tenant, channel: Channel, per_second: u32) -> Result<(), Duration> {
        let limit = self.limit(tenant, channel, per_second);
        // No key's id has a colon.
        let bucket = format!("channel:{tenant}:{}", channel.as_str());
        let standing = self.limits.take(&bucket, &limit).await;
        if standing.admitted { Ok(()) } else { Err(standing.retry_after()) }
    }

    fn limit(&self, tenant: &Tenant, channel: Channel, per_second: u32) -> Arc<Limit> {
        let mut known = self.known.lock().expect("no code panics while it holds the limits");
        let key = (tenant.clone(), channel);
        if let Some((_, limit)) = known.get(&key).filter(|(rate, _)| *rate == per_second) {
            return limit.clone();
        }
        let limit = Arc::new(Limit::new(Rate { per_second, burst: per_second }));
        known.put(key, (per_second, limit.clone()));
        limit
    }
}
