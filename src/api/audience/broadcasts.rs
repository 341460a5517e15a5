//! Broadcasts: one message to a topic's subscribers or a list of users.

use std::collections::BTreeMap;

use cqrs_es::Aggregate;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;
use serde_json::Value;
use tidings_domain::broadcast::{self, Audience, Request, Users};
use tidings_domain::subscription::Topic;
use tidings_domain::{BroadcastId, InvalidIdentity, Tenant, UserId};
use tidings_projections::broadcast::{Overview, fold};
use tidings_projections::inbox::rfc3339;
use tidings_projections::log::Cursor;
use tidings_projections::subscribers::{self, Listed};

use crate::api::Tag;
use crate::api::http::backend::Backend;
use crate::api::http::body::Body;
use crate::api::http::credentials::{Caller, NotificationsRead, NotificationsWrite, Service};
use crate::api::http::next::Next;
use crate::api::http::parameter::{Before, Header, Limit, Query};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::reads::Reads;
use crate::api::http::request::{Command, Key};
use crate::api::notifications::CreatedResponse;
use crate::api::notifications::content::{ContentBody, TemplateBody};
use crate::api::notifications::plan::PlanChoice;
use crate::api::notifications::plan::PlanStepBody;
use crate::api::notifications::wire::{Priority, Receipt, Says};
use crate::directory::Directory;

/// Bytes of a request: 10,000 long names and what they are told.
const BROADCAST_BYTES_MAX: usize = 4 << 20;
const LIMIT_DEFAULT: i64 = 20;
const LIMIT_MAX: u32 = 100;

pub struct Broadcasts;

/// A notification for many: either a topic or users.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
pub struct CreateBroadcast {
    /// Whoever is subscribed to it when the broadcast is recorded.
    #[oai(validator(min_length = 1, max_length = 128))]
    topic: Option<String>,
    /// 1 to 10,000 users; one that is named twice is reached once.
    #[oai(validator(min_items = 1, max_items = 10000))]
    user_ids: Option<Vec<String>>,
    /// What it says; exactly one of `content` and `template`.
    content: Option<ContentBody>,
    /// The same in the words of a template.
    template: Option<TemplateBody>,
    /// A kind of notification, such as `billing`: 1 to 64 characters.
    #[oai(validator(min_length = 1, max_length = 64))]
    category: Option<String>,
    /// Defaults to `normal`.
    priority: Option<Priority>,
    /// How to deliver, step by step. Defaults to the plan of the category, else to the one named `default`, else to
    /// `[{"channel":"in_app"}]`.
    #[oai(validator(min_items = 1, max_items = 8))]
    plan: Option<Vec<PlanStepBody>>,
    /// The same by the name of a plan: 1 to 64 characters.
    #[oai(validator(min_length = 1, max_length = 64))]
    plan_name: Option<String>,
    /// Anything the front end needs, given back as it is.
    data: Option<BTreeMap<String, Value>>,
    /// At most 20 distinct labels of 1 to 64 characters.
    #[oai(validator(max_items = 20))]
    tags: Option<Vec<String>>,
    /// Show it from this instant on (RFC 3339, cut to milliseconds); at once where it is left out or has passed.
    deliver_at: Option<String>,
    /// Take it from the inboxes at this instant (RFC 3339, cut to milliseconds), which must lie in the future and after
    /// `deliver_at`.
    expires_at: Option<String>,
}

/// How far a broadcast has come.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Broadcast {
    id: String,
    /// `running`, `completed` or `cancelled`.
    status: String,
    topic: Option<String>,
    /// How many users it reaches: known from the beginning where it names them, and in the end.
    total: Option<i64>,
    /// Notifications made so far.
    created: i64,
    created_at: String,
    /// Its last event, or where a list holds.
    cursor: String,
}

/// Broadcasts, newest first.
#[derive(Debug, Object)]
struct BroadcastPage {
    broadcasts: Vec<Broadcast>,
    /// Pass it as `before` for the next page; null at the end.
    next: Next,
    /// The list holds at this position.
    cursor: String,
}

#[derive(ApiResponse)]
enum CancelledResponse {
    /// Cancelled, unless its status says that it was completed before.
    #[oai(status = 200)]
    Done(
        Json<Broadcast>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had done it.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Broadcasts")]
impl Broadcasts {
    /// Create a broadcast
    ///
    /// The answer comes when the broadcast is durable; its notifications are made after it, each recipient's once. Takes at
    /// most 4 MiB.
    #[oai(path = "/broadcasts", method = "post", operation_id = "createBroadcast")]
    async fn create(
        &self,
        command: Command<Service<NotificationsWrite>, Body<CreateBroadcast, BROADCAST_BYTES_MAX>>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<CreatedResponse, Problem> {
        let wanted: CreateBroadcast = command.body.parse()?;
        let looked_up = wanted.template.is_some() || wanted.plan_name.is_some();
        let context = command.context(&key);
        let Backend { commands, reads, .. } = &*command.backend;
        let within = (&reads.directory, command.principal().tenant());
        let requested = match wanted.into_request(within).await {
            Ok(request) => commands.request_broadcast(&context, request).await?,
            Err(problem) if looked_up => commands.earlier_broadcast(&context).await?.ok_or(problem)?,
            Err(problem) => return Err(problem),
        };
        let cursor = reads.cursor(requested.position);
        let receipt = Receipt { id: requested.id.to_string(), collected: None, cursor: cursor.clone() };
        Ok(CreatedResponse::Created(Json(receipt), cursor, requested.replayed.then_some(true)))
    }

    /// List broadcasts
    ///
    /// Those of the key's tenant, newest first.
    #[oai(path = "/broadcasts", method = "get", operation_id = "listBroadcasts")]
    async fn list(
        &self,
        caller: Caller<Service<NotificationsRead>>,
        reads: &Reads,
        /// Broadcasts of the page: 1 to 100, 20 where it is left out.
        limit: Query<Limit<LIMIT_MAX>>,
        /// The `next` of the page before.
        before: Query<Before>,
        /// Wait until the list shows at least this position, for at most two seconds.
        #[oai(name = "Tidings-Min-Cursor")]
        min_cursor: Header<Cursor>,
    ) -> Result<Json<BroadcastPage>, Problem> {
        let limit = limit.0.map_or(LIMIT_DEFAULT, |limit| limit.0);
        reads.wait_for_subscribers(min_cursor.0).await?;
        let before = before.0.map_or(i64::MAX, |before| before.0);
        let tenant = caller.principal.tenant().as_str();
        let (mut listed, position) = subscribers::broadcasts(&reads.pool, tenant, before, limit + 1).await?;
        let more = listed.len() as i64 > limit;
        listed.truncate(limit as usize);
        let next = listed.last().filter(|_| more).map(|last| Before::next(last.created));
        let cursor = reads.cursor(position);
        let broadcasts = listed.into_iter().map(|one| Broadcast::listed(one, cursor.clone())).collect();
        Ok(Json(BroadcastPage { broadcasts, next: Next(next), cursor }))
    }

    /// Look at a broadcast
    ///
    /// Always current: folded from the broadcast's own events.
    #[oai(path = "/broadcasts/:id", method = "get", operation_id = "getBroadcast")]
    async fn get(
        &self,
        caller: Caller<Service<NotificationsRead>>,
        reads: &Reads,
        /// The broadcast.
        id: Path<String>,
    ) -> Result<Json<Broadcast>, Problem> {
        Ok(Json(shown(reads, caller.principal.tenant(), parse_broadcast(&id)?).await?))
    }

    /// Cancel a broadcast
    ///
    /// It stops at the end of a chunk of 248 recipients: what was made stays, and the answer says how many that are. One that
    /// was completed before stays `completed`.
    #[oai(path = "/broadcasts/:id/cancel", method = "post", operation_id = "cancelBroadcast")]
    async fn cancel(
        &self,
        command: Command<Service<NotificationsWrite>>,
        /// The broadcast.
        id: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<CancelledResponse, Problem> {
        command.body.parse()?;
        let id = parse_broadcast(&id)?;
        let changed = command.backend.commands.cancel_broadcast(&command.context(&key), id).await?;
        let reads = &command.backend.reads;
        let shown = shown(reads, command.principal().tenant(), id).await?;
        let replayed = changed.replayed.then_some(true);
        Ok(CancelledResponse::Done(Json(shown), reads.cursor(changed.position), replayed))
    }
}

fn parse_broadcast(text: &str) -> Result<BroadcastId, Problem> {
    text.parse().map_err(|error: InvalidIdentity| Problem::at(Kind::Malformed, "id", error.to_string()))
}

async fn shown(reads: &Reads, tenant: &Tenant, id: BroadcastId) -> Result<Broadcast, Problem> {
    let events = reads.reader.ends_of(&reads.pool, broadcast::Broadcast::TYPE, &id.to_string()).await?;
    let overview = fold(&events).map_err(|error| Problem::internal(&error))?;
    let overview = overview.filter(|overview| overview.created.tenant == *tenant);
    let overview = overview.ok_or_else(|| Problem::from(broadcast::Error::NotFound))?;
    Ok(Broadcast::of(&overview, reads.cursor(overview.position)))
}

impl From<broadcast::Error> for Problem {
    fn from(refusal: broadcast::Error) -> Self {
        let kind = match refusal {
            broadcast::Error::NotFound => Kind::NotFound,
            broadcast::Error::AlreadyExists
            | broadcast::Error::Completed
            | broadcast::Error::Cancelled
            | broadcast::Error::StaleChunk { .. } => Kind::InvalidState,
        };
        Self::new(kind, refusal.to_string())
    }
}

impl CreateBroadcast {
    pub async fn into_request(self, within: (&Directory, &Tenant)) -> Result<Request, Problem> {
        let audience = match (self.topic, self.user_ids) {
            (Some(topic), None) => {
                let topic = Topic::try_from(topic);
                Audience::Topic(topic.map_err(|error| invalid("/topic", &error))?)
            }
            (None, Some(user_ids)) => Audience::UserIds(users(user_ids)?),
            (Some(_), Some(_)) => {
                return Err(Problem::at(Kind::Invalid, "/user_ids", "goes without a topic"));
            }
            (None, None) => return Err(Problem::at(Kind::Invalid, "/topic", "or `user_ids` is missing")),
        };
        let says = Says {
            content: self.content,
            template: self.template,
            category: self.category,
            priority: self.priority,
            plan: PlanChoice { steps: self.plan, name: self.plan_name },
            data: self.data,
            tags: self.tags,
            deliver_at: self.deliver_at,
            expires_at: self.expires_at,
        };
        Ok(Request { audience, message: says.into_message(within).await? })
    }
}

fn invalid(pointer: &str, error: &impl ToString) -> Problem {
    Problem::at(Kind::Invalid, pointer, error.to_string())
}

/// The pointer tells which of them is none.
fn users(user_ids: Vec<String>) -> Result<Users, Problem> {
    if user_ids.len() > Users::COUNT_MAX {
        return Err(invalid("/user_ids", &broadcast::InvalidAudience));
    }
    let user = |(index, id): (usize, String)| {
        UserId::try_from(id).map_err(|error| invalid(&format!("/user_ids/{index}"), &error))
    };
    let users = user_ids.into_iter().enumerate().map(user).collect::<Result<Vec<_>, _>>()?;
    Users::new(users).map_err(|error| invalid("/user_ids", &error))
}

impl Broadcast {
    fn of(overview: &Overview, cursor: String) -> Self {
        let state = &overview.state;
        let topic = match &overview.created.audience {
            Audience::Topic(topic) => Some(topic.to_string()),
            Audience::UserIds(_) => None,
        };
        let completed = state.life == broadcast::Life::Completed;
        let total = state.total.or(completed.then_some(state.notifications));
        Self {
            id: overview.id.to_string(),
            status: state.life.as_str().into(),
            topic,
            total: total.map(u64::cast_signed),
            created: state.notifications.cast_signed(),
            created_at: rfc3339(overview.created_at),
            cursor,
        }
    }

    fn listed(listed: Listed, cursor: String) -> Self {
        let completed = listed.status == broadcast::Life::Completed.as_str();
        Self {
            id: listed.id.to_string(),
            total: listed.total.or(completed.then_some(listed.notifications)),
            status: listed.status,
            topic: listed.topic,
            created: listed.notifications,
            created_at: rfc3339(listed.created_at),
            cursor,
        }
    }
}
