//! What waits to be delivered outside, and how busy the node is with it.

use prometheus::core::{AtomicF64, GenericGauge};
use prometheus::{GaugeVec, IntGauge, Opts, Registry};
use tidings_domain::notification::Priority;
use tidings_projections::delivery::Waiting;

use super::{Each, Label, SOUND, gauge, register};

impl Label for Priority {
    const NAME: &'static str = "lane";
    const ALL: &'static [Self] = &Self::ALL;

    fn number(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        self.as_str()
    }
}

#[derive(Clone)]
pub struct DispatchMetrics {
    due: Each<Priority, IntGauge>,
    oldest_due_seconds: Each<Priority, GenericGauge<AtomicF64>>,
    pub places: IntGauge,
    places_used: IntGauge,
    pub(super) broadcasts_running: IntGauge,
}

/// A place that is taken until this is dropped.
pub struct Place(IntGauge);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl DispatchMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let oldest = Opts::new(
            "tidings_dispatch_oldest_due_seconds",
            "How long the longest due delivery of a lane has been due; looked up every 5 seconds.",
        );
        let oldest = register(registry, GaugeVec::new(oldest, &[Priority::NAME]).expect(SOUND));
        Self {
            due: Each::gauges(
                registry,
                "tidings_dispatch_due",
                "Deliveries that are due and have not begun, over all nodes; counted up to 10,000 in each lane.",
            ),
            oldest_due_seconds: Each::make(|lane| oldest.with_label_values(&[lane])),
            places: gauge(
                registry,
                "tidings_dispatch_places",
                "Deliveries that are worked on at once at most.",
            ),
            places_used: gauge(registry, "tidings_dispatch_places_used", "Deliveries that are worked on."),
            broadcasts_running: gauge(
                registry,
                "tidings_broadcasts_running",
                "Broadcasts whose notifications are being made, over all nodes.",
            ),
        }
    }

    pub fn take_place(&self) -> Place {
        self.places_used.inc();
        Place(self.places_used.clone())
    }

    pub(super) fn show(&self, waiting: &[Waiting]) {
        for Waiting { lane, due, oldest_s } in waiting {
            self.due.of(*lane).set(*due);
            self.oldest_due_seconds.of(*lane).set(*oldest_s);
        }
    }
}
