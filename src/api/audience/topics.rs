//! Topics: who is subscribed to what.

use std::collections::HashSet;
use std::sync::Arc;

use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;
use tidings_domain::subscription::{Action, Topic};
use tidings_domain::{SubscriptionId, UserId};
use tidings_projections::log::Cursor;
use tidings_projections::subscribers::{self, ListError, Page, Users};
use tracing::Instrument;

use crate::api::Tag;
use crate::api::http::backend::Backend;
use crate::api::http::body::{BATCH_BYTES_MAX, Body};
use crate::api::http::credentials::{Caller, NotificationsRead, NotificationsWrite, Service};
use crate::api::http::next::Next;
use crate::api::http::parameter::{Header, Limit, Parameter, Query};
use crate::api::http::problem::{Kind, Problem, ProblemBody};
use crate::api::http::reads::{Reads, parse_user};
use crate::api::http::request::{Command, Key};

const LIMIT_DEFAULT: i64 = 20;
const LIMIT_MAX: u32 = 1_000;
/// Users of one request.
const USERS_MAX: usize = 1_000;

pub struct Topics;

/// Users to subscribe.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct SubscribeUsers {
    /// 1 to 1,000 of them; one that is named twice is subscribed once.
    #[oai(validator(min_items = 1, max_items = 1000))]
    user_ids: Vec<String>,
}

/// Whether a user is subscribed to a topic.
#[derive(Debug, Object)]
struct Subscription {
    topic: String,
    user_id: String,
    subscribed: bool,
}

/// What became of one user: a status, and a problem where that is no success.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct SubscribeResult {
    user_id: String,
    status: u16,
    problem: Option<ProblemBody>,
}

/// One result per user, in order.
#[derive(Debug, Object)]
struct SubscribeResults {
    results: Vec<SubscribeResult>,
}

/// Somebody who is subscribed.
#[derive(Debug, Object)]
struct Subscriber {
    user_id: String,
}

/// Subscribers in the order of their ids.
#[derive(Debug, Object)]
struct SubscriberPage {
    subscribers: Vec<Subscriber>,
    /// Pass it as `after` for the next page; null at the end.
    next: Next,
    /// The list holds at this position.
    cursor: String,
}

/// A topic that somebody is subscribed to.
#[derive(Debug, Object)]
struct SubscribedTopic {
    topic: String,
}

/// Topics in the order of their names.
#[derive(Debug, Object)]
struct TopicPage {
    topics: Vec<SubscribedTopic>,
    /// Pass it as `after` for the next page; null at the end.
    next: Next,
    /// The list holds at this position.
    cursor: String,
}

#[derive(ApiResponse)]
enum SubscriptionResponse {
    /// Recorded, or already so.
    #[oai(status = 200)]
    Kept(
        Json<Subscription>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had done it.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

#[derive(ApiResponse)]
enum SubscribedResponse {
    /// Everybody was looked at; each result says what became of him.
    #[oai(status = 200)]
    Done(
        Json<SubscribeResults>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key was answered; what it had not done is done now.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

impl Parameter for Topic {
    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        let topic = Self::try_from(text.to_owned());
        topic.map_err(|error| Problem::at(Kind::Malformed, name, error.to_string()))
    }
}

/// The user with whom the page before ended.
struct AfterUser(UserId);

impl Parameter for AfterUser {
    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        let user = UserId::try_from(text.to_owned());
        user.map(Self).map_err(|error| Problem::at(Kind::Malformed, name, error.to_string()))
    }
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Topics")]
impl Topics {
    /// Subscribe a user
    ///
    /// A topic is there for as long as somebody is subscribed to it.
    #[oai(path = "/topics/:topic/subscribers/:user_id", method = "put", operation_id = "subscribeUser")]
    async fn subscribe(
        &self,
        command: Command<Service<NotificationsWrite>>,
        /// The topic: 1 to 128 characters of `A-Z`, `a-z`, `0-9`, `.`, `_`, `:` and `-`, the first a letter or a digit.
        topic: Path<String>,
        /// The user.
        user_id: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<SubscriptionResponse, Problem> {
        command.body.parse()?;
        command.change_subscription((&topic, &user_id), &key, Action::Subscribe).await
    }

    /// Unsubscribe a user
    ///
    /// Broadcasts that come after it pass the user by; one that is under way does not.
    #[oai(path = "/topics/:topic/subscribers/:user_id", method = "delete", operation_id = "unsubscribeUser")]
    async fn unsubscribe(
        &self,
        command: Command<Service<NotificationsWrite>>,
        /// The topic.
        topic: Path<String>,
        /// The user.
        user_id: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<SubscriptionResponse, Problem> {
        command.body.parse()?;
        command.change_subscription((&topic, &user_id), &key, Action::Unsubscribe).await
    }

    /// Subscribe many users
    ///
    /// Takes 1 to 1,000 users and at most 8 MiB; an id that is none fails by itself.
    #[oai(path = "/topics/:topic/subscribers", method = "put", operation_id = "subscribeUsers")]
    async fn subscribe_many(
        &self,
        command: Command<Service<NotificationsWrite>, Body<SubscribeUsers, BATCH_BYTES_MAX>>,
        /// The topic.
        topic: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<SubscribedResponse, Problem> {
        let topic = Topic::parse("topic", &topic)?;
        let SubscribeUsers { user_ids } = command.body.parse()?;
        if !(1..=USERS_MAX).contains(&user_ids.len()) {
            return Err(Problem::at(Kind::Invalid, "/user_ids", "must have 1 to 1,000 members"));
        }
        let (users, results) = looked_at(user_ids);
        let context = command.context(&key);
        let Backend { commands, reads, .. } = &*command.backend;
        // A client that hangs up must not leave the rest undone.
        let executor = Arc::clone(commands);
        let execution = async move { executor.subscribe_many(&context, &topic, &users).await };
        let execution = tokio::spawn(execution.in_current_span());
        let changed = execution.await.map_err(|error| Problem::internal(&error))??;
        let cursor = reads.cursor(changed.position);
        Ok(SubscribedResponse::Done(
            Json(SubscribeResults { results }),
            cursor,
            changed.replayed.then_some(true),
        ))
    }

    /// List the subscribers of a topic
    ///
    /// In the order of their ids (bytes of UTF-8). A topic that nobody knows has none.
    #[oai(path = "/topics/:topic/subscribers", method = "get", operation_id = "listSubscribers")]
    async fn list(
        &self,
        caller: Caller<Service<NotificationsRead>>,
        reads: &Reads,
        /// The topic.
        topic: Path<String>,
        /// Subscribers of the page: 1 to 1,000, 20 where it is left out.
        limit: Query<Limit<LIMIT_MAX>>,
        /// The `next` of the page before.
        after: Query<AfterUser>,
        /// Wait until the list shows at least this position, for at most two seconds.
        #[oai(name = "Tidings-Min-Cursor")]
        min_cursor: Header<Cursor>,
    ) -> Result<Json<SubscriberPage>, Problem> {
        let (topic, limit) = (Topic::parse("topic", &topic)?, limit.0.map_or(LIMIT_DEFAULT, |limit| limit.0));
        reads.wait_for_subscribers(min_cursor.0).await?;
        let after = after.0.map(|after| after.0.to_string()).unwrap_or_default();
        let users = Users {
            tenant: caller.principal.tenant().as_str(),
            topic: topic.as_str(),
            after: &after,
            at: None,
            limit: limit + 1,
        };
        let mut page = subscribers::subscribed(&reads.pool, users).await?;
        let (next, cursor) = (next(&mut page, limit), reads.cursor(page.position));
        let subscribers = page.names.into_iter().map(|user_id| Subscriber { user_id }).collect();
        Ok(Json(SubscriberPage { subscribers, next, cursor }))
    }

    /// List the topics of a user
    ///
    /// In the order of their names.
    #[oai(path = "/users/:user_id/topics", method = "get", operation_id = "listTopicsOfUser")]
    async fn topics_of_user(
        &self,
        caller: Caller<Service<NotificationsRead>>,
        reads: &Reads,
        /// The user.
        user_id: Path<String>,
        /// Topics of the page: 1 to 1,000, 20 where it is left out.
        limit: Query<Limit<LIMIT_MAX>>,
        /// The `next` of the page before.
        after: Query<Topic>,
        /// Wait until the list shows at least this position, for at most two seconds.
        #[oai(name = "Tidings-Min-Cursor")]
        min_cursor: Header<Cursor>,
    ) -> Result<Json<TopicPage>, Problem> {
        let (user, limit) = (parse_user(user_id.0)?, limit.0.map_or(LIMIT_DEFAULT, |limit| limit.0));
        reads.wait_for_subscribers(min_cursor.0).await?;
        let after = after.0.map(|after| after.to_string()).unwrap_or_default();
        let owner = (caller.principal.tenant().as_str(), user.as_str());
        let mut page = subscribers::topics_of(&reads.pool, owner, &after, limit + 1).await?;
        let (next, cursor) = (next(&mut page, limit), reads.cursor(page.position));
        let topics = page.names.into_iter().map(|topic| SubscribedTopic { topic }).collect();
        Ok(Json(TopicPage { topics, next, cursor }))
    }
}

impl From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Database(database) => database.into(),
            ListError::Parked => Self::new(Kind::ProjectionBehind, error.to_string()),
        }
    }
}

/// The users among the ids, each once, and what each id is told once they are subscribed.
fn looked_at(user_ids: Vec<String>) -> (Vec<UserId>, Vec<SubscribeResult>) {
    let (mut users, mut seen) = (Vec::with_capacity(user_ids.len()), HashSet::new());
    let mut look = |(index, user_id): (usize, String)| match UserId::try_from(user_id.clone()) {
        Ok(user) => {
            if seen.insert(user.clone()) {
                users.push(user);
            }
            SubscribeResult { user_id, status: 200, problem: None }
        }
        Err(error) => {
            let problem = Problem::at(Kind::Invalid, format!("/user_ids/{index}"), error.to_string());
            SubscribeResult { user_id, status: problem.status().as_u16(), problem: Some(problem.body()) }
        }
    };
    let results = user_ids.into_iter().enumerate().map(&mut look).collect();
    (users, results)
}

/// Cuts off what was read to see whether there is more.
fn next(page: &mut Page, limit: i64) -> Next {
    let more = page.names.len() as i64 > limit;
    page.names.truncate(limit as usize);
    Next(page.names.last().filter(|_| more).cloned())
}

impl<C> Command<C> {
    async fn change_subscription(
        &self,
        (topic, user): (&str, &str),
        key: &Key,
        action: Action,
    ) -> Result<SubscriptionResponse, Problem> {
        let tenant = self.principal().tenant().clone();
        let id = SubscriptionId {
            tenant,
            topic: Topic::parse("topic", topic)?,
            user: parse_user(user.to_owned())?,
        };
        let changed = self.backend.commands.change_subscription(&self.context(key), &id, action).await?;
        let shown = Subscription {
            topic: id.topic.to_string(),
            user_id: id.user.to_string(),
            subscribed: action == Action::Subscribe,
        };
        let cursor = self.backend.reads.cursor(changed.position);
        Ok(SubscriptionResponse::Kept(Json(shown), cursor, changed.replayed.then_some(true)))
    }
}
