//! One source of webhooks: who sends them, how they prove it, and what is made of them.
//!
//! Secrets are told apart from the rest: the log seals them and nothing shows them. Whoever changes a source without naming
//! them keeps those that are set.

mod event;
mod hook;
mod identity;
mod mapping;

pub use event::Event;
pub use hook::{Fault, Hook};
pub use identity::{HookId, SourceId, SourceName};
pub use mapping::Mapping;

use std::fmt;

use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::Tenant;

/// Of a tenant's source: whoever may act for the tenant as a whole may say it.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub tenant: Tenant,
    pub name: SourceName,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Replaces what was said of it; `None` keeps the secrets.
    Configure {
        settings: Box<Settings>,
        secrets: Option<Secrets>,
    },
    Remove,
}

/// Why a source refuses a command. A refusal changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no such source")]
    NotFound,
    #[error("must be given: the source has none yet")]
    NoSecrets,
    /// A secret of one scheme is none of another.
    #[error("must be given anew when the scheme is another")]
    OtherScheme,
}

/// How a request proves that it comes from the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// <https://www.standardwebhooks.com>.
    StandardWebhooks,
    /// `X-Hub-Signature-256`.
    Github,
    /// `Stripe-Signature`.
    Stripe,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StandardWebhooks => "standard_webhooks",
            Self::Github => "github",
            Self::Stripe => "stripe",
        }
    }
}

/// What is said of a source, but for its secrets. Its expressions were compiled before it got here: the domain only keeps them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub scheme: Scheme,
    /// How far a signed timestamp may lie from now, either way.
    pub tolerance_s: u32,
    pub mapping: Mapping,
    /// How many hooks it may send on average; as many as there are where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// How many of them may come at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// The keys by which hooks may be signed: one, or two while one takes the place of the other.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secrets(pub Vec<String>);

impl Secrets {
    pub const MAX: usize = 2;
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(..)")
    }
}

/// A source as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Configured {
    pub settings: Settings,
    pub secrets: Secrets,
}

/// Nothing where nobody has configured it, or somebody removed it since.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Source {
    pub configured: Option<Configured>,
    /// Somebody removed it, and nobody has configured it since.
    pub removed: bool,
}

impl Source {
    /// What follows from the command. Nothing, when everything it asks for is already so.
    pub fn decide(&self, command: &Command) -> Result<Option<Event>, Error> {
        let (tenant, name) = (command.tenant.clone(), command.name.clone());
        match &command.action {
            Action::Configure { settings, secrets } => {
                let configured = self.with(settings, secrets.as_ref())?;
                let stands = self.configured.as_ref() == Some(&configured);
                let Configured { settings, secrets } = configured;
                let settings = Box::new(settings);
                Ok((!stands).then_some(Event::Configured { tenant, name, settings, secrets }))
            }
            Action::Remove if self.removed => Ok(None),
            Action::Remove if self.configured.is_none() => Err(Error::NotFound),
            Action::Remove => Ok(Some(Event::Removed { tenant, name })),
        }
    }

    fn with(&self, settings: &Settings, secrets: Option<&Secrets>) -> Result<Configured, Error> {
        let secrets = match (secrets, &self.configured) {
            (Some(secrets), _) => secrets.clone(),
            (None, None) => return Err(Error::NoSecrets),
            (None, Some(before)) if before.settings.scheme != settings.scheme => {
                return Err(Error::OtherScheme);
            }
            (None, Some(before)) => before.secrets.clone(),
        };
        Ok(Configured { settings: settings.clone(), secrets })
    }

    /// Folds one fact into the state.
    pub fn evolve(&mut self, event: &Event) {
        match event {
            Event::Configured { settings, secrets, .. } => {
                let (settings, secrets) = (settings.as_ref().clone(), secrets.clone());
                *self = Self { configured: Some(Configured { settings, secrets }), removed: false };
            }
            Event::Removed { .. } => *self = Self { configured: None, removed: true },
        }
    }
}

impl cqrs_es::Aggregate for Source {
    const TYPE: &'static str = "source";
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
