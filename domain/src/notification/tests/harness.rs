//! `given(events).when(action).then(events)`: folds a history, decides one command, compares what follows.

use crate::Issuer;
use crate::notification::{Action, Command, Error, Event, Notification};

use super::samples::service;

pub struct Given(Notification);

/// The history of the notification before the command.
pub fn given(history: impl IntoIterator<Item = Event>) -> Given {
    Given(fold(history))
}

pub fn fold(history: impl IntoIterator<Item = Event>) -> Notification {
    let mut notification = Notification::default();
    for event in history {
        notification.evolve(&event);
    }
    notification
}

impl Given {
    /// A service of the owner's tenant asks for it.
    #[track_caller]
    pub fn when(self, action: Action) -> When {
        self.when_issued_by(service(), action)
    }

    #[track_caller]
    pub fn when_issued_by(self, issuer: Issuer, action: Action) -> When {
        let command = Command { issuer, action };
        let decided = self.0.decide(&command);
        When { notification: self.0, command, decided }
    }
}

pub struct When {
    notification: Notification,
    command: Command,
    decided: Result<Vec<Event>, Error>,
}

impl When {
    /// Exactly these events follow; answers the state after them.
    #[track_caller]
    pub fn then(mut self, expected: impl IntoIterator<Item = Event>) -> Notification {
        let expected: Vec<Event> = expected.into_iter().collect();
        assert_eq!(self.decided, Ok(expected), "decided for {:?}", self.command);
        for event in self.decided.into_iter().flatten() {
            self.notification.evolve(&event);
        }
        self.notification
    }

    /// It succeeds and changes nothing.
    #[track_caller]
    pub fn then_nothing(self) {
        self.then([]);
    }

    /// The events that follow.
    #[track_caller]
    pub fn decided(self) -> Vec<Event> {
        self.decided.unwrap_or_else(|error| panic!("{:?} was refused: {error}", self.command))
    }

    #[track_caller]
    pub fn then_err(self, expected: Error) {
        assert_eq!(self.decided, Err(expected), "decided for {:?}", self.command);
    }
}
