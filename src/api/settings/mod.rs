//! What a tenant sets up: words, ways, plans, and what goes for a kind of notification.

pub mod categories;
pub mod channels;
pub mod digests;
pub mod plans;
pub mod templates;
