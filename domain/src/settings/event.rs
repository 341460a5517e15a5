//! The facts of a tenant's settings, as they are stored. Each says the whole of what it changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CategorySettings, ChannelSettings, PlanName, ProviderName, Secrets};
use crate::Tenant;
use crate::decode::stored;
use crate::notification::{Category, Channel, Plan};

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
    #[serde(rename = "settings.category_changed")]
    CategoryChanged {
        tenant: Tenant,
        category: Category,
        #[serde(flatten)]
        settings: CategorySettings,
    },
    #[serde(rename = "settings.category_removed")]
    CategoryRemoved { tenant: Tenant, category: Category },
    #[serde(rename = "settings.plan_changed")]
    PlanChanged { tenant: Tenant, name: PlanName, plan: Plan },
    #[serde(rename = "settings.plan_removed")]
    PlanRemoved { tenant: Tenant, name: PlanName },
}

stored! { Event {
    Self::ChannelConfigured { .. } => "settings.channel_configured" @ "1.0.0",
    Self::ChannelRemoved { .. } => "settings.channel_removed" @ "1.0.0",
    Self::EndpointDisabled { .. } => "settings.endpoint_disabled" @ "1.0.0",
    Self::CategoryChanged { .. } => "settings.category_changed" @ "1.0.0",
    Self::CategoryRemoved { .. } => "settings.category_removed" @ "1.0.0",
    Self::PlanChanged { .. } => "settings.plan_changed" @ "1.0.0",
    Self::PlanRemoved { .. } => "settings.plan_removed" @ "1.0.0",
} }
