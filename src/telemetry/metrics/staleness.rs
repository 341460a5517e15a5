//! How old what the node goes by is: the keys it checks callers with, and the figures that only the database knows.

use std::sync::{Arc, Mutex};

use prometheus::core::{AtomicF64, GenericGauge};
use prometheus::{GaugeVec, Opts, Registry};
use tokio::time::Instant;

use super::{Label, SOUND, register};
use crate::read_models::Name;

/// What is read again and again.
#[derive(Clone, Copy)]
pub enum Reading {
    ApiKeys,
    Jwks,
    /// The standing of a read model.
    Model(Name),
    TimersDue,
    DeliveriesDue,
    Broadcasts,
}

impl Reading {
    fn value(self) -> &'static str {
        match self {
            Self::ApiKeys => "api_keys",
            Self::Jwks => "jwks",
            Self::Model(name) => name.value(),
            Self::TimersDue => "timers_due",
            Self::DeliveriesDue => "deliveries_due",
            Self::Broadcasts => "broadcasts",
        }
    }
}

/// When something was last read, or else first wanted. Cheap to clone: all clones are one.
#[derive(Clone)]
pub struct LastRead(Arc<Mutex<Instant>>);

impl Default for LastRead {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl LastRead {
    /// It was read, as it stood when the reading began.
    pub fn set(&self, began: Instant) {
        *self.0.lock().expect("no code panics while it holds the instant") = began;
    }

    fn seconds(&self) -> f64 {
        self.0.lock().expect("no code panics while it holds the instant").elapsed().as_secs_f64()
    }
}

/// The gauges of those that this node reads.
pub(super) struct Staleness {
    readings: Vec<(LastRead, GenericGauge<AtomicF64>)>,
}

impl Staleness {
    pub(super) fn new(registry: &Registry, readings: impl IntoIterator<Item = (Reading, LastRead)>) -> Self {
        let options = Opts::new(
            "tidings_staleness_seconds",
            "How long ago this was last read, or the start where it never was.",
        );
        let gauges = register(registry, GaugeVec::new(options, &["of"]).expect(SOUND));
        let gauge =
            |(reading, last): (Reading, LastRead)| (last, gauges.with_label_values(&[reading.value()]));
        Self { readings: readings.into_iter().map(gauge).collect() }
    }

    pub(super) fn look(&self) {
        self.readings.iter().for_each(|(last, gauge)| gauge.set(last.seconds()));
    }
}
