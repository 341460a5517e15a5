//! The settings of one tenant: by which providers its channels reach people, how patiently, and what goes for which kind
//! of notification.
//!
//! Secrets are told apart from the rest: the log seals them, nothing shows them, and whoever changes a channel without
//! naming them keeps those that are set.

mod category;
mod channel;
mod digest;
mod event;
mod provider;

pub use category::{CategorySettings, InvalidPlanName, PlanChoice, PlanName, Throttle};
pub use channel::{ChannelSettings, InvalidChannel, Semantics};
pub use digest::{DigestKey, DigestSettings, InvalidDigestKey};
pub use event::Event;
pub use provider::{Endpoint, Provider, ProviderName, Secrets, Security, SigningSecret, Smtp};

use std::collections::BTreeMap;
use std::fmt;

use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::Tenant;
use crate::notification::{Category, Channel, Plan};
use crate::recipient::Preferences;

/// Of a tenant: whoever may act for it as a whole may say it.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub tenant: Tenant,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    ConfigureChannel(Box<ConfigureChannel>),
    RemoveChannel {
        channel: Channel,
    },
    /// An endpoint said that it is no more.
    DisableEndpoint {
        channel: Channel,
        provider: ProviderName,
        /// What was called; one that was set since is another.
        url: String,
    },
    /// Replaces what was said of the category.
    ChangeCategory {
        category: Category,
        settings: Box<CategorySettings>,
    },
    RemoveCategory {
        category: Category,
    },
    /// Replaces the plan of that name, for notifications to come.
    ChangePlan {
        name: PlanName,
        plan: Plan,
    },
    RemovePlan {
        name: PlanName,
    },
}

/// Replaces what was said of the channel, but for secrets that are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigureChannel {
    pub channel: Channel,
    pub settings: ChannelSettings,
    /// New ones, by provider.
    pub secrets: BTreeMap<ProviderName, NewSecrets>,
    pub now: OffsetDateTime,
}

/// What is set anew; `None` keeps what is there.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NewSecrets {
    pub password: Option<String>,
    pub url: Option<String>,
    pub signing: Option<NewSigningSecret>,
    pub private_key: Option<String>,
    /// For who has none yet and names none.
    pub private_key_made: Option<String>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct NewSigningSecret {
    pub secret: String,
    /// The secret before goes on signing until then, beside this one.
    pub overlap_until: OffsetDateTime,
}

impl fmt::Debug for NewSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewSecrets(..)")
    }
}

/// Why a tenant's settings refuse a command. A refusal changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Invalid(InvalidChannel),
    /// A category asks for it.
    #[error("there is no plan of this name")]
    UnknownPlan,
    #[error("the category `{}` uses the plan", .category.as_str())]
    PlanInUse { category: Category },
    #[error("a tenant has settings for at most 200 categories")]
    TooManyCategories,
    #[error("a tenant has at most 100 named plans")]
    TooManyPlans,
}

/// A channel as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Configured {
    pub settings: ChannelSettings,
    pub secrets: BTreeMap<ProviderName, Secrets>,
    /// Those that said that they are no more.
    pub disabled: Vec<ProviderName>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub channels: BTreeMap<Channel, Configured>,
    pub categories: BTreeMap<Category, CategorySettings>,
    pub plans: BTreeMap<PlanName, Plan>,
}

impl Settings {
    pub const CATEGORIES_MAX: usize = 200;
    pub const PLANS_MAX: usize = 100;

    /// Of a notification that names none: its category's, else that with the name `default`, else the inbox alone.
    pub fn plan_for(&self, category: Option<&Category>) -> Plan {
        let of_category = category.and_then(|category| self.categories.get(category)?.plan.as_ref());
        let named = |name: &str| self.plans.iter().find(|(known, _)| known.as_str() == name);
        let plan = match of_category {
            Some(PlanChoice::Steps(plan)) => Some(plan),
            Some(PlanChoice::Named(name)) => self.plans.get(name),
            None => named(PlanName::DEFAULT).map(|(_, plan)| plan),
        };
        plan.cloned().unwrap_or_default()
    }

    /// Whether a notification goes out on a channel: the recipient's word first, then the category's, then yes.
    pub fn admits(&self, preferences: &Preferences, category: Option<&Category>, channel: Channel) -> bool {
        match category.and_then(|category| Some((category, self.categories.get(category)?))) {
            Some((category, settings)) => settings.admits(preferences, category, channel),
            None => preferences.wants(category, channel).unwrap_or(true),
        }
    }

    /// Whether it passes whatever the recipient switched off, and quiet hours.
    pub fn is_critical(&self, category: Option<&Category>) -> bool {
        category.and_then(|category| self.categories.get(category)).is_some_and(|settings| settings.critical)
    }

    /// What follows from the command. Nothing, when everything it asks for is already so.
    pub fn decide(&self, command: &Command) -> Result<Option<Event>, Error> {
        let tenant = command.tenant.clone();
        match &command.action {
            Action::ConfigureChannel(configure) => self.configure(tenant, configure),
            Action::RemoveChannel { channel } => {
                let stands = self.channels.contains_key(channel);
                Ok(stands.then_some(Event::ChannelRemoved { tenant, channel: *channel }))
            }
            Action::DisableEndpoint { channel, provider, url } => {
                let stands = self.channels.get(channel).is_some_and(|configured| {
                    configured.url(provider) == Some(url) && !configured.disabled.contains(provider)
                });
                let (channel, provider) = (*channel, provider.clone());
                Ok(stands.then_some(Event::EndpointDisabled { tenant, channel, provider }))
            }
            Action::ChangeCategory { category, settings } => self.change_category(tenant, category, settings),
            Action::RemoveCategory { category } => {
                let stands = self.categories.contains_key(category);
                Ok(stands.then(|| Event::CategoryRemoved { tenant, category: category.clone() }))
            }
            Action::ChangePlan { name, plan } => self.change_plan(tenant, name, plan),
            Action::RemovePlan { name } => self.remove_plan(tenant, name),
        }
    }

    fn change_category(
        &self,
        tenant: Tenant,
        category: &Category,
        settings: &CategorySettings,
    ) -> Result<Option<Event>, Error> {
        let before = self.categories.get(category);
        if before == Some(settings) {
            return Ok(None);
        }
        if before.is_none() && self.categories.len() >= Self::CATEGORIES_MAX {
            return Err(Error::TooManyCategories);
        }
        if let Some(PlanChoice::Named(name)) = &settings.plan
            && !self.plans.contains_key(name)
        {
            return Err(Error::UnknownPlan);
        }
        let (category, settings) = (category.clone(), settings.clone());
        Ok(Some(Event::CategoryChanged { tenant, category, settings }))
    }

    fn change_plan(&self, tenant: Tenant, name: &PlanName, plan: &Plan) -> Result<Option<Event>, Error> {
        let before = self.plans.get(name);
        if before.is_none() && self.plans.len() >= Self::PLANS_MAX {
            return Err(Error::TooManyPlans);
        }
        let changes = before != Some(plan);
        Ok(changes.then(|| Event::PlanChanged { tenant, name: name.clone(), plan: plan.clone() }))
    }

    fn remove_plan(&self, tenant: Tenant, name: &PlanName) -> Result<Option<Event>, Error> {
        let uses = |settings: &CategorySettings| matches!(&settings.plan, Some(PlanChoice::Named(named)) if named == name);
        if let Some((category, _)) = self.categories.iter().find(|(_, settings)| uses(settings)) {
            return Err(Error::PlanInUse { category: category.clone() });
        }
        Ok(self.plans.contains_key(name).then(|| Event::PlanRemoved { tenant, name: name.clone() }))
    }

    fn configure(&self, tenant: Tenant, configure: &ConfigureChannel) -> Result<Option<Event>, Error> {
        let before = self.channels.get(&configure.channel);
        let mut secrets = BTreeMap::new();
        for (index, provider) in configure.settings.providers.iter().enumerate() {
            let known = before.and_then(|configured| configured.known(provider)).unwrap_or_default();
            let new = configure.secrets.get(&provider.name).cloned().unwrap_or_default();
            let all = known.with(new, configure.now);
            provider.endpoint.check_secrets(index, &all).map_err(Error::Invalid)?;
            if all != Secrets::default() {
                secrets.insert(provider.name.clone(), all);
            }
        }
        let stands = before.is_some_and(|before| {
            before.settings == configure.settings && before.secrets == secrets && before.disabled.is_empty()
        });
        let (channel, settings) = (configure.channel, configure.settings.clone());
        Ok((!stands).then_some(Event::ChannelConfigured { tenant, channel, settings, secrets }))
    }

    /// Folds one fact into the state.
    pub fn evolve(&mut self, event: &Event) {
        match event {
            Event::ChannelConfigured { channel, settings, secrets, .. } => {
                let (settings, secrets) = (settings.clone(), secrets.clone());
                self.channels.insert(*channel, Configured { settings, secrets, disabled: Vec::new() });
            }
            Event::ChannelRemoved { channel, .. } => _ = self.channels.remove(channel),
            Event::EndpointDisabled { channel, provider, .. } => {
                if let Some(configured) = self.channels.get_mut(channel) {
                    configured.disabled.push(provider.clone());
                }
            }
            Event::CategoryChanged { category, settings, .. } => {
                self.categories.insert(category.clone(), settings.clone());
            }
            Event::CategoryRemoved { category, .. } => _ = self.categories.remove(category),
            Event::PlanChanged { name, plan, .. } => _ = self.plans.insert(name.clone(), plan.clone()),
            Event::PlanRemoved { name, .. } => _ = self.plans.remove(name),
        }
    }
}

impl Configured {
    /// Where the provider of that name is called, where that is a URL.
    pub fn url(&self, name: &ProviderName) -> Option<&str> {
        match &self.settings.provider(name)?.endpoint {
            Endpoint::Webhook { url } => url.as_deref(),
            Endpoint::Slack {} => self.secrets.get(name)?.url.as_deref(),
            Endpoint::Smtp(_) | Endpoint::WebPush { .. } => None,
        }
    }

    /// The secrets of the provider of that name. A password belongs to the account that it opens: it is not sent to another
    /// server because somebody changed the host.
    fn known(&self, provider: &Provider) -> Option<Secrets> {
        let mut known = self.secrets.get(&provider.name)?.clone();
        let before = self.settings.provider(&provider.name)?;
        if !before.endpoint.is_same_account(&provider.endpoint) {
            known.password = None;
        }
        Some(known)
    }
}

impl cqrs_es::Aggregate for Settings {
    const TYPE: &'static str = "settings";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        if let Some(event) = self.decide(&command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        self.evolve(&event);
    }
}

#[cfg(test)]
mod category_tests;
#[cfg(test)]
mod tests;
