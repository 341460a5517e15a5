//! Many notifications in one request, each of which succeeds or fails by itself.

use std::collections::HashMap;
use std::sync::Arc;

use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;
use serde_json::value::RawValue;
use tidings_domain::notification::{Action, Create};
use tidings_domain::{NotificationId, Tenant};
use time::OffsetDateTime;
use tracing::Instrument;

use super::wire::CreateNotification;
use crate::api::Tag;
use crate::api::http::backend::Backend;
use crate::api::http::body::{BATCH_BYTES_MAX, Body, SINGLE_BYTES_MAX, parse};
use crate::api::http::credentials::{NotificationsWrite, Service};
use crate::api::http::problem::{Kind, Problem, ProblemBody};
use crate::api::http::reads::Reads;
use crate::api::http::request::{Command, Key};
use crate::clock;
use crate::commands::{CommandError, Done, Item};
use crate::directory::Directory;

const NOTIFICATIONS_MAX: usize = 1_000;

pub struct Batch;

/// Notifications to create.
#[derive(Debug, Object)]
struct CreateNotifications {
    #[oai(validator(min_items = 1, max_items = 1000))]
    notifications: Vec<CreateNotification>,
}

/// The same, with each notification unparsed: one that is wrong must not take the others with it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Unparsed {
    notifications: Vec<Box<RawValue>>,
}

/// What became of one notification: its own status, and either an id and a cursor or a problem.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct BatchResult {
    status: u16,
    id: Option<String>,
    /// `true` where the id is that of a digest, and the notification an item of it.
    collected: Option<bool>,
    cursor: Option<String>,
    problem: Option<ProblemBody>,
}

/// One result per notification, in order.
#[derive(Debug, Object)]
struct BatchResults {
    results: Vec<BatchResult>,
}

#[derive(ApiResponse)]
enum BatchResponse {
    /// Everything was looked at; each result says what became of it.
    #[oai(status = 200)]
    Done(
        Json<BatchResults>,
        /// Everything the batch did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key was answered; what it had not done is done now.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Notifications")]
impl Batch {
    /// Create many notifications
    ///
    /// Takes 1 to 1,000 notifications and at most 8 MiB; each succeeds or fails by itself.
    #[oai(path = "/notifications/batch", method = "post", operation_id = "createNotifications")]
    async fn create(
        &self,
        command: Command<Service<NotificationsWrite>, Body<CreateNotifications, BATCH_BYTES_MAX>>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<BatchResponse, Problem> {
        let unparsed: Unparsed = command.body.parse_raw()?;
        if !(1..=NOTIFICATIONS_MAX).contains(&unparsed.notifications.len()) {
            return Err(Problem::at(Kind::Invalid, "/notifications", "must have 1 to 1,000 members"));
        }
        let context = command.context(&key);
        let now = clock::now();
        let Backend { commands, reads, .. } = &*command.backend;
        let within = (&reads.directory, command.principal().tenant());
        let mut parsed: Vec<Result<Create, Problem>> = Vec::with_capacity(unparsed.notifications.len());
        for notification in &unparsed.notifications {
            parsed.push(create(notification.get(), now, within).await);
        }
        let items = parsed.iter().zip(1..).filter_map(|(create, part)| {
            let action = Action::Create(Box::new(create.as_ref().ok()?.clone()));
            Some(Item { id: NotificationId::new(clock::new_uuid()), action, part })
        });
        let items: Vec<Item> = items.collect();
        // A client that hangs up must not leave the batch half done.
        let executor = Arc::clone(commands);
        let again = context.clone();
        let execution = async move { executor.execute_many(&context, items).await };
        let execution = tokio::spawn(execution.in_current_span());
        let many = execution.await.map_err(|error| Problem::internal(&error))??;

        // What is refused now may have been done before its template changed.
        let refused = parsed.iter().any(Result::is_err) && many.replayed;
        let mut earlier =
            if refused { commands.earlier_of_batch(&again, parsed.len()).await? } else { HashMap::new() };
        let mut done = many.results.into_iter();
        let outcome = |(parsed, part): (Result<Create, Problem>, i32)| match parsed {
            Ok(_) => next(&mut done).map_err(Problem::from),
            Err(problem) => earlier.remove(&part).ok_or(problem),
        };
        let outcomes: Vec<Result<Done, Problem>> = parsed.into_iter().zip(1..).map(outcome).collect();
        let last = outcomes.iter().flatten().map(|done| done.position).max();
        let cursor = reads.cursor(last.unwrap_or_else(|| reads.history.head.get()));
        let results = outcomes.into_iter().map(|outcome| result(reads, outcome)).collect();
        Ok(BatchResponse::Done(Json(BatchResults { results }), cursor, many.replayed.then_some(true)))
    }
}

async fn create(text: &str, now: OffsetDateTime, within: (&Directory, &Tenant)) -> Result<Create, Problem> {
    if text.len() > SINGLE_BYTES_MAX {
        return Err(Problem::new(Kind::TooLarge, "a notification may have at most 262144 bytes"));
    }
    parse::<CreateNotification>(text)?.into_command(now, within).await
}

fn next(done: &mut impl Iterator<Item = Result<Done, CommandError>>) -> Result<Done, CommandError> {
    done.next().unwrap_or(Err(CommandError::Conflict))
}

fn result(reads: &Reads, outcome: Result<Done, Problem>) -> BatchResult {
    match outcome {
        Ok(done) => BatchResult {
            status: 201,
            id: Some(done.id.to_string()),
            collected: done.collected.then_some(true),
            cursor: Some(reads.cursor(done.position)),
            problem: None,
        },
        Err(problem) => BatchResult {
            status: problem.status().as_u16(),
            id: None,
            collected: None,
            cursor: None,
            problem: Some(problem.body()),
        },
    }
}
