//! What fires by itself.

use prometheus::{Histogram, IntCounter, IntGauge, Registry};
use tidings_projections::timers::Kind;

use super::{Each, Label, gauge, histogram};

const LATE_SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0];

impl Label for Kind {
    const NAME: &'static str = "kind";
    const ALL: &'static [Self] = &Self::ALL;

    fn number(self) -> usize {
        Self::ALL.iter().position(|kind| *kind == self).expect("every kind of timer that is set is listed")
    }

    fn value(self) -> &'static str {
        self.as_str()
    }
}

#[derive(Clone)]
pub struct TimerMetrics {
    pub fired: Each<Kind, IntCounter>,
    pub late_seconds: Histogram,
    pub(super) due: IntGauge,
}

impl TimerMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            fired: Each::counters(registry, "tidings_timers_fired_total", "Timers this node fired."),
            late_seconds: histogram(
                registry,
                "tidings_timer_lateness_seconds",
                "How long after its instant a timer was fired.",
                LATE_SECONDS,
            ),
            due: gauge(
                registry,
                "tidings_timers_due",
                "Timers whose instant has come and that wait to be fired, over all nodes.",
            ),
        }
    }
}
