//! The shapes of schedules on the wire.

use poem_openapi::{Enum, Object};
use serde::Deserialize;
use serde_json::Value;
use tidings_domain::schedule::{Definition, Event, Life, Missed, Request, Schedule, ScheduleId};
use tidings_projections::inbox::rfc3339;
use tidings_projections::log::{Fact, Recorded};
use tidings_projections::schedule::Overview;

use crate::api::audience::broadcasts::CreateBroadcast;
use crate::api::http::next::Next;
use crate::api::notifications::wire::CreateNotification;

/// What becomes of ticks that nobody was there for, because the service was down for more than a minute or its clock was.
#[derive(Clone, Copy, Debug, Deserialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
pub enum MissedTicks {
    /// Nothing: it goes on with the next one that comes.
    Skip,
    /// One stands for all of them.
    Once,
    /// Each is made up for; of more than 100 the last 100.
    All,
}

impl From<MissedTicks> for Missed {
    fn from(missed: MissedTicks) -> Self {
        match missed {
            MissedTicks::Skip => Self::Skip,
            MissedTicks::Once => Self::Once,
            MissedTicks::All => Self::All,
        }
    }
}

/// A request and when to make it: either a notification or a broadcast.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
pub struct PutSchedule {
    /// An expression of cron, at most 128 characters: minute, hour, day of the month, month, day of the week (0 and 7 are Sunday).
    /// A day fits where either of its two fields does, if both are named. Beside `*`, `,`, `-` and `/` there are names (`MON`,
    /// `JAN`), `L` for the last day, `15W` for the working day next to it and `5#2` for the second Friday. Where the clock is put
    /// forward, a fixed time that it leaves out comes right after; where it is put back, a fixed time comes once. What comes every
    /// so many minutes or hours goes by the clock.
    #[oai(validator(min_length = 1, max_length = 128))]
    pub cron: String,
    /// Whose clock it goes by: a name of the IANA time zone database, such as `Europe/Vienna`.
    pub time_zone: String,
    /// As `POST /v1/notifications` takes it, without `deliver_at` and `expires_at`.
    #[serde(rename = "notification")]
    #[oai(rename = "notification")]
    _notification: Option<CreateNotification>,
    /// As `POST /v1/broadcasts` takes it, without `deliver_at` and `expires_at`.
    #[serde(rename = "broadcast")]
    #[oai(rename = "broadcast")]
    _broadcast: Option<CreateBroadcast>,
    /// Defaults to `once`.
    pub missed: Option<MissedTicks>,
    /// No tick before it (RFC 3339, cut to milliseconds). What a new schedule would have done since one that has passed, at most
    /// 366 days ago, is made up for as missed.
    pub starts_at: Option<String>,
    /// No tick after it (RFC 3339, cut to milliseconds).
    pub ends_at: Option<String>,
    /// It does not tick while it is paused, and makes up for nothing afterwards.
    pub paused: Option<bool>,
}

/// A schedule.
#[derive(Debug, Object)]
#[oai(rename = "CronSchedule", skip_serializing_if_is_none)]
pub struct ScheduleBody {
    key: String,
    /// `active`, `paused`, or `ended` where no tick comes any more.
    status: String,
    cron: String,
    time_zone: String,
    /// `skip`, `once` or `all`.
    missed: String,
    starts_at: Option<String>,
    ends_at: Option<String>,
    /// What it asks for.
    notification: Option<Value>,
    /// What it asks for.
    broadcast: Option<Value>,
    /// Its next tick.
    next_at: Option<String>,
    /// The last of them, at most 20, the newest first.
    ticks: Vec<ScheduleTick>,
    /// Its last event.
    cursor: String,
}

/// What became of a tick, or of several.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct ScheduleTick {
    /// When it was due; of several, the last.
    at: String,
    /// `created`, `failed`, or `skipped` where it was missed.
    outcome: String,
    /// Ticks that it stands for, itself among them.
    count: i64,
    /// The notification or broadcast that was made.
    created: Option<Vec<String>>,
    /// Why it was refused.
    reason: Option<ScheduleReason>,
    recorded_at: String,
}

/// Why a tick was refused.
#[derive(Debug, Object)]
pub struct ScheduleReason {
    /// A JSON Pointer (RFC 6901) into the schedule.
    pointer: String,
    detail: String,
}

#[derive(Debug, Object)]
pub struct DeletedSchedule {
    pub key: String,
}

/// A schedule in a list.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct ScheduleSummary {
    key: String,
    /// `active`, `paused`, or `ended` where no tick comes any more.
    status: String,
    cron: String,
    time_zone: String,
    next_at: Option<String>,
}

/// Schedules in the order of their keys.
#[derive(Debug, Object)]
pub struct SchedulePage {
    pub schedules: Vec<ScheduleSummary>,
    /// Pass it as `after` for the next page; null at the end.
    pub next: Next,
}

impl ScheduleBody {
    pub fn new(id: &ScheduleId, definition: &Definition, overview: &Overview, cursor: String) -> Self {
        let (notification, broadcast) = match definition.content.clone() {
            Some(Request::Notification(body)) => (Some(Value::Object(body)), None),
            Some(Request::Broadcast(body)) => (None, Some(Value::Object(body))),
            None => (None, None),
        };
        Self {
            key: id.key.to_string(),
            status: status(definition, &overview.state).into(),
            cron: definition.cron.clone(),
            time_zone: definition.time_zone.as_str().into(),
            missed: definition.missed.as_str().into(),
            starts_at: definition.starts_at.map(rfc3339),
            ends_at: definition.ends_at.map(rfc3339),
            notification,
            broadcast,
            next_at: overview.state.next_at.map(rfc3339),
            ticks: overview.last.iter().rev().filter_map(|event| ScheduleTick::new(event)).collect(),
            cursor,
        }
    }
}

impl ScheduleSummary {
    /// `None` of one that was deleted.
    pub fn new(id: &ScheduleId, state: &Schedule) -> Option<Self> {
        let definition = state.definition.as_ref().filter(|_| state.life == Life::Active)?;
        Some(Self {
            key: id.key.to_string(),
            status: status(definition, state).into(),
            cron: definition.cron.clone(),
            time_zone: definition.time_zone.as_str().into(),
            next_at: state.next_at.map(rfc3339),
        })
    }
}

fn status(definition: &Definition, state: &Schedule) -> &'static str {
    match state.next_at {
        _ if definition.paused => "paused",
        Some(_) => "active",
        None => "ended",
    }
}

impl ScheduleTick {
    fn new(event: &Recorded) -> Option<Self> {
        let Fact::Schedule(_, fact) = &event.fact else { return None };
        let (at, outcome, count) = match fact {
            Event::Ticked { at, missed, .. } => (at, "created", missed.saturating_add(1)),
            Event::Failed { at, missed, .. } => (at, "failed", missed.saturating_add(1)),
            Event::Skipped { to, count, .. } => (to, "skipped", *count),
            Event::Changed { .. } | Event::Deleted { .. } => return None,
        };
        let created = match fact {
            Event::Ticked { created, .. } => Some(created.iter().map(ToString::to_string).collect()),
            _ => None,
        };
        let reason = match fact {
            Event::Failed { reason, .. } => {
                Some(ScheduleReason { pointer: reason.pointer.clone(), detail: reason.detail.clone() })
            }
            _ => None,
        };
        let recorded_at = rfc3339(event.recorded_at);
        Some(Self {
            at: rfc3339(*at),
            outcome: outcome.into(),
            count: count.into(),
            created,
            reason,
            recorded_at,
        })
    }
}
