//! The numbers that `/metrics` prints, made once at start and handed to whoever counts.
//!
//! Counting is an atomic addition: whatever has labels is looked up when it is made, not when it is counted. Labels are
//! what the code knows, never what a request says, so that the number of series is bounded. `docs/metrics.md` lists all.

mod auth;
mod channels;
mod commands;
mod deliveries;
mod dispatch;
mod each;
mod http;
mod live;
mod log;
mod mirror;
mod staleness;
mod timers;
mod vitals;

pub use auth::AuthMetrics;
pub use channels::ChannelMetrics;
pub use commands::CommandMetrics;
pub use deliveries::DeliveryMetrics;
pub use dispatch::DispatchMetrics;
pub use each::{Each, Label};
pub use http::{HttpMetrics, Routes};
pub use live::{ConnectionKind, LiveMetrics, Open};
pub use log::{AppendFailure, LogMetrics, Waiting};
pub use mirror::MirrorMetrics;
pub use staleness::{LastRead, Reading};
pub use timers::TimerMetrics;
pub use vitals::{Vitals, Watch};

use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Everything that is counted where it happens. Cheap to clone: all clones count together.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    pub auth: AuthMetrics,
    pub channels: ChannelMetrics,
    pub commands: CommandMetrics,
    pub dispatch: DispatchMetrics,
    pub http: HttpMetrics,
    pub log: LogMetrics,
    pub live: Arc<LiveMetrics>,
    pub mirror: MirrorMetrics,
    pub timers: TimerMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let build = gauges(&registry, "tidings_build_info", "Always 1; which version runs.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(ProcessCollector::for_self())).expect(SOUND);
        Self {
            auth: AuthMetrics::new(&registry),
            channels: ChannelMetrics::new(&registry),
            commands: CommandMetrics::new(&registry),
            dispatch: DispatchMetrics::new(&registry),
            http: HttpMetrics::new(&registry),
            log: LogMetrics::new(&registry),
            live: Arc::new(LiveMetrics::new(&registry)),
            mirror: MirrorMetrics::new(&registry),
            timers: TimerMetrics::new(&registry),
            registry,
        }
    }
}

impl Metrics {
    /// All of them in the text format of Prometheus, version 0.0.4.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

const SOUND: &str = "names of metrics are valid, and each is used once";
/// From half a millisecond to ten seconds.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> C {
    registry.register(Box::new(metric.clone())).expect(SOUND);
    metric
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::new(name, help).expect(SOUND))
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels).expect(SOUND))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::new(name, help).expect(SOUND))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels).expect(SOUND))
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    register(registry, Histogram::with_opts(options).expect(SOUND))
}
