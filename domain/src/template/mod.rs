//! One template: words with places for arguments, in many languages, published version by version.
//!
//! A version never changes: what was made of it is shown with it for ever.

mod event;
mod version;

pub use event::Event;
pub use version::{ArgumentType, InvalidTemplate, TemplateKey, Version};

use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::Tenant;

/// Of a tenant's template: whoever may act for the tenant as a whole may say it.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub tenant: Tenant,
    pub key: TemplateKey,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Publish(Version),
    Retire,
}

/// Why a template refuses a command. A refusal changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was ever published under the key.
    #[error("there is no such template")]
    NotFound,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// What was published, oldest first: version 1 stands first.
    pub versions: Vec<Version>,
    pub retired: bool,
}

impl Template {
    /// The newest version's number, counted from 1.
    pub fn number(&self) -> u32 {
        u32::try_from(self.versions.len()).unwrap_or(u32::MAX)
    }

    pub fn version(&self, number: u32) -> Option<&Version> {
        self.versions.get(usize::try_from(number.checked_sub(1)?).ok()?)
    }

    /// What follows from the command. Nothing, when everything it asks for is already so.
    pub fn decide(&self, command: &Command) -> Result<Option<Event>, Error> {
        let (tenant, key) = (command.tenant.clone(), command.key.clone());
        match &command.action {
            Action::Publish(says) => {
                let stands = !self.retired && self.versions.last() == Some(says);
                let (version, says) = (self.number() + 1, says.clone());
                Ok((!stands).then_some(Event::Published { tenant, key, version, says }))
            }
            Action::Retire if self.versions.is_empty() => Err(Error::NotFound),
            Action::Retire => Ok((!self.retired).then_some(Event::Retired { tenant, key })),
        }
    }

    /// Folds one fact into the state. What is published after its end is its new beginning.
    pub fn evolve(&mut self, event: &Event) {
        match event {
            Event::Published { says, .. } => {
                self.versions.push(says.clone());
                self.retired = false;
            }
            Event::Retired { .. } => self.retired = true,
        }
    }
}

impl cqrs_es::Aggregate for Template {
    const TYPE: &'static str = "template";
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
mod tests;
