//! What reads share: the database, the log's history, and waiting for a position.

use std::time::Duration;

use cqrs_es::Aggregate;
use sqlx::PgPool;
use tidings_domain::settings::Settings;
use tidings_domain::{NotificationId, SettingsId, Tenant, UserId};
use tidings_projections::log::{Cursor, Reader};
use tidings_projections::settings::fold;

use super::problem::{Kind, Problem};
use crate::directory::Directory;
use crate::log::History;

/// How long a read waits for its read model to reach `Tidings-Min-Cursor`.
const MIN_CURSOR_TIMEOUT: Duration = Duration::from_secs(2);

pub struct Reads {
    pub pool: PgPool,
    pub history: History,
    pub reader: Reader,
    pub directory: Directory,
}

impl Reads {
    pub fn cursor(&self, position: i64) -> String {
        self.history.cursor(position).to_string()
    }

    /// The position of a cursor that a client sent.
    pub async fn position(&self, cursor: Cursor) -> Result<i64, Problem> {
        Ok(self.history.resolve(&self.pool, cursor).await??)
    }

    /// Waits until the inbox has followed the log up to the cursor the client wants to see.
    pub async fn wait_for(&self, min_cursor: Option<Cursor>) -> Result<(), Problem> {
        let Some(cursor) = min_cursor else { return Ok(()) };
        let position = self.position(cursor).await?;
        within_limit("the inbox has", cursor, self.history.inbox_reached(&self.pool, position)).await
    }

    /// The same for the deliveries, and the list of notifications that is made of them.
    pub async fn wait_for_deliveries(&self, min_cursor: Option<Cursor>) -> Result<(), Problem> {
        let Some(cursor) = min_cursor else { return Ok(()) };
        let position = self.position(cursor).await?;
        within_limit("the deliveries have", cursor, self.history.delivery_reached(&self.pool, position)).await
    }

    /// The same for the subscribers.
    pub async fn wait_for_subscribers(&self, min_cursor: Option<Cursor>) -> Result<(), Problem> {
        let Some(cursor) = min_cursor else { return Ok(()) };
        let position = self.position(cursor).await?;
        let reached = self.history.subscribers_reached(&self.pool, position);
        within_limit("the subscribers have", cursor, reached).await
    }

    /// A tenant's settings as they stand.
    pub async fn settings(&self, tenant: &Tenant) -> Result<Settings, Problem> {
        self.settings_at(tenant, i64::MAX).await
    }

    /// The same as they stood at a position of the log.
    pub async fn settings_at(&self, tenant: &Tenant, position: i64) -> Result<Settings, Problem> {
        let id = SettingsId { tenant: tenant.clone() }.to_string();
        let mut events = self.reader.of_aggregates(&self.pool, Settings::TYPE, &[id]).await?;
        events.retain(|event| event.position <= position);
        fold(&events).map_err(|error| Problem::internal(&error))
    }
}

async fn within_limit(
    who: &str,
    cursor: Cursor,
    reached: impl Future<Output = Result<(), sqlx::Error>>,
) -> Result<(), Problem> {
    let reached = tokio::time::timeout(MIN_CURSOR_TIMEOUT, reached).await;
    let behind = |_| Problem::new(Kind::ProjectionBehind, format!("{who} not reached {cursor} yet"));
    Ok(reached.map_err(behind)??)
}

pub fn parse_user(text: String) -> Result<UserId, Problem> {
    UserId::try_from(text).map_err(|error| Problem::at(Kind::Malformed, "user_id", error.to_string()))
}

pub fn parse_id(text: &str) -> Result<NotificationId, Problem> {
    text.parse().map_err(|error: tidings_domain::InvalidIdentity| {
        Problem::at(Kind::Malformed, "id", error.to_string())
    })
}
