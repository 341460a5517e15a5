//! The heartbeat of one connection: when to ask whether the peer is there, and when it is not.

use std::time::Duration;

use tokio::time::Instant;

/// How often a quiet connection hears from us; twice this much silence of the peer means dead.
pub const HEARTBEAT: Duration = Duration::from_secs(25);

pub struct Pulse {
    next: Instant,
    heard: Instant,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Beat {
    /// Ask.
    Ask,
    /// Nothing came for two heartbeats.
    Dead,
}

impl Pulse {
    pub fn new(now: Instant) -> Self {
        Self { next: now + HEARTBEAT, heard: now }
    }

    /// Anything that comes in is a sign of life.
    pub fn hear(&mut self, now: Instant) {
        self.heard = now;
    }

    pub fn next(&self) -> Instant {
        self.next
    }

    /// What is due now, if anything is.
    pub fn beat(&mut self, now: Instant) -> Option<Beat> {
        if now < self.next {
            return None;
        }
        self.next = now + HEARTBEAT;
        Some(if now - self.heard >= HEARTBEAT * 2 { Beat::Dead } else { Beat::Ask })
    }
}

#[cfg(test)]
mod tests {
    //! Who answers lives, who does not is dead after two heartbeats.
    use super::*;

    #[test]
    fn a_peer_that_says_nothing_for_two_heartbeats_is_dead() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        assert_eq!(pulse.beat(start + HEARTBEAT - Duration::from_millis(1)), None);
        assert_eq!(pulse.beat(start + HEARTBEAT), Some(Beat::Ask));
        assert_eq!(pulse.beat(start + HEARTBEAT), None);
        assert_eq!(pulse.beat(start + HEARTBEAT * 2), Some(Beat::Dead));
    }

    #[test]
    fn a_peer_that_answers_each_beat_lives() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        for n in 1..100 {
            let now = start + HEARTBEAT * n;
            assert_eq!(pulse.beat(now), Some(Beat::Ask));
            pulse.hear(now + Duration::from_millis(30));
        }
    }
}
