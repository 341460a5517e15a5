//! How far a broadcast has come, and what may happen to it.

use serde::{Deserialize, Serialize};

use super::{Action, Audience, Chunk, Command, Created, Error, Event};
use crate::{Tenant, UserId};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Life {
    #[default]
    Absent,
    Running,
    Completed,
    Cancelled,
}

impl Life {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Broadcast {
    pub owner: Option<Tenant>,
    pub life: Life,
    /// Made so far.
    pub notifications: u64,
    pub chunks: u32,
    /// Everybody up to here has a notification.
    pub last_user: Option<UserId>,
    /// How many users it names; `None` where they are those of a topic.
    pub total: Option<u64>,
}

impl Broadcast {
    /// What follows from the command. Nothing, when everything it asks for is already so.
    pub fn decide(&self, command: &Command) -> Result<Vec<Event>, Error> {
        match &command.action {
            Action::Request(_) if self.life != Life::Absent => Err(Error::AlreadyExists),
            Action::Request(request) => Ok(vec![Event::Created(Box::new(Created {
                tenant: command.tenant.clone(),
                audience: request.audience.clone(),
                message: request.message.clone(),
            }))]),
            _ if self.owner.as_ref() != Some(&command.tenant) => Err(Error::NotFound),
            Action::RecordFanOut(chunk) => self.record(chunk),
            Action::Cancel => self.cancel(),
        }
    }

    fn record(&self, chunk: &Chunk) -> Result<Vec<Event>, Error> {
        match self.life {
            Life::Absent => return Err(Error::NotFound),
            Life::Completed => return Err(Error::Completed),
            Life::Cancelled => return Err(Error::Cancelled),
            Life::Running => {}
        }
        if chunk.number != self.chunks + 1 || chunk.last_user <= self.last_user && chunk.last_user.is_some() {
            return Err(Error::StaleChunk { number: chunk.number });
        }
        let notifications = self.notifications + u64::from(chunk.count);
        let progressed = chunk.last_user.clone().map(|last_user_id| Event::Progressed {
            chunk: chunk.number,
            last_user_id,
            count: chunk.count,
            notifications,
        });
        let completed = chunk.is_last.then_some(Event::Completed { notifications });
        Ok(progressed.into_iter().chain(completed).collect())
    }

    fn cancel(&self) -> Result<Vec<Event>, Error> {
        match self.life {
            Life::Absent => Err(Error::NotFound),
            Life::Completed | Life::Cancelled => Ok(Vec::new()),
            Life::Running => Ok(vec![Event::Cancelled { notifications: self.notifications }]),
        }
    }

    /// Folds one fact into the state.
    pub fn evolve(&mut self, event: &Event) {
        match event {
            Event::Created(created) => {
                *self = Self {
                    owner: Some(created.tenant.clone()),
                    life: Life::Running,
                    total: match &created.audience {
                        Audience::Topic(_) => None,
                        Audience::UserIds(users) => Some(users.as_slice().len() as u64),
                    },
                    ..Self::default()
                }
            }
            Event::Progressed { chunk, last_user_id, notifications, .. } => {
                self.chunks = *chunk;
                self.last_user = Some(last_user_id.clone());
                self.notifications = *notifications;
            }
            Event::Completed { notifications } => {
                (self.life, self.notifications) = (Life::Completed, *notifications);
            }
            Event::Cancelled { notifications } => {
                (self.life, self.notifications) = (Life::Cancelled, *notifications);
            }
        }
    }
}
