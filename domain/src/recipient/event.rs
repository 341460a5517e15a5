//! The facts of a recipient, as they are stored. Each says the whole of what it changes.

use serde::{Deserialize, Serialize};

use super::{Addresses, Preferences, Profile};
use crate::decode::stored;
use crate::notification::Channel;
use crate::{Tenant, UserId};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    #[serde(rename = "recipient.profile_changed")]
    ProfileChanged {
        tenant: Tenant,
        user_id: UserId,
        #[serde(flatten)]
        profile: Profile,
    },
    #[serde(rename = "recipient.preferences_changed")]
    PreferencesChanged {
        tenant: Tenant,
        user_id: UserId,
        #[serde(flatten)]
        preferences: Preferences,
    },
    /// What is called there said that it is no more (HTTP 410): it is forgotten until it is said anew.
    #[serde(rename = "recipient.address_disabled")]
    AddressDisabled {
        tenant: Tenant,
        user_id: UserId,
        channel: Channel,
        /// Which of several it was. Empty for all that the channel has, and once the recipient's key was destroyed.
        #[serde(default, skip_serializing_if = "Addresses::is_empty")]
        addresses: Addresses,
    },
}

stored! { Event {
    Self::ProfileChanged { .. } => "recipient.profile_changed" @ "1.0.0",
    Self::PreferencesChanged { .. } => "recipient.preferences_changed" @ "1.0.0",
    Self::AddressDisabled { .. } => "recipient.address_disabled" @ "1.0.0",
} }
