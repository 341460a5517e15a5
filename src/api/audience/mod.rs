//! Who is told: recipients, their browsers, topics, and broadcasts to many of them.

pub mod broadcasts;
pub mod browsers;
pub mod recipients;
pub mod topics;
