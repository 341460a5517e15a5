//! What the service says about itself: log lines, numbers for `/metrics`, spans for a collector.
//!
//! Nothing here decides anything: without it the service does the same.

mod logs;
pub mod metrics;
mod obedience;
pub mod traces;

pub use logs::{Repeated, Trouble, start};
pub use metrics::Metrics;
pub use traces::Tracing;
