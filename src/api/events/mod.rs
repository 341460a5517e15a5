//! The log, for those who follow or audit it: events in order, their content opened.

pub mod export;

use cqrs_es::Aggregate;
use poem::http::{HeaderMap, header};
use poem_openapi::param::Path;
use poem_openapi::payload::{Json, Payload};
use poem_openapi::{ApiResponse, Object, OpenApi, ResponseContent};
use serde_json::Value;
use tidings_domain::UserId;
use tidings_domain::notification::Notification;
use tidings_projections::inbox::rfc3339;
use tidings_projections::log::{Cursor, Filter, Recorded, position_at};
use time::OffsetDateTime;

use self::export::Export;
use crate::api::Tag;
use crate::api::http::backend::Backend;
use crate::api::http::credentials::{Caller, EventsRead, NotificationsRead, Service};
use crate::api::http::parameter::{Limit, Query};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::reads::{Reads, parse_id};

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
    /// Who caused it, and as part of which request; `traceparent` (W3C) if that request was traced.
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
            metadata: serde_json::from_str(event.metadata.get()).expect("the database stores JSON only"),
        }
    }
}

/// A page of the log, oldest first.
#[derive(Debug, Object)]
struct EventPage {
    events: Vec<Event>,
    /// Pass it as `after` to go on. A page with a filter may have few events, or none, before the end: the end is
    /// reached when `next` no longer moves.
    next: String,
}

#[derive(ResponseContent)]
enum EventContent {
    Page(Json<EventPage>),
    Lines(Export),
}

#[derive(ApiResponse)]
enum EventsResponse {
    /// A page, or with `Accept: application/x-ndjson` the whole range, one event per line; the last line is
    /// `{"end":true,"cursor":"..."}`, and a body without it was cut short.
    #[oai(status = 200)]
    Events(EventContent),
}

/// What happened to a notification, oldest first.
#[derive(Debug, Object)]
struct Timeline {
    events: Vec<Event>,
    /// The last of them.
    cursor: String,
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Events")]
impl Events {
    /// List events
    ///
    /// Those of the key's tenant. With `Accept: application/x-ndjson` (exactly that) the answer
    /// is the whole range up to the end of the log at the request, one event per line.
    #[oai(path = "/events", method = "get", operation_id = "listEvents")]
    #[expect(clippy::too_many_arguments, reason = "one argument per parameter of the query")]
    async fn list(
        &self,
        caller: Caller<Service<EventsRead>>,
        backend: &Backend,
        headers: &HeaderMap,
        /// List what follows this cursor; from the beginning where it is left out.
        after: Query<Cursor>,
        /// Only events recorded at this instant or later (RFC 3339; a `+` is written `%2B`).
        from: Query<OffsetDateTime>,
        /// Only events recorded before this instant.
        to: Query<OffsetDateTime>,
        /// Events of the page: 1 to 1,000, 100 where it is left out. Lines have no limit.
        limit: Query<Limit<LIMIT_MAX>>,
        /// Only events of this type.
        r#type: Query<String>,
        /// Only events that concern this user.
        user_id: Query<UserId>,
        /// Only events of this aggregate.
        aggregate_id: Query<String>,
    ) -> Result<EventsResponse, Problem> {
        let user_id = user_id.0.map(String::from);
        let filter = Filter { user_id, aggregate_id: aggregate_id.0, event_type: r#type.0 };
        let reads = &backend.reads;
        let (after, up_to) = range(reads, after.0, from.0, to.0).await?;
        if wants_lines(headers) {
            if limit.0.is_some() {
                return Err(Problem::at(Kind::Malformed, "limit", "goes with pages, not with lines"));
            }
            let export = Export {
                epoch: reads.history.epochs().current().number,
                reads: reads.clone(),
                principal: caller.principal,
                filter,
                after,
                up_to,
            };
            return Ok(EventsResponse::Events(EventContent::Lines(export)));
        }
        let limit = limit.0.map_or(LIMIT_DEFAULT, |limit| limit.0);
        let tenant = caller.principal.tenant().as_str();
        let page = reads.reader.list(&reads.pool, tenant, (after, up_to), &filter, limit).await?;
        let events = page.events.iter().map(|event| Event::new(reads, event)).collect();
        let page = EventPage { events, next: reads.cursor(page.next) };
        Ok(EventsResponse::Events(EventContent::Page(Json(page))))
    }

    /// List the events of a notification
    ///
    /// All of them: what was asked for, who did what, and what became of each delivery.
    #[oai(path = "/notifications/:id/events", method = "get", operation_id = "listNotificationEvents")]
    async fn timeline(
        &self,
        caller: Caller<Service<NotificationsRead>>,
        reads: &Reads,
        /// The notification.
        id: Path<String>,
    ) -> Result<Json<Timeline>, Problem> {
        let ids = [parse_id(&id)?.to_string()];
        let events = reads.reader.of_aggregates(&reads.pool, Notification::TYPE, &ids).await?;
        let last = events.last().filter(|event| event.tenant == caller.principal.tenant().as_str());
        let last = last.ok_or_else(|| Problem::new(Kind::NotFound, "there is no such notification"))?;
        let cursor = reads.cursor(last.position);
        Ok(Json(Timeline { events: events.iter().map(|event| Event::new(reads, event)).collect(), cursor }))
    }
}

/// The positions asked for: beyond the first, up to the second.
async fn range(
    reads: &Reads,
    after: Option<Cursor>,
    from: Option<OffsetDateTime>,
    to: Option<OffsetDateTime>,
) -> Result<(i64, i64), Problem> {
    if from.zip(to).is_some_and(|(from, to)| to < from) {
        return Err(Problem::at(Kind::Invalid, "to", "must not lie before `from`"));
    }
    let mut begin = match after {
        Some(cursor) => reads.position(cursor).await?,
        None => 0,
    };
    reads.history.refresh(&reads.pool).await?;
    let mut end = reads.history.head.get();
    if let Some(from) = from {
        begin = begin.max(position_at(&reads.pool, from).await?);
    }
    if let Some(to) = to {
        end = end.min(position_at(&reads.pool, to).await?);
    }
    Ok((begin, end))
}

fn wants_lines(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|accepted| accepted == Export::CONTENT_TYPE)
}
