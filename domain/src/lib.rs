//! The rules of Tidings, pure: what may happen to a notification, a recipient, a template or a subscription, and which
//! facts follow.
//!
//! Nothing here reads a clock, draws a random number or does IO. Time and ids come in with the command;
//! rules that depend on time wait for an event that says the time has come.

pub mod decode;
pub mod identity;
pub mod notification;
pub mod recipient;
pub mod subscription;
pub mod template;
pub mod upcast;

pub use decode::{DecodeError, Stored};
pub use identity::{
    InvalidIdentity, Issuer, NotificationId, RecipientId, SubscriptionId, TemplateId, Tenant, UserId,
};

/// Members of an event's payload that may hold personal content. The log seals them at rest with a key of
/// the recipient; whatever a person must be able to have forgotten lives under one of these and nowhere else.
pub const PERSONAL_MEMBERS: [&str; 3] = ["content", "data", "addresses"];

#[cfg(test)]
#[path = "golden_tests.rs"]
mod golden;
