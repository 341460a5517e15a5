//! Sources of webhooks: say who may send them and what is made of them, and see what became of those that came.

mod shapes;

use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Any;
use poem_openapi::{ApiResponse, OpenApi};
use serde_json::Value;
use tidings_domain::Tenant;
use tidings_domain::source::{self, Action, Configured, Hook, HookId, SourceId, SourceName};
use tidings_projections::inbox::rfc3339;
use tidings_projections::log::Fact;
use tidings_projections::source::fold;
use uuid::Uuid;

use super::hooks::{self, make};
use crate::api::Tag;
use crate::api::http::body::Body;
use crate::api::http::credentials::{Admin, Caller, Service};
use crate::api::http::next::Next;
use crate::api::http::parameter::{Limit, Parameter, Query};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::reads::Reads;
use crate::api::http::request::{Command, Key};
use crate::commands::Verdict;
use crate::hooks::{Flaw, Input, Mapping};
use shapes::{
    HookDelivery, HookDeliveryPage, HookPreview, PreviewHook, PutSource, RemovedSource, SourceBody,
    SourcePage, SourceSummary,
};

const LIMIT_DEFAULT: i64 = 20;
const LIMIT_MAX: u32 = 100;

pub struct Sources;

#[derive(ApiResponse)]
enum SourceResponse {
    /// Recorded, or already so.
    #[oai(status = 200)]
    Kept(
        Json<SourceBody>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had done it.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

#[derive(ApiResponse)]
enum RemovedSourceResponse {
    /// Removed, or already so.
    #[oai(status = 200)]
    Removed(
        Json<RemovedSource>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had done it.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

impl Parameter for SourceName {
    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        Self::try_from(text.to_owned()).map_err(|error| Problem::at(Kind::Malformed, name, error.to_string()))
    }
}

/// Where the page before ended.
struct BeforeHook(Uuid);

impl Parameter for BeforeHook {
    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        let expected = "must be the `next` of an earlier page";
        let uuid = Uuid::try_parse(text).map_err(|_| Problem::at(Kind::Malformed, name, expected))?;
        Ok(Self(uuid))
    }
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Hooks")]
impl Sources {
    /// Configure a source
    ///
    /// Replaces what was said of it, but for secrets that are left out. All that is wrong with its expressions is told at
    /// once, each with its line and column.
    #[oai(path = "/sources/:source", method = "put", operation_id = "putSource")]
    async fn put(
        &self,
        command: Command<Service<Admin>, Body<PutSource>>,
        /// The source: 1 to 63 characters of `a-z`, `0-9`, `-` and `_`.
        source: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<SourceResponse, Problem> {
        let id = id(command.principal().tenant(), &source)?;
        let (settings, secrets) = command.body.parse::<PutSource>()?.into_domain()?;
        compiled(settings.mapping.clone()).await?;
        let action = Action::Configure { settings: Box::new(settings), secrets };
        let reads = &command.backend.reads;
        let changed = command.backend.commands.change_source(&command.context(&key), &id, action).await?;
        // As it stood then: a repetition is given the answer of the first, whatever was said since.
        let shown = SourceBody::new(&id, &configured_at(reads, &id, changed.position).await?);
        let replayed = changed.replayed.then_some(true);
        Ok(SourceResponse::Kept(Json(shown), reads.cursor(changed.position), replayed))
    }

    /// Look at a source
    #[oai(path = "/sources/:source", method = "get", operation_id = "getSource")]
    async fn get(
        &self,
        caller: Caller<Service<Admin>>,
        reads: &Reads,
        /// The source.
        source: Path<String>,
    ) -> Result<Json<SourceBody>, Problem> {
        let id = id(caller.principal.tenant(), &source)?;
        Ok(Json(SourceBody::new(&id, &configured_at(reads, &id, i64::MAX).await?)))
    }

    /// Remove a source
    ///
    /// Its webhooks are refused from then on. What was made of them stays, and so do the names of its deliveries: whoever
    /// configures a source of this name again does not get them twice.
    #[oai(path = "/sources/:source", method = "delete", operation_id = "removeSource")]
    async fn remove(
        &self,
        command: Command<Service<Admin>>,
        /// The source.
        source: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<RemovedSourceResponse, Problem> {
        command.body.parse()?;
        let id = id(command.principal().tenant(), &source)?;
        let context = command.context(&key);
        let changed = command.backend.commands.change_source(&context, &id, Action::Remove).await?;
        let removed = RemovedSource { source: id.name.to_string() };
        let cursor = command.backend.reads.cursor(changed.position);
        Ok(RemovedSourceResponse::Removed(Json(removed), cursor, changed.replayed.then_some(true)))
    }

    /// List sources
    ///
    /// Those of the key's tenant, by name.
    #[oai(path = "/sources", method = "get", operation_id = "listSources")]
    async fn list(
        &self,
        caller: Caller<Service<Admin>>,
        reads: &Reads,
        /// Sources of the page: 1 to 100, 20 where it is left out.
        limit: Query<Limit<LIMIT_MAX>>,
        /// The `next` of the page before.
        after: Query<SourceName>,
    ) -> Result<Json<SourcePage>, Problem> {
        let (tenant, limit) = (caller.principal.tenant(), limit.0.map_or(LIMIT_DEFAULT, |limit| limit.0));
        let prefix = format!("src_{}:{tenant}", tenant.as_str().len());
        let after = after.0.map(|name| SourceId { tenant: tenant.clone(), name }.to_string());
        let range = (prefix.as_str(), after.as_deref().unwrap_or_default());
        let mut events = reads
            .reader
            .latest(&reads.pool, <source::Source as cqrs_es::Aggregate>::TYPE, range, limit + 1)
            .await?;
        let more = events.len() as i64 > limit;
        events.truncate(limit as usize);
        let facts = events.iter().filter_map(|event| match &event.fact {
            Fact::Source(id, fact) => Some((id, fact)),
            _ => None,
        });
        let next = facts.clone().next_back().filter(|_| more).map(|(id, _)| id.name.to_string());
        let summary = |(id, fact): (&SourceId, &source::Event)| match fact {
            source::Event::Configured { settings, .. } => Some(SourceSummary {
                source: id.name.to_string(),
                path: hooks::path_of(id),
                scheme: settings.scheme.as_str().into(),
            }),
            source::Event::Removed { .. } => None,
        };
        Ok(Json(SourcePage { sources: facts.filter_map(summary).collect(), next: Next(next) }))
    }

    /// See what a mapping makes of a webhook
    ///
    /// Nothing is recorded, and no signature is asked for.
    #[oai(path = "/sources/:source/preview", method = "post", operation_id = "previewSource")]
    async fn preview(
        &self,
        command: Command<Service<Admin>, Body<PreviewHook>>,
        /// The source.
        source: Path<String>,
    ) -> Result<Json<HookPreview>, Problem> {
        let id = id(command.principal().tenant(), &source)?;
        let asked: PreviewHook = command.body.parse()?;
        let source = command.backend.reads.directory.source(&id).await?.ok_or_else(not_found)?;
        let headers = asked.headers.unwrap_or_default().into_iter();
        let input = Input {
            payload: Value::Object(asked.payload.into_iter().collect()),
            headers: hooks::shown(headers.map(|(name, value)| (name.to_ascii_lowercase(), value))),
            source: id.name.to_string(),
        };
        let within = (&command.backend.reads.directory, &id.tenant);
        let made = make(&source, input, within).await?;
        match made.verdict {
            Verdict::Failed(fault) => Err(hooks::refused(&fault)),
            Verdict::Ignored => Ok(Json(HookPreview { ignored: true, notifications: Vec::new() })),
            Verdict::Accepted(_) => {
                let notifications = made.bodies.into_iter().map(Any).collect();
                Ok(Json(HookPreview { ignored: false, notifications }))
            }
        }
    }

    /// See what became of webhooks
    ///
    /// Those of a source that were signed by it, the newest first.
    #[oai(path = "/sources/:source/deliveries", method = "get", operation_id = "listSourceDeliveries")]
    async fn deliveries(
        &self,
        caller: Caller<Service<Admin>>,
        reads: &Reads,
        /// The source.
        source: Path<String>,
        /// Deliveries of the page: 1 to 100, 20 where it is left out.
        limit: Query<Limit<LIMIT_MAX>>,
        /// The `next` of the page before.
        before: Query<BeforeHook>,
    ) -> Result<Json<HookDeliveryPage>, Problem> {
        let id = id(caller.principal.tenant(), &source)?;
        configured_at(reads, &id, i64::MAX).await?;
        let limit = limit.0.map_or(LIMIT_DEFAULT, |limit| limit.0);
        let before = before.0.map(|before| HookId { source: id.clone(), uuid: before.0 }.to_string());
        let range = (HookId::prefix(&id), before.as_deref());
        let range = (range.0.as_str(), range.1);
        let mut events = reads.reader.backwards(&reads.pool, Hook::TYPE, range, limit + 1).await?;
        let more = events.len() as i64 > limit;
        events.truncate(limit as usize);
        let mut deliveries = Vec::with_capacity(events.len());
        let mut next = None;
        for event in &events {
            let Fact::Hook(id, fact) = &event.fact else { continue };
            next = Some(id.uuid.to_string());
            let (received_at, cursor) = (rfc3339(event.recorded_at), reads.cursor(event.position));
            deliveries.push(HookDelivery::new(fact, received_at, cursor));
        }
        Ok(Json(HookDeliveryPage { deliveries, next: Next(next.filter(|_| more)) }))
    }
}

impl From<source::Error> for Problem {
    fn from(refusal: source::Error) -> Self {
        match refusal {
            source::Error::NotFound => not_found(),
            source::Error::NoSecrets | source::Error::OtherScheme => {
                Self::at(Kind::Invalid, "/secrets", refusal.to_string())
            }
        }
    }
}

fn id(tenant: &Tenant, name: &str) -> Result<SourceId, Problem> {
    Ok(SourceId { tenant: tenant.clone(), name: SourceName::parse("source", name)? })
}

fn not_found() -> Problem {
    Problem::new(Kind::NotFound, "there is no such source")
}

/// As it stood at a position of the log.
async fn configured_at(reads: &Reads, id: &SourceId, position: i64) -> Result<Configured, Problem> {
    let kind = <source::Source as cqrs_es::Aggregate>::TYPE;
    let mut events = reads.reader.of_aggregates(&reads.pool, kind, &[id.to_string()]).await?;
    events.retain(|event| event.position <= position);
    let source = fold(&events).map_err(|error| Problem::internal(&error))?;
    source.configured.ok_or_else(not_found)
}

/// Each flaw by the pointer to its expression. Reading them takes a while, in which no other request should wait for this one.
async fn compiled(mapping: source::Mapping) -> Result<(), Problem> {
    let compiling = tokio::task::spawn_blocking(move || Mapping::compile(&mapping).map(drop)).await;
    compiling.map_err(|error| Problem::internal(&error))?.map_err(|flaws| {
        let told = |Flaw { pointer, line, column, words }: &Flaw| {
            (format!("/mapping{pointer}"), format!("line {line}, column {column}: {words}"))
        };
        Problem::at_all(Kind::Invalid, flaws.iter().map(told))
    })
}
