//! One notification for one recipient: created, shown, marked, ended.
//!
//! It alone knows whether it is read. `decide` answers a command with events or a refusal, `evolve` folds an
//! event into the state; the cqrs-es trait is a thin skin over the two.

mod command;
mod content;
mod delivering;
mod delivery;
mod digest;
mod error;
mod event;
mod plan;
mod retry;
mod state;

pub use command::{Action, Command, Create, Opening, Outcome};
pub use content::{Category, Content, InvalidContent, Priority, Tag, Tags, Templated, Words};
pub use delivery::{Channel, DeferReason, Delivery, DeliveryStatus, Failure, FailureClass, SkipReason};
pub use digest::{
    Collected, Digest, DigestArgument, DigestTemplate, Digested, Gathering, Item, TemplateVersion,
};
pub use error::Error;
pub use event::{Created, Event};
pub use plan::{Plan, PlanStep, Unless};
pub use retry::{Backoff, Jitter, RetryPolicy};
pub use state::{Life, Notification};

use cqrs_es::event_sink::EventSink;

impl cqrs_es::Aggregate for Notification {
    const TYPE: &'static str = "notification";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        for event in self.decide(&command)? {
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
