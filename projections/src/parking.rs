//! Parking: when an event cannot be applied, its recipient is set aside and everybody else goes on.
//!
//! From that event on nothing of the recipient is folded, and reads say so instead of showing half a truth. A redrive
//! folds the recipient anew from the log, once whatever was wrong is mended.

use std::collections::HashSet;
use std::fmt::Display;

use sqlx::PgConnection;

use crate::log::Recorded;
use crate::read_model::UserKey;

/// The recipients of one read model that are parked.
#[derive(Debug, Default)]
pub struct Parked {
    users: HashSet<UserKey>,
    /// Parked by the batch that is being folded.
    new: Vec<(UserKey, i64, String)>,
}

impl Parked {
    pub async fn load(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let users: Vec<UserKey> =
            sqlx::query_as("SELECT tenant, user_id FROM parked").fetch_all(connection).await?;
        Ok(Self { users: users.into_iter().collect(), new: Vec::new() })
    }

    /// Nobody is looked up where nobody is parked.
    pub fn holds(&self, event: &Recorded) -> bool {
        !self.users.is_empty() && self.users.contains(&recipient(event))
    }

    pub fn park(&mut self, event: &Recorded, error: &dyn Display) {
        let user = recipient(event);
        tracing::error!(position = event.position, %error, "an event cannot be applied; its recipient is parked");
        self.new.push((user.clone(), event.position, error.to_string()));
        self.users.insert(user);
    }

    /// Whether the batch that was just folded parked somebody.
    pub fn has_new(&self) -> bool {
        !self.new.is_empty()
    }

    /// Writes down whom the batch has parked, under a new generation, which is given back: connections that show
    /// their state must end.
    pub async fn store(
        &mut self,
        connection: &mut PgConnection,
        generation: i64,
    ) -> Result<i64, sqlx::Error> {
        if self.new.is_empty() {
            return Ok(generation);
        }
        let generation = generation + 1;
        sqlx::query("UPDATE checkpoint SET generation = $1")
            .bind(generation)
            .execute(&mut *connection)
            .await?;
        for ((tenant, user_id), position, error) in self.new.drain(..) {
            sqlx::query(
                "INSERT INTO parked (tenant, user_id, position, generation, error) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(tenant)
            .bind(user_id)
            .bind(position)
            .bind(generation)
            .bind(error)
            .execute(&mut *connection)
            .await?;
        }
        Ok(generation)
    }
}

/// An event that concerns nobody in particular stands under the empty name, which no user has.
fn recipient(event: &Recorded) -> UserKey {
    (event.tenant.clone(), event.recipient.clone().unwrap_or_default())
}
