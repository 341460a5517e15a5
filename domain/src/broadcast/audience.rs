//! Whom a broadcast reaches.

use serde::{Deserialize, Serialize};

use crate::UserId;
use crate::subscription::Topic;

/// Why a list of users cannot be reached; the sentence is meant for the caller of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 10,000 members")]
pub struct InvalidAudience;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Those who were subscribed at the position of the broadcast itself.
    Topic(Topic),
    UserIds(Users),
}

/// Users in their order (bytes of UTF-8), each once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Users(Vec<UserId>);

impl Users {
    pub const COUNT_MAX: usize = 10_000;

    /// In any order; one that is named twice is reached once.
    pub fn new(mut users: Vec<UserId>) -> Result<Self, InvalidAudience> {
        if !(1..=Self::COUNT_MAX).contains(&users.len()) {
            return Err(InvalidAudience);
        }
        users.sort_unstable();
        users.dedup();
        Ok(Self(users))
    }

    pub fn as_slice(&self) -> &[UserId] {
        &self.0
    }

    /// At most `limit` of those beyond a user; from the first on without one.
    pub fn after(&self, user: Option<&UserId>, limit: usize) -> &[UserId] {
        let from = user.map_or(0, |last| self.0.partition_point(|user| user <= last));
        &self.0[from..self.0.len().min(from + limit)]
    }
}
