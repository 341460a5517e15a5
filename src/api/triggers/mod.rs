//! What makes notifications by itself: webhooks that come in, and schedules.

pub mod hooks;
pub mod schedules;
pub mod sources;
