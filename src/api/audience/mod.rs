//! Who is told: recipients, topics, and broadcasts to many of them.

pub mod broadcasts;
pub mod recipients;
pub mod topics;
