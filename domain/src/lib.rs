//! The rules of Tidings, pure: what may happen to a notification, a recipient, a template, a subscription, a broadcast, a schedule or a
//! tenant's settings, and which facts follow.
//!
//! Nothing here reads a clock, draws a random number or does IO. Time and ids come in with the command;
//! rules that depend on time wait for an event that says the time has come.

pub mod admission;
pub mod broadcast;
pub mod decode;
pub mod digest;
pub mod identity;
pub mod notification;
pub mod recipient;
pub mod schedule;
pub mod settings;
pub mod source;
pub mod subscription;
pub mod template;
pub mod upcast;

pub use decode::{DecodeError, Stored};
pub use identity::{
    BroadcastId, InvalidIdentity, Issuer, NotificationId, RecipientId, SettingsId, SubscriptionId,
    TemplateId, Tenant, UserId,
};

/// The member of an event's payload that holds passwords and the like. The log seals it at rest with a key of the tenant, and no
/// listing shows it.
pub const SECRET_MEMBER: &str = "secrets";

/// Members of an event's payload that may hold personal content. The log seals them at rest with a key of
/// the recipient; whatever a person must be able to have forgotten lives under one of these and nowhere else.
pub const PERSONAL_MEMBERS: [&str; 3] = ["content", "data", "addresses"];

#[cfg(test)]
#[path = "golden_tests.rs"]
mod golden;
