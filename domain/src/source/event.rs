//! The facts of a source, as they are stored. Each says the whole of what it changes.

use serde::{Deserialize, Serialize};

use super::{Secrets, Settings, SourceName};
use crate::Tenant;
use crate::decode::stored;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    #[serde(rename = "source.configured")]
    Configured {
        tenant: Tenant,
        name: SourceName,
        #[serde(flatten)]
        settings: Box<Settings>,
        /// Sealed, and shown to nobody.
        secrets: Secrets,
    },
    #[serde(rename = "source.removed")]
    Removed { tenant: Tenant, name: SourceName },
}

stored! { Event {
    Self::Configured { .. } => "source.configured" @ "1.0.0",
    Self::Removed { .. } => "source.removed" @ "1.0.0",
} }
