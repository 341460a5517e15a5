//! How far a caller's word counts that its trace be recorded. Anybody can send a sampled `traceparent`, so beyond a number
//! per second such requests are drawn like all others, and no caller fills the collector's queue.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock;

/// Of the requests of a node whose callers say that they are traced, so many per second are: for long, and at once.
const PER_SECOND: u32 = 10;
const INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / PER_SECOND as u64);
const AT_ONCE: Duration = Duration::from_secs(1);

/// Cheap to clone: all clones count together.
#[derive(Clone)]
pub struct Obedience {
    /// Of the requests beyond, 0 to 1.
    sampling: f64,
    /// A token bucket as one instant: when all of a second's are there again (ITU-T I.371).
    full_at: Arc<Mutex<Instant>>,
}

impl Obedience {
    pub fn new(sampling: f64) -> Self {
        Self { sampling, full_at: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Whether a request is traced whose caller wants it so.
    pub fn traces(&self) -> bool {
        self.takes(Instant::now()) || draw() < self.sampling
    }

    fn takes(&self, now: Instant) -> bool {
        let mut full_at = self.full_at.lock().expect("no code panics while it holds the instant");
        let next = (*full_at).max(now) + INTERVAL;
        let taken = next - now <= AT_ONCE;
        if taken {
            *full_at = next;
        }
        taken
    }
}

/// From 0 to less than 1. Not made of the trace's id, which the caller chooses.
fn draw() -> f64 {
    // The last bits of a UUIDv7 are random (RFC 9562, section 5.7).
    let bits = clock::new_uuid().as_u128() as u32;
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    //! The number per second, and the draw beyond it.
    use super::*;

    #[test]
    fn ten_at_once_are_obeyed_and_after_that_one_every_hundred_milliseconds() {
        let (obedience, start) = (Obedience::new(0.0), Instant::now());
        assert!((0..10).all(|_| obedience.takes(start)));
        assert!((0..1_000).all(|_| !obedience.takes(start)));
        let later = start + INTERVAL;
        assert_eq!([obedience.takes(later), obedience.takes(later)], [true, false]);
        let rested = start + Duration::from_secs(3_600);
        assert_eq!((0..100).filter(|_| obedience.takes(rested)).count(), 10);
    }

    #[test]
    fn what_is_beyond_is_drawn_like_all_others() {
        let (all, half) = (Obedience::new(1.0), Obedience::new(0.5));
        assert!((0..1_000).all(|_| all.traces()));
        let drawn = (0..10_000).filter(|_| half.traces()).count();
        assert!((4_500..5_600).contains(&drawn), "{drawn}");
    }
}
