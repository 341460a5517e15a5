//! One user's subscription to one topic: there or not. A topic is no aggregate, so that one of a million subscribers is
//! not a million commands in a row.

mod event;
mod topic;

pub use event::Event;
pub use topic::{InvalidTopic, Topic};

use std::convert::Infallible;

use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::{Tenant, UserId};

/// Of a tenant's user and topic: whoever may act for the tenant may say it.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub tenant: Tenant,
    pub topic: Topic,
    pub user: UserId,
    pub action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Subscribe,
    Unsubscribe,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    pub subscribed: bool,
}

impl Subscription {
    /// What follows from the command. Nothing, when it is already so.
    pub fn decide(&self, command: &Command) -> Option<Event> {
        let (tenant, topic) = (command.tenant.clone(), command.topic.clone());
        let user_id = command.user.clone();
        match command.action {
            Action::Subscribe => (!self.subscribed).then_some(Event::Subscribed { tenant, topic, user_id }),
            Action::Unsubscribe => self.subscribed.then_some(Event::Unsubscribed { tenant, topic, user_id }),
        }
    }

    /// Folds one fact into the state.
    pub fn evolve(&mut self, event: &Event) {
        self.subscribed = matches!(event, Event::Subscribed { .. });
    }
}

impl cqrs_es::Aggregate for Subscription {
    const TYPE: &'static str = "subscription";
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
