//! The facts of a template, as they are stored.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{TemplateKey, Version};
use crate::Tenant;
use crate::decode::{DecodeError, Stored, check_version, tagged};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    #[serde(rename = "template.published")]
    Published {
        tenant: Tenant,
        key: TemplateKey,
        /// Counted from 1.
        version: u32,
        #[serde(flatten)]
        says: Version,
    },
    /// Nothing new is made of it; what was made of it is shown as before.
    #[serde(rename = "template.retired")]
    Retired { tenant: Tenant, key: TemplateKey },
}

impl Event {
    /// The stored name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Published { .. } => "template.published",
            Self::Retired { .. } => "template.retired",
        }
    }
}

impl Stored for Event {
    fn version_of(name: &str) -> Option<&'static str> {
        match name {
            "template.published" | "template.retired" => Some("1.0.0"),
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
