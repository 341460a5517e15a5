//! Schedules: ask for the same again and again, at set times.

mod requests;
mod shapes;

pub use requests::Requests;

use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, OpenApi};
use serde_json::{Map, Value};
use tidings_domain::Tenant;
use tidings_domain::schedule::{self, Definition, Life, ScheduleId, ScheduleKey};
use tidings_projections::schedule::Overview;
use time::{Duration, OffsetDateTime};

use crate::api::Tag;
use crate::api::http::body::{Body, CommandBody};
use crate::api::http::credentials::{Caller, NotificationsRead, NotificationsWrite, Service};
use crate::api::http::next::Next;
use crate::api::http::parameter::{Limit, Parameter, Query};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::reads::Reads;
use crate::api::http::request::{Command, Key};
use crate::api::values::addresses;
use crate::api::values::instant::parse_instant;
use crate::clock;
use crate::cron::Ticks;
use shapes::{DeletedSchedule, PutSchedule, ScheduleBody, SchedulePage, ScheduleSummary};

const LIMIT_DEFAULT: i64 = 20;
const LIMIT_MAX: u32 = 100;
/// Ticks that are shown.
const TICKS_SHOWN: i64 = 20;
/// How far back a schedule may start.
const PAST_MAX: Duration = Duration::days(366);

pub struct Schedules;

#[derive(ApiResponse)]
enum ScheduleResponse {
    /// Recorded, or already so.
    #[oai(status = 200)]
    Kept(
        Json<ScheduleBody>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had done it.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

#[derive(ApiResponse)]
enum DeletedScheduleResponse {
    /// Deleted, or already so.
    #[oai(status = 200)]
    Deleted(
        Json<DeletedSchedule>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had done it.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

impl Parameter for ScheduleKey {
    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        Self::try_from(text.to_owned()).map_err(|error| Problem::at(Kind::Malformed, name, error.to_string()))
    }
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Schedules")]
impl Schedules {
    /// Put a schedule
    ///
    /// Replaces what was said of it; its history stays. One whose `cron`, `time_zone` and `starts_at` stay as they were keeps its
    /// next tick, one with others begins anew from now on. What is asked for is checked now, and decided at each tick: a template
    /// speaks in its latest version then, and a tick that is refused is told as `failed`. Each tick has its effect once, however
    /// many nodes there are and whatever dies on the way.
    #[oai(path = "/schedules/:key", method = "put", operation_id = "putSchedule")]
    async fn put(
        &self,
        command: Command<Service<NotificationsWrite>, Body<PutSchedule>>,
        /// The schedule: 1 to 128 characters of `a-z`, `0-9`, `.`, `_` and `-`.
        key: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Key,
    ) -> Result<ScheduleResponse, Problem> {
        let id = id(command.principal().tenant(), &key)?;
        let wanted: PutSchedule = command.body.parse()?;
        let sent: Map<String, Value> =
            serde_json::from_slice(command.body.bytes()).map_err(|error| Problem::internal(&error))?;
        let (commands, reads) = (&command.backend.commands, &command.backend.reads);
        let context = command.context(&idempotency_key);
        let requests = Requests::new(reads.directory.clone());
        let changed = match checked(wanted, &sent, (&requests, &id.tenant)).await {
            Ok((definition, ticks)) => commands.change_schedule(&context, &id, (definition, &ticks)).await?,
            // What is refused now may have been done then.
            Err(problem) => commands.earlier_change(&context).await?.ok_or(problem)?,
        };
        // As it stood then: a repetition is given the answer of the first, whatever was said since.
        let shown = shown(reads, &id, changed.position).await?;
        let cursor = reads.cursor(changed.position);
        Ok(ScheduleResponse::Kept(Json(shown), cursor, changed.replayed.then_some(true)))
    }

    /// Look at a schedule
    ///
    /// Always current: folded from the schedule's own events.
    #[oai(path = "/schedules/:key", method = "get", operation_id = "getSchedule")]
    async fn get(
        &self,
        caller: Caller<Service<NotificationsRead>>,
        reads: &Reads,
        /// The schedule.
        key: Path<String>,
    ) -> Result<Json<ScheduleBody>, Problem> {
        let id = id(caller.principal.tenant(), &key)?;
        Ok(Json(shown(reads, &id, i64::MAX).await?))
    }

    /// Delete a schedule
    ///
    /// It ticks no more; what it made stays.
    #[oai(path = "/schedules/:key", method = "delete", operation_id = "deleteSchedule")]
    async fn delete(
        &self,
        command: Command<Service<NotificationsWrite>>,
        /// The schedule.
        key: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Key,
    ) -> Result<DeletedScheduleResponse, Problem> {
        command.body.parse()?;
        let id = id(command.principal().tenant(), &key)?;
        let context = command.context(&idempotency_key);
        let changed = command.backend.commands.delete_schedule(&context, &id).await?;
        let cursor = command.backend.reads.cursor(changed.position);
        let deleted = DeletedSchedule { key: id.key.to_string() };
        Ok(DeletedScheduleResponse::Deleted(Json(deleted), cursor, changed.replayed.then_some(true)))
    }

    /// List schedules
    ///
    /// Those of the key's tenant, by key.
    #[oai(path = "/schedules", method = "get", operation_id = "listSchedules")]
    async fn list(
        &self,
        caller: Caller<Service<NotificationsRead>>,
        reads: &Reads,
        /// Schedules of the page: 1 to 100, 20 where it is left out. A page may have fewer, and others follow.
        limit: Query<Limit<LIMIT_MAX>>,
        /// The `next` of the page before.
        after: Query<ScheduleKey>,
    ) -> Result<Json<SchedulePage>, Problem> {
        let (tenant, limit) = (caller.principal.tenant(), limit.0.map_or(LIMIT_DEFAULT, |limit| limit.0));
        let after = after.0.map(|key| ScheduleId { tenant: tenant.clone(), key }.to_string());
        let range = (&*ScheduleId::prefix(tenant), after.as_deref().unwrap_or_default());
        let mut listed = Overview::list((&reads.reader, &reads.pool), range, limit + 1).await?;
        let more = listed.len() as i64 > limit;
        listed.truncate(limit as usize);
        let next = listed.last().filter(|_| more).map(|(id, _)| id.key.to_string());
        let schedules =
            listed.iter().filter_map(|(id, overview)| ScheduleSummary::new(id, &overview.state)).collect();
        Ok(Json(SchedulePage { schedules, next: Next(next) }))
    }
}

impl From<schedule::Error> for Problem {
    fn from(refusal: schedule::Error) -> Self {
        let kind = match refusal {
            schedule::Error::NotFound => Kind::NotFound,
            schedule::Error::StaleTick => Kind::InvalidState,
        };
        Self::new(kind, refusal.to_string())
    }
}

fn id(tenant: &Tenant, key: &str) -> Result<ScheduleId, Problem> {
    Ok(ScheduleId { tenant: tenant.clone(), key: ScheduleKey::parse("key", key)? })
}

/// As it stood at a position of the log.
async fn shown(reads: &Reads, id: &ScheduleId, position: i64) -> Result<ScheduleBody, Problem> {
    let overview = Overview::read((&reads.reader, &reads.pool), id, position, TICKS_SHOWN).await?;
    match (&overview.state.definition, overview.state.life) {
        (Some(definition), Life::Active) => {
            Ok(ScheduleBody::new(id, definition, &overview, reads.cursor(overview.position)))
        }
        _ => Err(schedule::Error::NotFound.into()),
    }
}

/// What was sent, with the ticks of its expression; a problem names the member that stands in its way.
async fn checked(
    wanted: PutSchedule,
    sent: &Map<String, Value>,
    (requests, tenant): (&Requests, &Tenant),
) -> Result<(Definition, Ticks), Problem> {
    let refuse = |pointer: &str, detail: &str| Problem::at(Kind::Invalid, pointer, detail);
    let time_zone = addresses::time_zone("/time_zone", &wanted.time_zone)?;
    let instant =
        |pointer: &str, text: Option<String>| text.map(|text| parse_instant(pointer, &text)).transpose();
    let starts_at: Option<OffsetDateTime> = instant("/starts_at", wanted.starts_at)?;
    let ends_at = instant("/ends_at", wanted.ends_at)?;
    let now = clock::now();
    if starts_at.is_some_and(|at| now - at > PAST_MAX) {
        return Err(refuse("/starts_at", "must lie no more than 366 days back"));
    }
    let ticks = Ticks::new(&wanted.cron, time_zone.as_str(), ends_at);
    let ticks = ticks.map_err(|error| refuse("/cron", &error.to_string()))?;
    // One that never fires is looked for through centuries.
    let (looking, from) = (ticks.clone(), starts_at.unwrap_or(now));
    let fires = tokio::task::spawn_blocking(move || looking.from(from).is_some()).await;
    if !fires.map_err(|error| Problem::internal(&error))? {
        let detail = if ends_at.is_some() { "never fires before `ends_at`" } else { "never fires" };
        return Err(refuse("/cron", detail));
    }
    let content = requests::of(sent)?;
    requests.make(tenant, &content, now).await?;
    let definition = Definition {
        cron: wanted.cron,
        time_zone,
        missed: wanted.missed.map(Into::into).unwrap_or_default(),
        starts_at,
        ends_at,
        paused: wanted.paused.unwrap_or_default(),
        content: Some(content),
    };
    Ok((definition, ticks))
}
