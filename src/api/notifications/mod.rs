//! Single notifications: create, look at, mark, deliver, retry, cancel.

pub mod batch;
pub mod content;
pub mod deliveries;
pub mod list;
pub mod plan;
pub mod wire;

use cqrs_es::Aggregate;

use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::Deserialize;
use tidings_domain::UserId;
use tidings_domain::notification::{Action, Notification as Aggregated, Outcome};
use tidings_projections::delivery::{Life, ListQuery};
use tidings_projections::log::Cursor;
use tidings_projections::notification::Overview;
use time::OffsetDateTime;

use self::list::{NotificationPage, NotificationStatus};
use self::plan::Channel;
use self::wire::{CreateNotification, Notification, Receipt};
use crate::api::Tag;
use crate::api::http::backend::Backend;
use crate::api::http::body::{Body, CommandBody, OptionalBody};
use crate::api::http::credentials::{
    Anyone, Caller, InboxWrite, NotificationsRead, NotificationsWrite, Service,
};
use crate::api::http::parameter::{Before, Header, Limit, Query};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::reads::{Reads, parse_id};
use crate::api::http::request::{Command, Key};
use crate::api::values::instant::parse_instant;
use crate::clock;
use crate::commands::Done;

/// Characters of a reported error.
const ERROR_CHARS_MAX: usize = 1_000;
/// Notifications of a page.
const LIMIT_DEFAULT: i64 = 20;
const LIMIT_MAX: u32 = 100;

pub struct Notifications;

#[derive(ApiResponse)]
pub enum CreatedResponse {
    /// Recorded, durably.
    #[oai(status = 201)]
    Created(
        Json<Receipt>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had done it.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

#[derive(ApiResponse)]
pub enum DoneResponse {
    /// Done, or already so.
    #[oai(status = 200)]
    Done(
        Json<Receipt>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had done it.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, Deserialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
enum ReportedOutcome {
    Delivered,
    Failed,
}

/// The outcome of an attempt that was made outside of Tidings.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct ReportDelivery {
    channel: Channel,
    outcome: ReportedOutcome,
    /// Which attempt; the current one where it is left out. Another one is refused.
    #[oai(validator(minimum(value = "1")))]
    attempt: Option<u32>,
    /// What went wrong: at most 1,000 characters.
    #[oai(validator(max_length = 1000))]
    error: Option<String>,
}

/// What to try once more.
#[derive(Debug, Default, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct RetryDelivery {
    /// The channel; whichever failed where it is left out.
    channel: Option<Channel>,
}

/// When to show it again.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct SnoozeNotification {
    /// An instant in the future (RFC 3339, cut to milliseconds).
    until: String,
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Notifications")]
impl Notifications {
    /// Create a notification
    ///
    /// The answer comes when the notification is durable. Where its category collects, the id is that of a digest, and
    /// `collected` is `true`.
    #[oai(path = "/notifications", method = "post", operation_id = "createNotification")]
    async fn create(
        &self,
        command: Command<Service<NotificationsWrite>, Body<CreateNotification>>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<CreatedResponse, Problem> {
        let wanted: CreateNotification = command.body.parse()?;
        let (looked_up, context) = (wanted.is_looked_up(), command.context(&key));
        let Backend { commands, reads, .. } = &*command.backend;
        let within = (&reads.directory, command.principal().tenant());
        let done = match wanted.into_command(clock::now(), within).await {
            Ok(create) => commands.create(&context, create).await?,
            Err(problem) if looked_up => commands.earlier(&context).await?.ok_or(problem)?,
            Err(problem) => return Err(problem),
        };
        let (receipt, cursor, replayed) = receipt(&command.backend.reads, done);
        Ok(CreatedResponse::Created(receipt, cursor, replayed))
    }

    /// List notifications
    ///
    /// Those of the key's tenant, newest first.
    #[oai(path = "/notifications", method = "get", operation_id = "listNotifications")]
    #[expect(clippy::too_many_arguments, reason = "one argument per parameter of the query")]
    async fn list(
        &self,
        caller: Caller<Service<NotificationsRead>>,
        reads: &Reads,
        /// Only those for this user.
        user_id: Query<UserId>,
        /// Only those that stand there.
        status: Query<NotificationStatus>,
        /// Notifications of the page: 1 to 100, 20 where it is left out.
        limit: Query<Limit<LIMIT_MAX>>,
        /// The `next` of the page before.
        before: Query<Before>,
        /// Wait until the list shows at least this position, for at most two seconds.
        #[oai(name = "Tidings-Min-Cursor")]
        min_cursor: Header<Cursor>,
    ) -> Result<Json<NotificationPage>, Problem> {
        let query = ListQuery {
            user_id: user_id.0.map(|user| user.to_string()),
            life: status.0.map(Life::from),
            before: before.0.map(|before| before.0),
            limit: limit.0.map_or(LIMIT_DEFAULT, |limit| limit.0),
        };
        reads.wait_for_deliveries(min_cursor.0).await?;
        Ok(Json(list::page(reads, caller.principal.tenant(), &query).await?))
    }

    /// Look at a notification
    ///
    /// Always current: folded from the notification's own events.
    #[oai(path = "/notifications/:id", method = "get", operation_id = "getNotification")]
    async fn get(
        &self,
        caller: Caller<Service<NotificationsRead>>,
        backend: &Backend,
        /// The notification.
        id: Path<String>,
    ) -> Result<Json<Notification>, Problem> {
        let (id, reads) = (parse_id(&id)?, &backend.reads);
        let ids = [id.to_string()];
        let events = reads.reader.of_aggregates(&reads.pool, Aggregated::TYPE, &ids).await?;
        let overview = Overview::fold(&events)
            .map_err(|error| Problem::internal(&error))?
            .filter(|overview| overview.created.tenant == *caller.principal.tenant())
            .ok_or_else(|| Problem::new(Kind::NotFound, "there is no such notification"))?;
        let words = list::words(reads, &overview).await?;
        Ok(Json(Notification::new(&overview, words, reads.history.cursor(overview.position))))
    }

    /// Mark as read
    ///
    /// Read implies seen.
    #[oai(path = "/notifications/:id/read", method = "post", operation_id = "markNotificationRead")]
    async fn read(
        &self,
        command: Command<Anyone<InboxWrite>>,
        /// The notification.
        id: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<DoneResponse, Problem> {
        command.body.parse()?;
        command.act(&id, &key, Action::MarkRead).await
    }

    /// Mark as unread
    ///
    /// It stays seen.
    #[oai(path = "/notifications/:id/unread", method = "post", operation_id = "markNotificationUnread")]
    async fn unread(
        &self,
        command: Command<Anyone<InboxWrite>>,
        /// The notification.
        id: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<DoneResponse, Problem> {
        command.body.parse()?;
        command.act(&id, &key, Action::MarkUnread).await
    }

    /// Mark as seen
    #[oai(path = "/notifications/:id/seen", method = "post", operation_id = "markNotificationSeen")]
    async fn seen(
        &self,
        command: Command<Anyone<InboxWrite>>,
        /// The notification.
        id: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<DoneResponse, Problem> {
        command.body.parse()?;
        command.act(&id, &key, Action::MarkSeen).await
    }

    /// Archive
    ///
    /// Marks it as read, too.
    #[oai(path = "/notifications/:id/archive", method = "post", operation_id = "archiveNotification")]
    async fn archive(
        &self,
        command: Command<Anyone<InboxWrite>>,
        /// The notification.
        id: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<DoneResponse, Problem> {
        command.body.parse()?;
        command.act(&id, &key, Action::Archive).await
    }

    /// Take out of the archive
    #[oai(path = "/notifications/:id/unarchive", method = "post", operation_id = "unarchiveNotification")]
    async fn unarchive(
        &self,
        command: Command<Anyone<InboxWrite>>,
        /// The notification.
        id: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<DoneResponse, Problem> {
        command.body.parse()?;
        command.act(&id, &key, Action::Unarchive).await
    }

    /// Snooze
    ///
    /// It leaves the active items until then, and its counts with it.
    #[oai(path = "/notifications/:id/snooze", method = "post", operation_id = "snoozeNotification")]
    async fn snooze(
        &self,
        command: Command<Anyone<InboxWrite>, Body<SnoozeNotification>>,
        /// The notification.
        id: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<DoneResponse, Problem> {
        let SnoozeNotification { until } = command.body.parse()?;
        let until = parse_instant("/until", &until)?;
        command.act(&id, &key, Action::Snooze { until }).await
    }

    /// Cancel
    ///
    /// It leaves every inbox, and what was not delivered yet never will be.
    #[oai(path = "/notifications/:id/cancel", method = "post", operation_id = "cancelNotification")]
    async fn cancel(
        &self,
        command: Command<Service<NotificationsWrite>>,
        /// The notification.
        id: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<DoneResponse, Problem> {
        command.body.parse()?;
        command.act(&id, &key, Action::Cancel).await
    }

    /// Report the outcome of a delivery
    #[oai(path = "/notifications/:id/deliver", method = "post", operation_id = "reportNotificationDelivery")]
    async fn deliver(
        &self,
        command: Command<Service<NotificationsWrite>, Body<ReportDelivery>>,
        /// The notification.
        id: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<DoneResponse, Problem> {
        let action = command.body.parse::<ReportDelivery>()?.into_action(clock::now())?;
        command.act(&id, &key, action).await
    }

    /// Retry a failed delivery
    ///
    /// Only after it failed for good; else `invalid-state`.
    #[oai(path = "/notifications/:id/retry", method = "post", operation_id = "retryNotificationDelivery")]
    async fn retry(
        &self,
        command: Command<Service<NotificationsWrite>, OptionalBody<RetryDelivery>>,
        /// The notification.
        id: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<DoneResponse, Problem> {
        let channel = command.body.parse()?.unwrap_or_default().channel.map(Into::into);
        command.act(&id, &key, Action::Retry { channel }).await
    }
}

impl<C, B: CommandBody> Command<C, B> {
    /// Executes one action on one notification.
    async fn act(&self, id: &str, key: &Key, action: Action) -> Result<DoneResponse, Problem> {
        let id = parse_id(id)?;
        let context = self.context(key);
        let done = self.backend.commands.act(&context, id, action).await?;
        let (receipt, cursor, replayed) = receipt(&self.backend.reads, done);
        Ok(DoneResponse::Done(receipt, cursor, replayed))
    }
}

impl ReportDelivery {
    fn into_action(self, now: OffsetDateTime) -> Result<Action, Problem> {
        let refuse = |pointer: &str, detail: &str| Err(Problem::at(Kind::Invalid, pointer, detail));
        if self.attempt == Some(0) {
            return refuse("/attempt", "must be at least 1");
        }
        if self.error.as_ref().is_some_and(|error| error.chars().count() > ERROR_CHARS_MAX) {
            return refuse("/error", "must have at most 1,000 characters");
        }
        let outcome = match (self.outcome, self.error) {
            (ReportedOutcome::Delivered, None) => Outcome::delivered(),
            (ReportedOutcome::Delivered, Some(_)) => return refuse("/error", "goes with a failed outcome"),
            (ReportedOutcome::Failed, detail) => Outcome::reported(detail.unwrap_or_default()),
        };
        let (channel, attempt) = (self.channel.into(), self.attempt);
        Ok(Action::Deliver { channel, attempt, outcome, at: now })
    }
}

fn receipt(reads: &Reads, done: Done) -> (Json<Receipt>, String, Option<bool>) {
    let cursor = reads.cursor(done.position);
    let collected = done.collected.then_some(true);
    let receipt = Receipt { id: done.id.to_string(), collected, cursor: cursor.clone() };
    (Json(receipt), cursor, done.replayed.then_some(true))
}
