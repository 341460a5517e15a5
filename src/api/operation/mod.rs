//! For those who run the service: health, metrics, read models, keys.

pub mod health;
pub mod keys;
pub mod metrics;
pub mod projections;
