//! The inbox as it was, at a moment that is named by a cursor or by the time.

use std::str::FromStr;

use serde_json::{Value, json};
use sqlx::PgPool;
use tidings_domain::{Tenant, UserId};
use tidings_projections::inbox::{self, ReplayError, Unsaid};
use tidings_projections::log::{Cursor, CursorError, Reader, position_at};
use time::{Duration, OffsetDateTime};

use crate::directory::Directory;
use crate::instant;
use crate::log::History;

/// A point of the log's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Cursor(Cursor),
    Instant(OffsetDateTime),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a cursor, or a date and time as in RFC 3339, such as 2026-11-22T10:00:00Z")]
pub struct InvalidMoment;

impl FromStr for Moment {
    type Err = InvalidMoment;

    fn from_str(text: &str) -> Result<Self, InvalidMoment> {
        let cursor = text.parse().map(Self::Cursor);
        cursor.or_else(|_| instant::parse(text).map(Self::Instant)).map_err(|_| InvalidMoment)
    }
}

impl Moment {
    /// The last position at that moment. An instant includes the whole millisecond, as `recorded_at` shows it; one that
    /// is still to come is the end of the log.
    pub async fn position(
        self,
        pool: &PgPool,
        history: &History,
    ) -> Result<Result<i64, CursorError>, sqlx::Error> {
        match self {
            Self::Cursor(cursor) => history.resolve(pool, cursor).await,
            Self::Instant(at) => {
                // After the last of all milliseconds nothing is recorded.
                let end = at.checked_add(Duration::MILLISECOND).unwrap_or(at);
                Ok(Ok(position_at(pool, end).await?))
            }
        }
    }
}

/// The whole inbox as JSON, the items as clients see them.
pub async fn inbox(
    pool: &PgPool,
    reader: &Reader,
    history: &History,
    (tenant, user): (&Tenant, &UserId),
    position: i64,
) -> Result<Value, ReplayError> {
    let owner = (tenant.as_str(), user.as_str());
    let replayed = inbox::inbox_at(pool, reader, owner, position).await?;
    let directory = Directory::new(pool.clone(), reader.clone());
    let reading = directory.reading_at(tenant, user, position).await?;
    let mut items: Vec<Value> = Vec::with_capacity(replayed.items.len());
    for item in &replayed.items {
        let item = item.to_json(history.cursor(item.state.position));
        let item = match Unsaid::of(&item) {
            Some(unsaid) => unsaid.say(&directory.words_of(&reading, &unsaid.template).await?),
            None => item,
        };
        items.push(serde_json::from_str(&item).expect("an item is written as JSON"));
    }
    let (counts, cursor) = (replayed.counts, history.cursor(replayed.position).to_string());
    Ok(json!({"unread": counts.unread, "unseen": counts.unseen, "cursor": cursor, "items": items}))
}
