//! Broadcasts that failed are left alone for a while, so that those which always fail do not keep the places of the others.

use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use tidings_domain::BroadcastId;
use tokio::time::Instant;

/// How long one is left alone after a failure, doubled with each that follows it.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// Broadcasts whose failures are remembered; one that is forgotten begins anew.
const KNOWN_MAX: NonZeroUsize = NonZeroUsize::new(1_000).expect("not zero");

/// Why a broadcast stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setback {
    /// It is its own fault, or nobody knows whose.
    Failure,
    /// Nothing goes on now, and all of it once that is over.
    Outage,
}

pub struct Resting {
    /// How long each rests, and until when.
    known: LruCache<BroadcastId, (Duration, Instant)>,
}

impl Resting {
    pub fn new() -> Self {
        Self { known: LruCache::new(KNOWN_MAX) }
    }

    /// An outage makes no rest longer.
    pub fn set_back(&mut self, id: BroadcastId, setback: Setback, now: Instant) {
        let rest = match (self.known.get(&id), setback) {
            (Some((rest, _)), Setback::Failure) => (*rest * 2).min(LONGEST),
            (Some((rest, _)), Setback::Outage) => *rest,
            (None, _) => FIRST,
        };
        self.known.put(id, (rest, now + rest));
    }

    pub fn went_on(&mut self, id: BroadcastId) {
        self.known.pop(&id);
    }

    /// Those that are to be left alone.
    pub fn at(&self, now: Instant) -> Vec<BroadcastId> {
        let resting = self.known.iter().filter(|(_, (_, until))| *until > now);
        resting.map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn each_failure_in_a_row_is_followed_by_a_longer_rest_up_to_a_minute() {
        let (mut resting, id, mut now) =
            (Resting::new(), BroadcastId::new(Uuid::from_u128(7)), Instant::now());
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            resting.set_back(id, Setback::Failure, now);
            now += Duration::from_secs(seconds);
            assert_eq!(resting.at(now - Duration::from_millis(1)), [id]);
            assert_eq!(resting.at(now), []);
        }
        resting.went_on(id);
        for _ in 0..5 {
            resting.set_back(id, Setback::Outage, now);
            now += Duration::from_secs(1);
            assert_eq!(resting.at(now), [], "an outage is nobody's fault");
        }
    }
}
