//! What the service says about itself: log lines, and numbers for `/metrics`.
//!
//! Nothing here decides anything: without it the service does the same.

mod logs;
pub mod metrics;

pub use logs::{Trouble, start};
pub use metrics::Metrics;
