//! What is counted while it is measured: latencies, and which messages arrived.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::BenchError;
use super::report::Figure;

/// Three digits, up to an hour.
const MICROSECONDS_MAX: u64 = 3_600_000_000;

const LOOK_EACH: Duration = Duration::from_millis(1);

/// How long things took; recorded from many tasks.
pub struct Latencies {
    histogram: Mutex<Histogram<u64>>,
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_max(MICROSECONDS_MAX, 3);
        Self { histogram: Mutex::new(histogram.expect("these bounds are in order")) }
    }
}

impl Latencies {
    fn histogram(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.histogram.lock().expect("no code panics while it holds a histogram")
    }

    pub fn record(&self, took: Duration) {
        self.histogram().saturating_record(took.as_micros().try_into().unwrap_or(MICROSECONDS_MAX));
    }

    pub fn count(&self) -> u64 {
        self.histogram().len()
    }

    /// The median, the tails and the worst.
    pub fn figures(&self) -> Vec<Figure> {
        let histogram = self.histogram();
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
        vec![
            Figure::new("p50", at(0.5), "ms"),
            Figure::new("p90", at(0.9), "ms"),
            Figure::new("p99", at(0.99), "ms"),
            Figure::new("max", histogram.max() as f64 / 1e3, "ms"),
        ]
    }
}

/// Which of the numbered messages arrived.
pub struct Arrivals {
    arrived: Box<[AtomicBool]>,
    count: AtomicU64,
    wrong: AtomicU64,
}

impl Arrivals {
    pub fn of(total: u64) -> Self {
        let arrived = (0..total).map(|_| AtomicBool::new(false)).collect();
        Self { arrived, count: AtomicU64::new(0), wrong: AtomicU64::new(0) }
    }

    /// Message `number` has arrived, at whom it was meant for or not.
    pub fn note(&self, number: u64, meant: bool) {
        let slot = usize::try_from(number).ok().and_then(|number| self.arrived.get(number));
        if meant && slot.is_some_and(|slot| !slot.swap(true, Ordering::Relaxed)) {
            self.count.fetch_add(1, Ordering::Relaxed);
        } else {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until all are there; an error says how many are missing, and how many came twice or to somebody else.
    pub async fn all(&self, patience: Duration) -> Result<(), BenchError> {
        let (wanted, deadline) = (self.arrived.len() as u64, Instant::now() + patience);
        while self.count() < wanted && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EACH).await;
        }
        let (missing, wrong) = (wanted - self.count(), self.wrong.load(Ordering::Relaxed));
        if missing + wrong == 0 { Ok(()) } else { Err(BenchError::Lost { missing, wrong }) }
    }
}

/// Scatters numbers over users, the same way everywhere.
pub fn scattered(number: u64, over: u64) -> u64 {
    number.wrapping_mul(2_654_435_761) % over
}

pub fn user(number: u64) -> String {
    format!("bench-{number}")
}

/// Sender and receiver are this one process, so they share a clock that never jumps.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A notification whose body says that it was sent now, and which it is.
pub fn notification(to: &str, number: u64, priority: &str) -> String {
    notification_of(to, number, priority, Instant::now())
}

/// One that was due at this instant: what held it up until it was sent counts as well.
pub fn notification_of(to: &str, number: u64, priority: &str, due: Instant) -> String {
    let sent = due.saturating_duration_since(*BEGINNING).as_nanos();
    format!(
        r#"{{"user_id":"{to}","priority":"{priority}","content":{{"title":"hello","body":"t={sent};i={number};"}}}}"#
    )
}

/// What such a notification says, read from its frame.
pub struct Arrived {
    pub after: Duration,
    pub number: u64,
}

impl Arrived {
    pub fn read(frame: &str) -> Option<Self> {
        let (_, rest) = frame.split_once("\"t=")?;
        let (sent, rest) = rest.split_once(";i=")?;
        let after = BEGINNING.elapsed().saturating_sub(Duration::from_nanos(sent.parse().ok()?));
        Some(Self { after, number: rest.split_once(';')?.0.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    //! What is sent is what is read.
    use super::*;

    #[test]
    fn a_message_says_which_it_is_and_when_it_was_sent() {
        let arrived = Arrived::read(&notification("bench-1", 77, "normal")).expect("it was made so");
        assert_eq!(arrived.number, 77);
        assert!(arrived.after < Duration::from_secs(60));
        assert!(Arrived::read(r#"{"type":"sync"}"#).is_none());
    }

    #[tokio::test]
    async fn what_comes_twice_or_to_another_is_wrong_and_what_does_not_come_is_missing() {
        let arrivals = Arrivals::of(3);
        for (number, meant) in [(0, true), (0, true), (1, false), (9, true)] {
            arrivals.note(number, meant);
        }
        let lost = arrivals.all(Duration::ZERO).await;
        assert!(matches!(lost, Err(BenchError::Lost { missing: 2, wrong: 3 })), "{lost:?}");
    }
}
