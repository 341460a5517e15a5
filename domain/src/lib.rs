//! The rules of Tidings, pure: what may happen to a notification, and which facts follow.
//!
//! Nothing here reads a clock, draws a random number or does IO. Time and ids come in with the command;
//! rules that depend on time wait for an event that says the time has come.

pub mod identity;
pub mod notification;
pub mod upcast;

pub use identity::{InvalidIdentity, Issuer, NotificationId, Tenant, UserId};

/// Members of an event's payload that may hold personal content. The log seals them at rest with a key of
/// the recipient; whatever a person must be able to have forgotten lives under one of these and nowhere else.
pub const PERSONAL_MEMBERS: [&str; 3] = ["content", "data", "addresses"];
