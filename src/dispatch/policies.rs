//! What a plan fixes of the tenant's settings when a notification is asked for: a later change of them is for later ones.

use tidings_domain::Tenant;
use tidings_domain::notification::{Channel, Plan};
use tidings_domain::settings::ChannelSettings;
use tidings_projections::log::ReadError;

use crate::directory::Directory;

/// Says of each step that calls somebody how often that is tried: as a channel of which nothing is said, where the tenant
/// has not set it up yet.
pub async fn fix(directory: &Directory, tenant: &Tenant, plan: &mut Plan) -> Result<(), ReadError> {
    let outside: Vec<Channel> =
        plan.steps().iter().map(|step| step.channel).filter(|channel| channel.calls_outside()).collect();
    if outside.is_empty() {
        return Ok(());
    }
    let settings = directory.settings(tenant).await?;
    for channel in outside {
        let configured = settings.channels.get(&channel);
        let policy = configured.map_or(ChannelSettings::retry_default(channel), |known| known.settings.retry);
        plan.try_as(channel, policy);
    }
    Ok(())
}
