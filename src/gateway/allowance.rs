//! How many frames a client may send: 50 a second for long, 200 at once. A token bucket kept as one instant, the
//! moment at which it will be full again (the generic cell rate algorithm, ITU-T I.371).

use std::time::Duration;

use tokio::time::Instant;

const FRAMES_PER_SECOND: u32 = 50;
const BURST: u32 = 200;
const INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / FRAMES_PER_SECOND as u64);

pub struct Allowance {
    full_at: Instant,
}

impl Allowance {
    pub fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes one frame; false once there is none left.
    pub fn take(&mut self, now: Instant) -> bool {
        self.full_at = self.full_at.max(now) + INTERVAL;
        self.full_at - now <= INTERVAL * BURST
    }
}

#[cfg(test)]
mod tests {
    //! The burst, and how it grows back.
    use super::*;

    #[test]
    fn two_hundred_at_once_are_taken_and_after_that_one_every_twenty_milliseconds() {
        let start = Instant::now();
        let mut allowance = Allowance::full(start);
        assert!((0..200).all(|_| allowance.take(start)));
        let later = start + Duration::from_millis(20);
        assert!(allowance.take(later));
        assert!(!allowance.take(later));

        let mut allowance = Allowance::full(start);
        assert!((0..10_000).all(|n| allowance.take(start + INTERVAL * n)), "fifty a second for long");
        let rested = start + Duration::from_secs(3_600);
        assert!((0..200).all(|_| allowance.take(rested)));
        assert!(!allowance.take(rested), "rest does not save up more than a burst");
    }
}
