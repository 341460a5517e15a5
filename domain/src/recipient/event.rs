//! The facts of a recipient, as they are stored. Each says the whole of what it changes.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Preferences, Profile};
use crate::decode::{DecodeError, Stored, check_version, tagged};
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
}

impl Event {
    /// The stored name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ProfileChanged { .. } => "recipient.profile_changed",
            Self::PreferencesChanged { .. } => "recipient.preferences_changed",
        }
    }
}

impl Stored for Event {
    fn version_of(name: &str) -> Option<&'static str> {
        match name {
            "recipient.profile_changed" | "recipient.preferences_changed" => Some("1.0.0"),
            _ => None,
        }
    }

    fn decode(name: &str, version: &str, payload: &Value) -> Result<Self, DecodeError> {
        check_version::<Self>(name, version)?;
        tagged(name, version, payload)
    }
}

impl cqrs_es::DomainEvent for Event {
    fn event_type(&self) -> String {
        self.name().into()
    }

    fn event_version(&self) -> String {
        Self::version_of(self.name()).expect("every event of the enum has a version").into()
    }
}
