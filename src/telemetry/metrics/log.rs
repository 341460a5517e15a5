//! The append path: how long its calls take, how much they hold, what waits.

use std::sync::Arc;

use prometheus::{Histogram, IntCounter, IntGauge, Registry};

use tidings_projections::log::Recorded;

use super::{DeliveryMetrics, Each, Label, SECONDS, counter};
use crate::log::Lane;

const EVENTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0];

impl Label for Lane {
    const NAME: &'static str = "lane";
    const ALL: &'static [Self] = &[Self::Single, Self::Bulk];

    fn number(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Bulk => "bulk",
        }
    }
}

/// Why a call of the log did not go well.
#[derive(Clone, Copy)]
pub enum AppendFailure {
    /// No connection could be made.
    Unreachable,
    /// The connection ended before the answer.
    Lost,
    /// The server answered with an error; the call is repeated.
    NotDone,
    /// Some job's data is at fault.
    Data,
}

impl Label for AppendFailure {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &[Self::Unreachable, Self::Lost, Self::NotDone, Self::Data];

    fn number(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
            Self::NotDone => "not_done",
            Self::Data => "data",
        }
    }
}

#[derive(Clone)]
pub struct LogMetrics {
    waiting: Each<Lane, IntGauge>,
    pub call_seconds: Each<Lane, Histogram>,
    pub call_events: Each<Lane, Histogram>,
    pub failures: Each<AppendFailure, IntCounter>,
    appended: IntCounter,
    deliveries: DeliveryMetrics,
}

impl LogMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            waiting: Each::gauges(
                registry,
                "tidings_append_queue_jobs",
                "Jobs handed in for appending and not answered yet.",
            ),
            call_seconds: Each::histograms(
                registry,
                "tidings_append_duration_seconds",
                "Time of one append call, which commits the jobs of many callers.",
                SECONDS,
            ),
            call_events: Each::histograms(
                registry,
                "tidings_append_batch_events",
                "Events in one append call.",
                EVENTS,
            ),
            failures: Each::counters(
                registry,
                "tidings_append_failures_total",
                "Append calls that did not go well.",
            ),
            appended: counter(registry, "tidings_events_appended_total", "Events this node appended."),
            deliveries: DeliveryMetrics::new(registry),
        }
    }

    /// What was just committed, and what it says of deliveries.
    pub fn count(&self, added: &[Arc<Recorded>]) {
        self.appended.inc_by(added.len() as u64);
        added.iter().for_each(|event| self.deliveries.count(event));
    }

    /// Counts a job until it is dropped.
    pub fn wait(&self, lane: Lane) -> Waiting {
        let gauge = self.waiting.of(lane).clone();
        gauge.inc();
        Waiting { gauge, lane }
    }
}

/// A job that waits for its answer.
pub struct Waiting {
    gauge: IntGauge,
    pub lane: Lane,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}
