//! One recipient: where a tenant's user is reached, in which language, on whose clock, and with what.
//!
//! Nobody registers: whom nobody has described has an empty profile, and the first word on somebody is as good as any
//! later one.

mod event;
mod preferences;
mod profile;
mod push;

pub use event::Event;
pub use preferences::{InvalidLocalTime, LocalTime, Preferences, QuietHours, Switches};
pub use profile::{Addresses, InvalidProfile, Locale, Profile, TimeZone};
pub use push::PushSubscription;

use std::convert::Infallible;

use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::notification::Channel;
use crate::{Tenant, UserId};

/// Of a tenant's user: whoever may act for the tenant may say it.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub tenant: Tenant,
    pub user: UserId,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Replaces the whole of it.
    ChangeProfile {
        profile: Profile,
        /// But for the push subscriptions: browsers bring and take them by themselves.
        keeps_push: bool,
    },
    ChangePreferences(Preferences),
    /// A browser subscribed.
    AddPushSubscription(PushSubscription),
    /// It does not want any more.
    RemovePushSubscription {
        endpoint: String,
    },
    /// What was called there said that it is no more.
    DisableAddress {
        channel: Channel,
        /// What was called; one that was said since is another.
        address: String,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recipient {
    pub profile: Profile,
    pub preferences: Preferences,
}

impl Recipient {
    /// What follows from the command. Nothing, when everything it asks for is already so.
    pub fn decide(&self, command: &Command) -> Option<Event> {
        let (tenant, user_id) = (command.tenant.clone(), command.user.clone());
        match &command.action {
            Action::ChangeProfile { profile, keeps_push } => {
                let mut profile = profile.clone();
                if *keeps_push {
                    profile.addresses.web_push.clone_from(&self.profile.addresses.web_push);
                }
                self.described(command, profile)
            }
            Action::ChangePreferences(preferences) => (*preferences != self.preferences)
                .then(|| Event::PreferencesChanged { tenant, user_id, preferences: preferences.clone() }),
            Action::AddPushSubscription(subscription) => {
                let mut profile = self.profile.clone();
                if !profile.addresses.web_push.contains(subscription) {
                    profile.addresses.subscribe(subscription.clone());
                }
                self.described(command, profile)
            }
            Action::RemovePushSubscription { endpoint } => {
                let mut profile = self.profile.clone();
                profile.addresses.unsubscribe(endpoint);
                self.described(command, profile)
            }
            Action::DisableAddress { channel, address } => {
                let addresses = self.profile.addresses.which(*channel, address)?;
                Some(Event::AddressDisabled { tenant, user_id, channel: *channel, addresses })
            }
        }
    }

    fn described(&self, command: &Command, profile: Profile) -> Option<Event> {
        let (tenant, user_id) = (command.tenant.clone(), command.user.clone());
        (profile != self.profile).then_some(Event::ProfileChanged { tenant, user_id, profile })
    }

    /// Folds one fact into the state.
    pub fn evolve(&mut self, event: &Event) {
        match event {
            Event::ProfileChanged { profile, .. } => self.profile = profile.clone(),
            Event::PreferencesChanged { preferences, .. } => self.preferences = preferences.clone(),
            Event::AddressDisabled { channel, addresses, .. } => {
                self.profile.addresses.forget(*channel, addresses);
            }
        }
    }
}

impl cqrs_es::Aggregate for Recipient {
    const TYPE: &'static str = "recipient";
    type Command = Command;
    type Event = Event;
    type Error = Infallible;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Infallible> {
        if let Some(event) = self.decide(&command) {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        self.evolve(&event);
    }
}

#[cfg(test)]
mod tests;
