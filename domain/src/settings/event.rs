//! The facts of a tenant's settings, as they are stored. Each says the whole of what it changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ChannelSettings, ProviderName, Secrets};
use crate::Tenant;
use crate::decode::stored;
use crate::notification::Channel;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    #[serde(rename = "settings.channel_configured")]
    ChannelConfigured {
        tenant: Tenant,
        channel: Channel,
        #[serde(flatten)]
        settings: ChannelSettings,
        /// Sealed, and shown to nobody.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        secrets: BTreeMap<ProviderName, Secrets>,
    },
    #[serde(rename = "settings.channel_removed")]
    ChannelRemoved { tenant: Tenant, channel: Channel },
    /// It said that it is no more (HTTP 410), and is left alone until the channel is configured again.
    #[serde(rename = "settings.endpoint_disabled")]
    EndpointDisabled { tenant: Tenant, channel: Channel, provider: ProviderName },
}

stored! { Event {
    Self::ChannelConfigured { .. } => "settings.channel_configured" @ "1.0.0",
    Self::ChannelRemoved { .. } => "settings.channel_removed" @ "1.0.0",
    Self::EndpointDisabled { .. } => "settings.endpoint_disabled" @ "1.0.0",
} }
