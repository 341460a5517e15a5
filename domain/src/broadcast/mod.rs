//! One message to many: asked for once, fanned out in chunks, and told how far it has come.
//!
//! Each chunk is numbered and says with whom it ended, and is recorded together with the notifications it made: whoever
//! takes over goes on right there, and two who try the same chunk have one winner.

mod audience;
mod event;
mod state;

pub use audience::{Audience, InvalidAudience, Users};
pub use event::{Created, Event, Message};
pub use state::{Broadcast, Life};

use cqrs_es::event_sink::EventSink;

use crate::{Tenant, UserId};

/// Whoever may act for the tenant as a whole may say it.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub tenant: Tenant,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Request(Box<Request>),
    /// A chunk was made: what follows is recorded with its notifications.
    RecordFanOut(Chunk),
    /// What was made stays; nothing more is.
    Cancel,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub audience: Audience,
    pub message: Message,
}

/// Some recipients that follow each other in the order of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Counted from 1.
    pub number: u32,
    /// Its last recipient; `None` of an empty one, which is the last.
    pub last_user: Option<UserId>,
    pub count: u32,
    /// Whether nobody is left after it.
    pub is_last: bool,
}

/// Why a broadcast refuses a command. A refusal changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is none, or it belongs to somebody else.
    #[error("there is no such broadcast")]
    NotFound,
    #[error("the broadcast exists already")]
    AlreadyExists,
    #[error("the broadcast is completed")]
    Completed,
    #[error("the broadcast was cancelled")]
    Cancelled,
    /// Somebody else made it, or one before it is missing.
    #[error("chunk {number} is not the next one")]
    StaleChunk { number: u32 },
}

impl cqrs_es::Aggregate for Broadcast {
    const TYPE: &'static str = "broadcast";
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
