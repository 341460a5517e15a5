//! The log, for those who follow or audit it: events in order, their content opened.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use serde_json::Value;
use tidings_domain::UserId;
use tidings_projections::inbox::rfc3339;
use tidings_projections::log::{Cursor, Filter, Recorded};

use super::credentials::{Caller, Service};
use super::parameter::{Limit, Query};
use super::problem::Problem;
use super::reads::Reads;

const LIMIT_DEFAULT: i64 = 100;
const LIMIT_MAX: u32 = 1_000;

pub struct Events;

/// One event of the log.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Event {
    /// Its position in the log.
    cursor: String,
    /// Such as `notification.created`. New ones may be added.
    r#type: String,
    aggregate_type: String,
    aggregate_id: String,
    /// Counts the events of the aggregate, from 1.
    sequence: i64,
    recorded_at: String,
    /// The user it concerns.
    user_id: Option<String>,
    data: Value,
    /// Who caused it, and as part of which request.
    metadata: Value,
}

impl Event {
    fn new(reads: &Reads, event: &Recorded) -> Self {
        Self {
            cursor: reads.cursor(event.position),
            r#type: event.event_type.clone(),
            aggregate_type: event.aggregate_type.clone(),
            aggregate_id: event.aggregate_id.clone(),
            sequence: event.sequence,
            recorded_at: rfc3339(event.recorded_at),
            user_id: event.recipient.clone(),
            data: event.payload.clone(),
            metadata: event.metadata.clone(),
        }
    }
}

/// A page of the log, oldest first.
#[derive(Debug, Object)]
struct EventPage {
    events: Vec<Event>,
    /// Pass it as `after` to go on; on the last page it stands at the end of the log.
    next: String,
}

#[OpenApi(prefix_path = "/v1")]
impl Events {
    /// List events
    ///
    /// Needs an API key; lists its tenant's events.
    #[oai(path = "/events", method = "get", operation_id = "listEvents")]
    #[expect(clippy::too_many_arguments, reason = "one argument per parameter of the query")]
    async fn list(
        &self,
        caller: Caller<Service>,
        reads: Data<&Arc<Reads>>,
        /// List what follows this cursor; from the beginning where it is left out.
        after: Query<Cursor>,
        /// Events of the page: 1 to 1,000, 100 where it is left out.
        limit: Query<Limit<LIMIT_MAX>>,
        /// Only events of this type.
        r#type: Query<String>,
        /// Only events that concern this user.
        user_id: Query<UserId>,
        /// Only events of this aggregate.
        aggregate_id: Query<String>,
    ) -> Result<Json<EventPage>, Problem> {
        let limit = limit.0.map_or(LIMIT_DEFAULT, |limit| limit.0);
        let user_id = user_id.0.map(String::from);
        let filter = Filter { user_id, aggregate_id: aggregate_id.0, event_type: r#type.0 };
        let after = match after.0 {
            Some(cursor) => reads.position(cursor).await?,
            None => 0,
        };
        reads.history.refresh(&reads.pool).await?;
        let head = reads.history.head.get();
        let tenant = caller.principal.tenant().as_str();
        let events = reads.reader.list(&reads.pool, tenant, (after, head), &filter, limit).await?;
        let full = events.len() as i64 == limit;
        let next = if full { events.last().map_or(after, |event| event.position) } else { head.max(after) };
        let events = events.iter().map(|event| Event::new(&reads, event)).collect();
        Ok(Json(EventPage { events, next: reads.cursor(next) }))
    }
}
