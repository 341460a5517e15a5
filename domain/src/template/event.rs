//! The facts of a template, as they are stored.

use serde::{Deserialize, Serialize};

use super::{TemplateKey, Version};
use crate::Tenant;
use crate::decode::stored;

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

stored! { Event {
    Self::Published { .. } => "template.published" @ "1.0.0",
    Self::Retired { .. } => "template.retired" @ "1.0.0",
} }
