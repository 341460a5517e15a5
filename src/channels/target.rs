//! Whom a message may go to: the recipient's own address, else what the tenant set up.

use tidings_domain::Tenant;
use tidings_domain::notification::{Channel, SkipReason};
use tidings_domain::recipient::{Addresses, PushSubscription};
use tidings_domain::settings::{Configured, Endpoint, Provider, Secrets};

use super::breaker::Circuit;

/// One who may be called.
pub struct Target {
    pub provider: Provider,
    pub secrets: Secrets,
    pub circuit: Circuit,
    /// A URL, or an e-mail address.
    pub address: String,
    /// It is the recipient's own, and not the tenant's.
    pub own: bool,
    /// Whose URL it is, where it is a browser's.
    pub browser: Option<PushSubscription>,
}

/// Those of a channel, in order: at least one.
pub fn targets(
    tenant: &Tenant,
    channel: Channel,
    configured: &Configured,
    addresses: &Addresses,
) -> Result<Vec<Target>, SkipReason> {
    let target = |provider: &Provider, address: &str, own: bool| {
        // Who is set up anew is tried anew.
        let endpoint = match &provider.endpoint {
            _ if own => address.to_owned(),
            Endpoint::Smtp(smtp) => format!("{} {}:{}", provider.name, smtp.host, smtp.port),
            Endpoint::Webhook { .. } | Endpoint::Slack {} | Endpoint::WebPush { .. } => {
                format!("{} {address}", provider.name)
            }
        };
        Target {
            provider: provider.clone(),
            secrets: configured.secrets.get(&provider.name).cloned().unwrap_or_default(),
            circuit: Circuit { tenant: tenant.to_string(), channel, endpoint },
            address: address.to_owned(),
            own,
            browser: None,
        }
    };
    let (own, email) = match channel {
        Channel::InApp => return Err(SkipReason::NotConfigured),
        Channel::Email => (None, Some(addresses.email.as_deref().ok_or(SkipReason::NoAddress)?)),
        Channel::Slack => (addresses.slack.as_deref(), None),
        Channel::Webhook => (addresses.webhook.as_deref(), None),
        Channel::WebPush => {
            let provider = configured.settings.providers.first().ok_or(SkipReason::NotConfigured)?;
            let browsers = addresses.web_push.iter().map(|browser| Target {
                browser: Some(browser.clone()),
                ..target(provider, &browser.endpoint, true)
            });
            return some(browsers.collect(), SkipReason::NoAddress);
        }
    };
    let providers = &configured.settings.providers;
    if let Some(address) = own {
        return Ok(providers.iter().take(1).map(|provider| target(provider, address, true)).collect());
    }
    let called = providers.iter().filter_map(|provider| {
        let address = email.or_else(|| configured.url(&provider.name))?;
        (!configured.disabled.contains(&provider.name)).then(|| target(provider, address, false))
    });
    let none = if configured.disabled.is_empty() { SkipReason::NoAddress } else { SkipReason::NotConfigured };
    some(called.collect(), none)
}

fn some(targets: Vec<Target>, otherwise: SkipReason) -> Result<Vec<Target>, SkipReason> {
    if targets.is_empty() { Err(otherwise) } else { Ok(targets) }
}
