//! Deliveries of all notifications: found by how they stand, and redriven where they failed for good.

use poem_openapi::payload::Json;
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromParameter, Type};
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::Deserialize;
use tidings_domain::notification::{DeliveryStatus, FailureClass, Priority};
use tidings_domain::{NotificationId, UserId};
use tidings_projections::delivery::{self, DeliveryFilter, Found, Place};
use tidings_projections::inbox::rfc3339;
use tidings_projections::log::{Cursor, position_at};
use time::{Duration, OffsetDateTime};

use super::plan::Channel;
use crate::api::Tag;
use crate::api::http::body::Body;
use crate::api::http::credentials::{Caller, NotificationsRead, NotificationsWrite, Service};
use crate::api::http::next::Next;
use crate::api::http::parameter::{Before, Header, Limit, Parameter, Query};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::reads::Reads;
use crate::api::http::request::{Command, Key};
use crate::api::values::instant::parse_instant;
use crate::clock;
use crate::commands::{Redrive, Redriven};

/// Deliveries of a page.
const LIMIT_DEFAULT: i64 = 20;
const LIMIT_MAX: u32 = 100;
/// Deliveries that one request redrives.
const REDRIVE_DEFAULT: u32 = 1_000;
const REDRIVE_MAX: u32 = 10_000;

pub struct Deliveries;

/// How a delivery stands.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case", rename = "DeliveryStatus")]
enum Status {
    Waiting,
    Pending,
    Scheduled,
    Started,
    Delivered,
    Skipped,
    Exhausted,
    DeadLettered,
    Cancelled,
    Expired,
}

/// How a delivery failed for good.
#[derive(Clone, Copy, Debug, Deserialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
enum FailedStatus {
    DeadLettered,
    Exhausted,
}

/// What kind of failure an attempt met.
#[derive(Clone, Copy, Debug, Deserialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
enum ErrorClass {
    Transient,
    Permanent,
    Gone,
    Reported,
    Unknown,
}

macro_rules! named_parameter {
    ($name:ty, $expected:literal) => {
        impl Parameter for $name {
            fn schema() -> MetaSchemaRef {
                Self::schema_ref()
            }

            fn register(registry: &mut Registry) {
                <Self as Type>::register(registry);
            }

            fn parse(name: &str, text: &str) -> Result<Self, Problem> {
                Self::parse_from_parameter(text).map_err(|_| Problem::at(Kind::Malformed, name, $expected))
            }
        }
    };
}

named_parameter!(
    Status,
    "must be waiting, pending, scheduled, started, delivered, skipped, exhausted, dead_lettered, cancelled or expired"
);
named_parameter!(ErrorClass, "must be transient, permanent, gone, reported or unknown");
named_parameter!(Channel, "must be in_app, email, slack, webhook or web_push");

/// The delivery of a notification on one channel of its plan.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct ListedDelivery {
    notification_id: String,
    user_id: String,
    channel: String,
    /// `waiting` for its turn, `pending`, `scheduled` for another attempt, `started`, `delivered`, `skipped`, `exhausted`
    /// where another channel took over, `dead_lettered`, `cancelled` or `expired`.
    status: String,
    /// Why it was skipped or put off: `no_address`, `preference`, `quiet_hours`, `endpoint_failing`, `not_configured`,
    /// `throttled`, `seen`, `read`, `delivered`, `cancelled` or `expired`.
    reason: Option<String>,
    /// The current attempt, from 1.
    attempt: i32,
    /// When its turn comes by itself, or the attempt may begin.
    due_at: Option<String>,
    /// When the attempt that is under way is given up.
    deadline: Option<String>,
    /// What kind of failure the last attempt met, unless a later one succeeded: `transient`, `permanent`, `gone`,
    /// `reported` or `unknown`.
    error_class: Option<String>,
    /// Why the last attempt failed, unless a later one succeeded. Left out where the recipient was forgotten.
    error: Option<String>,
    category: Option<String>,
    /// `low`, `normal`, `high` or `urgent`.
    priority: String,
    /// Its last change, or the end of its notification.
    updated_at: String,
}

/// A page of deliveries, the last changed first, as they stand at `cursor`.
#[derive(Debug, Object)]
struct DeliveryPage {
    deliveries: Vec<ListedDelivery>,
    /// Pass it as `before` for the next page; null at the end.
    next: Next,
    cursor: String,
}

/// Which of the deliveries that failed for good to try once more: those that are everything that is said.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct RedriveDeliveries {
    /// Those that are `dead_lettered`, where it is left out. Of those that are `exhausted` another channel took over, so
    /// their readers may be told twice.
    status: Option<FailedStatus>,
    channel: Option<Channel>,
    error_class: Option<ErrorClass>,
    /// Only those of this user: 1 to 256 characters.
    #[oai(validator(min_length = 1, max_length = 256))]
    user_id: Option<String>,
    /// Only those that failed at this instant or later (RFC 3339, cut to milliseconds); it must not lie in the future.
    since: Option<String>,
    /// Only those that failed up to this instant (RFC 3339, cut to milliseconds), which must not be before `since`.
    until: Option<String>,
    /// Deliveries to look at: 1 to 10,000, 1,000 where it is left out.
    #[oai(validator(minimum(value = "1"), maximum(value = "10000")))]
    limit: Option<u32>,
    /// The `next` of the answer before.
    before: Option<String>,
    /// Only count them.
    dry_run: Option<bool>,
}

/// What a redrive came to.
#[derive(Debug, Object)]
struct DeliveriesRedriven {
    /// Deliveries that fit; counted up to 100,000.
    matched: i64,
    /// Those that are tried once more.
    redriven: i64,
    /// Those that their notifications want no further attempt of: seen or ended meanwhile, or redriven by somebody else.
    refused: i64,
    /// Pass it as `before`, with the same filter, to redrive the rest; null where there is none, and in a dry run. What fails
    /// again meanwhile is not part of it.
    next: Next,
    /// Everything it did is at or before this position of the log.
    cursor: String,
}

#[derive(ApiResponse)]
enum RedrivenResponse {
    /// Done, or counted.
    #[oai(status = 200)]
    Done(
        Json<DeliveriesRedriven>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had begun it; what was missing is done now.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Deliveries")]
impl Deliveries {
    /// List deliveries
    ///
    /// Those of the key's tenant, one for each notification and channel, the last changed first. What changes while pages are
    /// read moves to the front: no delivery is shown twice, and each that stays as it is once.
    #[oai(path = "/deliveries", method = "get", operation_id = "listDeliveries")]
    #[expect(clippy::too_many_arguments, reason = "one argument per parameter of the query")]
    async fn list(
        &self,
        caller: Caller<Service<NotificationsRead>>,
        reads: &Reads,
        /// Only those that stand there.
        status: Query<Status>,
        /// Only those on this channel.
        channel: Query<Channel>,
        /// Only those whose last attempt failed so, unless a later one succeeded.
        error_class: Query<ErrorClass>,
        /// Only those for this user.
        user_id: Query<UserId>,
        /// Only those that changed at this instant or later (RFC 3339, cut to milliseconds); it must not lie in the future.
        since: Query<OffsetDateTime>,
        /// Deliveries of the page: 1 to 100, 20 where it is left out.
        limit: Query<Limit<LIMIT_MAX>>,
        /// The `next` of the page before.
        before: Query<Before>,
        /// Wait until the list shows at least this position, for at most two seconds.
        #[oai(name = "Tidings-Min-Cursor")]
        min_cursor: Header<Cursor>,
    ) -> Result<Json<DeliveryPage>, Problem> {
        reads.wait_for_deliveries(min_cursor.0).await?;
        let after = match since.0 {
            Some(since) => since_position(reads, "since", since).await?,
            None => 0,
        };
        let filter = DeliveryFilter {
            user_id: user_id.0.map(|user| user.to_string()),
            channel: channel.0.map(Into::into),
            status: status.0.map(Into::into),
            error_class: error_class.0.map(Into::into),
            after,
            before: before.0.map_or(Place::FIRST, place),
        };
        let limit = limit.0.map_or(LIMIT_DEFAULT, |limit| limit.0);
        let tenant = caller.principal.tenant().as_str();
        let page = delivery::find(&reads.pool, tenant, &filter, limit).await?;
        Ok(Json(DeliveryPage {
            deliveries: page.deliveries.into_iter().map(ListedDelivery::new).collect(),
            next: Next(page.next.map(next)),
            cursor: reads.cursor(page.position),
        }))
    }

    /// Redrive deliveries
    ///
    /// One more attempt of each delivery that failed for good and fits, as `retryNotificationDelivery` asks for it; the last
    /// failed first. A repetition with the same `Idempotency-Key` does what is missing, and nothing twice; a dry run does not
    /// use the key up.
    #[oai(path = "/deliveries/redrive", method = "post", operation_id = "redriveDeliveries")]
    async fn redrive(
        &self,
        command: Command<Service<NotificationsWrite>, Body<RedriveDeliveries>>,
        /// Makes a repetition harmless: it does what an earlier request has not done, and nothing twice.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<RedrivenResponse, Problem> {
        let reads = &command.backend.reads;
        let redrive = command.body.parse::<RedriveDeliveries>()?.into_redrive(reads).await?;
        let done = command.backend.commands.redrive(&command.context(&key), redrive).await?;
        let Redriven { matched, redriven, refused, next: rest, position, replayed } = done;
        let cursor = reads.cursor(position);
        let (next, answered) = (Next(rest.map(next)), cursor.clone());
        let answer = DeliveriesRedriven { matched, redriven, refused, next, cursor };
        Ok(RedrivenResponse::Done(Json(answer), answered, replayed.then_some(true)))
    }
}

/// The position after which everything was recorded then or later.
async fn since_position(reads: &Reads, place: &str, since: OffsetDateTime) -> Result<i64, Problem> {
    if since > clock::now() {
        return Err(Problem::at(Kind::Invalid, place, "must not lie in the future"));
    }
    Ok(position_at(&reads.pool, since).await?)
}

/// A position and a step in one number: a plan has at most eight steps.
fn next(place: Place) -> String {
    Before::next(place.position << 3 | i64::from(place.step))
}

fn place(before: Before) -> Place {
    Place { position: before.0 >> 3, step: (before.0 & 7) as i16 }
}

impl RedriveDeliveries {
    async fn into_redrive(self, reads: &Reads) -> Result<Redrive, Problem> {
        let refuse = |pointer: &str, detail: &str| Problem::at(Kind::Invalid, pointer, detail);
        let user = self.user_id.map(UserId::try_from).transpose();
        let user = user.map_err(|error| refuse("/user_id", &error.to_string()))?;
        let limit = self.limit.unwrap_or(REDRIVE_DEFAULT);
        if !(1..=REDRIVE_MAX).contains(&limit) {
            return Err(refuse("/limit", "must be a whole number from 1 to 10000"));
        }
        let mut before = match self.before {
            Some(text) => place(Before::parse("/before", &text)?),
            None => Place::FIRST,
        };
        let since = self.since.map(|text| parse_instant("/since", &text)).transpose()?;
        let until = self.until.map(|text| parse_instant("/until", &text)).transpose()?;
        if until.zip(since).is_some_and(|(until, since)| until < since) {
            return Err(refuse("/until", "must not be before `since`"));
        }
        let after = match since {
            Some(since) => since_position(reads, "/since", since).await?,
            None => 0,
        };
        // The whole of its millisecond; after the last of all milliseconds nothing is recorded.
        if let Some(end) = until.and_then(|until| until.checked_add(Duration::MILLISECOND)) {
            let end = Place::after(position_at(&reads.pool, end).await?);
            if end.position <= before.position {
                before = end;
            }
        }
        let filter = DeliveryFilter {
            user_id: user.map(|user| user.to_string()),
            channel: self.channel.map(Into::into),
            status: self.status.map(Into::into),
            error_class: self.error_class.map(Into::into),
            after,
            before,
        };
        Ok(Redrive { filter, limit: limit.into(), dry_run: self.dry_run.unwrap_or(false) })
    }
}

impl ListedDelivery {
    fn new(found: Found) -> Self {
        let priority = Priority::ALL.into_iter().find(|priority| *priority as i16 == found.priority);
        Self {
            notification_id: NotificationId::new(found.notification).to_string(),
            user_id: found.user_id,
            channel: found.channel,
            status: found.status,
            reason: found.skipped.or(found.deferred),
            attempt: found.attempt,
            due_at: found.due_at.map(rfc3339),
            deadline: found.deadline.map(rfc3339),
            error_class: found.error_class,
            error: found.error,
            category: found.category,
            priority: priority.unwrap_or_default().as_str().into(),
            updated_at: rfc3339(found.changed_at),
        }
    }
}

impl From<Status> for DeliveryStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Waiting => Self::Waiting,
            Status::Pending => Self::Pending,
            Status::Scheduled => Self::Scheduled,
            Status::Started => Self::Started,
            Status::Delivered => Self::Delivered,
            Status::Skipped => Self::Skipped,
            Status::Exhausted => Self::Exhausted,
            Status::DeadLettered => Self::DeadLettered,
            Status::Cancelled => Self::Cancelled,
            Status::Expired => Self::Expired,
        }
    }
}

impl From<FailedStatus> for DeliveryStatus {
    fn from(status: FailedStatus) -> Self {
        match status {
            FailedStatus::DeadLettered => Self::DeadLettered,
            FailedStatus::Exhausted => Self::Exhausted,
        }
    }
}

impl From<ErrorClass> for FailureClass {
    fn from(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Transient => Self::Transient,
            ErrorClass::Permanent => Self::Permanent,
            ErrorClass::Gone => Self::Gone,
            ErrorClass::Reported => Self::Reported,
            ErrorClass::Unknown => Self::Unknown,
        }
    }
}
