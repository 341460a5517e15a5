//! A circuit breaker per endpoint: who fails again and again is left alone for a while, then tried once.
//!
//! Each node learns by itself, in memory: a breaker spares a dead endpoint some calls and its messages some waiting, and decides
//! nothing that must be remembered.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use lru::LruCache;
use prometheus::IntGauge;
use tidings_domain::notification::Channel;
use tokio::time::Instant;

use crate::telemetry::metrics::Each;

/// Failures in a row after which an endpoint is left alone.
const FAILURES_MAX: u32 = 5;
/// For how long, at first; doubled each time the trial fails.
const PAUSE_MIN: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(5 * 60);
/// Endpoints whose failures are remembered.
const ENDPOINTS_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// Whose breaker it is: what a tenant set up, or somebody's own address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Circuit {
    pub tenant: String,
    pub channel: Channel,
    pub endpoint: String,
}

/// Why an endpoint is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Somebody finds out how it is.
    Trial,
    /// It has failed too often lately.
    Failing,
    /// It asked for time.
    Asked,
}

struct Breaker {
    failures: u32,
    pause: Duration,
    /// Nobody passes until then; afterwards one does, and the next waits for how it went.
    open_until: Option<Instant>,
    /// Why that is so, where it is.
    cause: Cause,
    /// Since when that is so. How calls go that began before says nothing new.
    opened_at: Option<Instant>,
}

pub struct Breakers {
    circuits: Mutex<LruCache<Circuit, Breaker>>,
    open: Each<Channel, IntGauge>,
}

impl Breakers {
    /// `open` counts the endpoints that are left alone.
    pub fn new(open: Each<Channel, IntGauge>) -> Self {
        Self { circuits: Mutex::new(LruCache::new(ENDPOINTS_MAX)), open }
    }

    fn circuits(&self) -> MutexGuard<'_, LruCache<Circuit, Breaker>> {
        self.circuits.lock().expect("no code panics while it holds the breakers")
    }

    /// Until when the endpoint is left alone, and why, if it is.
    pub fn open_until(&self, circuit: &Circuit, now: Instant) -> Option<(Instant, Cause)> {
        let circuits = self.circuits();
        let Breaker { open_until, cause, .. } = circuits.peek(circuit)?;
        open_until.filter(|until| *until > now).map(|until| (until, *cause))
    }

    /// Whether the endpoint may be called now. Who may, says within `patience` how it went.
    pub fn pass(&self, circuit: &Circuit, now: Instant, patience: Duration) -> bool {
        let mut circuits = self.circuits();
        let Some(breaker) = circuits.get_mut(circuit) else { return true };
        match breaker.open_until {
            None => true,
            Some(until) if until > now => false,
            Some(_) => {
                (breaker.open_until, breaker.cause) = (Some(now + patience), Cause::Trial);
                true
            }
        }
    }

    /// A call that began at `called` did what it should.
    pub fn succeeded(&self, circuit: &Circuit, called: Instant) {
        let mut circuits = self.circuits();
        if circuits.peek(circuit).is_some_and(|breaker| breaker.opened_at > Some(called)) {
            return;
        }
        if circuits.pop(circuit).is_some_and(|breaker| breaker.open_until.is_some()) {
            self.open.of(circuit.channel).dec();
        }
    }

    /// It answered, and asked to be left alone for a while.
    pub fn asked(&self, circuit: &Circuit, now: Instant, pause: Duration) {
        let mut circuits = self.circuits();
        self.make_room(&mut circuits, circuit);
        let Some(breaker) = circuits.get_mut(circuit) else { return };
        (breaker.failures, breaker.opened_at, breaker.cause) = (0, Some(now), Cause::Asked);
        if breaker.open_until.replace(now + pause.min(PAUSE_MAX)).is_none() {
            self.open.of(circuit.channel).inc();
        }
    }

    /// A call that began at `called` did not.
    pub fn failed(&self, circuit: &Circuit, called: Instant, now: Instant) {
        let mut circuits = self.circuits();
        self.make_room(&mut circuits, circuit);
        let Some(breaker) = circuits.get_mut(circuit) else { return };
        if breaker.opened_at > Some(called) {
            return;
        }
        breaker.failures += 1;
        breaker.opened_at = Some(now).filter(|_| breaker.failures >= FAILURES_MAX);
        if breaker.failures < FAILURES_MAX {
            if breaker.open_until.take().is_some() {
                self.open.of(circuit.channel).dec();
            }
            return;
        }
        match breaker.open_until.replace(now + breaker.pause) {
            None => self.open.of(circuit.channel).inc(),
            Some(_) => breaker.pause = (breaker.pause * 2).min(PAUSE_MAX),
        }
        (breaker.open_until, breaker.cause) = (Some(now + breaker.pause), Cause::Failing);
    }

    fn make_room(&self, circuits: &mut LruCache<Circuit, Breaker>, circuit: &Circuit) {
        if !circuits.contains(circuit) {
            let fresh = Breaker {
                failures: 0,
                pause: PAUSE_MIN,
                open_until: None,
                cause: Cause::Failing,
                opened_at: None,
            };
            if let Some((gone, breaker)) = circuits.push(circuit.clone(), fresh)
                && breaker.open_until.is_some()
            {
                self.open.of(gone.channel).dec();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! When an endpoint is left alone, and when it is tried.
    use super::*;
    use crate::telemetry::Metrics;

    const PATIENCE: Duration = Duration::from_secs(15);

    fn circuit() -> Circuit {
        Circuit { tenant: "acme".into(), channel: Channel::Webhook, endpoint: "main".into() }
    }

    fn seconds(at: Instant, seconds: u64) -> Instant {
        at + Duration::from_secs(seconds)
    }

    #[test]
    fn it_opens_after_failures_in_a_row_lets_one_try_and_doubles_its_pause() {
        let open = Metrics::default().channels.breaker_open.clone();
        let (breakers, circuit, start) = (Breakers::new(open.clone()), circuit(), Instant::now());
        let gauge = || open.of(Channel::Webhook).get();
        for _ in 0..4 {
            breakers.failed(&circuit, start, start);
        }
        breakers.succeeded(&circuit, start);
        for _ in 0..4 {
            breakers.failed(&circuit, start, start);
        }
        assert_eq!((breakers.open_until(&circuit, start), gauge()), (None, 0), "not five in a row");
        breakers.failed(&circuit, start, start);
        assert_eq!(
            (breakers.open_until(&circuit, start), gauge()),
            (Some((seconds(start, 5), Cause::Failing)), 1)
        );
        assert!(!breakers.pass(&circuit, seconds(start, 4), PATIENCE));
        let trial = seconds(start, 5);
        assert!(breakers.pass(&circuit, trial, PATIENCE) && !breakers.pass(&circuit, trial, PATIENCE));
        assert_eq!(breakers.open_until(&circuit, trial), Some((trial + PATIENCE, Cause::Trial)));
        breakers.failed(&circuit, trial, trial);
        assert_eq!(breakers.open_until(&circuit, trial), Some((seconds(trial, 10), Cause::Failing)));
        let mut now = trial;
        for _ in 0..10 {
            now = breakers.open_until(&circuit, now).expect("it is open").0;
            assert!(breakers.pass(&circuit, now, PATIENCE));
            breakers.failed(&circuit, now, now);
        }
        assert_eq!(breakers.open_until(&circuit, now), Some((now + PAUSE_MAX, Cause::Failing)));
        assert_eq!(gauge(), 1, "it is one endpoint");
        breakers.succeeded(&circuit, now);
        assert!(breakers.pass(&circuit, now, PATIENCE) && gauge() == 0);
    }

    #[test]
    fn calls_that_began_before_it_opened_say_nothing_new() {
        let open = Metrics::default().channels.breaker_open.clone();
        let (breakers, circuit, start) = (Breakers::new(open), circuit(), Instant::now());
        let ended = seconds(start, 1);
        (0..32).for_each(|_| breakers.failed(&circuit, start, ended));
        assert_eq!(
            breakers.open_until(&circuit, ended),
            Some((ended + PAUSE_MIN, Cause::Failing)),
            "it is left alone once"
        );
        breakers.succeeded(&circuit, start);
        assert_eq!(breakers.open_until(&circuit, ended), Some((ended + PAUSE_MIN, Cause::Failing)));
        let trial = ended + PAUSE_MIN;
        assert!(breakers.pass(&circuit, trial, PATIENCE));
        breakers.succeeded(&circuit, trial);
        assert_eq!(breakers.open_until(&circuit, trial), None);
    }

    #[test]
    fn who_asks_for_time_gets_it_and_has_not_failed() {
        let open = Metrics::default().channels.breaker_open.clone();
        let (breakers, circuit, start) = (Breakers::new(open.clone()), circuit(), Instant::now());
        (0..4).for_each(|_| breakers.failed(&circuit, start, start));
        breakers.asked(&circuit, start, Duration::from_secs(30));
        assert!(!breakers.pass(&circuit, seconds(start, 29), PATIENCE));
        assert!(breakers.pass(&circuit, seconds(start, 30), PATIENCE));
        breakers.failed(&circuit, seconds(start, 31), seconds(start, 31));
        assert!(breakers.pass(&circuit, seconds(start, 31), PATIENCE), "the first in a row");
        assert_eq!(open.of(Channel::Webhook).get(), 0);
        breakers.asked(&circuit, start, Duration::from_secs(86_400));
        assert_eq!(
            breakers.open_until(&circuit, start),
            Some((start + PAUSE_MAX, Cause::Asked)),
            "no endpoint rules for a day"
        );
    }

    #[test]
    fn a_trial_that_nobody_reports_is_followed_by_another() {
        let open = Metrics::default().channels.breaker_open.clone();
        let (breakers, circuit, start) = (Breakers::new(open), circuit(), Instant::now());
        (0..5).for_each(|_| breakers.failed(&circuit, start, start));
        let trial = seconds(start, 5);
        assert!(breakers.pass(&circuit, trial, PATIENCE));
        assert!(!breakers.pass(&circuit, seconds(trial, 14), PATIENCE));
        assert!(breakers.pass(&circuit, seconds(trial, 15), PATIENCE));
    }
}
