//! Has schedules tick: when an instant has come that one waits for, what it asks for is asked for.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use lru::LruCache;
use poem::http::StatusCode;
use sqlx::PgConnection;
use tidings_domain::schedule::{Reason, ScheduleId, Step};
use tidings_projections::log::Outage;
use tidings_projections::timers::{DueSchedule, due_schedules};
use tokio::time::Instant;

use super::{AGAIN_AFTER, FiringError};
use crate::api::Requests;
use crate::auth::Principal;
use crate::clock;
use crate::commands::{Asked, CONFLICT_PAUSE, CommandError, Commands, Context, DueTick};
use crate::log::AppendError;

/// Schedules of one turn.
const CHUNK: i64 = 250;
/// Those that tick at a time. Their ticks are appended together.
const AT_ONCE: usize = 16;
/// What is left by then goes on in another turn: the timers of notifications wait for this one.
const TURN: Duration = Duration::from_millis(250);

pub struct Ticker {
    commands: Arc<Commands>,
    requests: Requests,
    /// What had nothing to do here lately, because its last tick is not folded yet, or cannot tick.
    idle: LruCache<(String, i64), Instant>,
}

impl Ticker {
    pub fn new(commands: Arc<Commands>, requests: Requests) -> Self {
        const IDLE_MAX: NonZeroUsize = NonZeroUsize::new(1_000).expect("not zero");
        Self { commands, requests, idle: LruCache::new(IDLE_MAX) }
    }

    /// Works off one chunk of what is due, as far as a turn goes; gives a position that all of it is at or before, and nothing
    /// where nothing is due.
    pub(super) async fn tick(&mut self, connection: &mut PgConnection) -> Result<Option<i64>, FiringError> {
        let lately = self.idle.iter().filter(|(_, at)| at.elapsed() < AGAIN_AFTER);
        let lately: Vec<(String, i64)> = lately.map(|(key, _)| key.clone()).collect();
        let due = due_schedules(connection, &lately, CHUNK).await?;
        let until = Instant::now() + TURN;
        let ticker = &*self;
        let running = stream::iter(due).map(|due| async move { (ticker.run(&due, until).await, due) });
        let ran: Vec<_> = running.buffer_unordered(AT_ONCE).collect().await;
        let (mut position, mut failed) = (None, None);
        for (ran, due) in ran {
            match ran {
                Ok(Ran::On(reached)) => {
                    position = position.max(Some(reached));
                    continue;
                }
                // There may be others beyond this chunk.
                Ok(Ran::Idle) => position = position.max(Some(0)),
                Err(error) if error.is_outage() => {
                    failed = Some(error);
                    continue;
                }
                // One tenant's trouble is not that of all timers. No repetition helps, but for one after a mending.
                Err(error) => tracing::error!(schedule = due.schedule, %error, "a schedule cannot tick"),
            }
            self.idle.put((due.schedule, due.position), Instant::now());
        }
        failed.map_or(Ok(position), |error| Err(error.into()))
    }

    /// Step by step, until nothing of the schedule is due. Each step is durable by itself.
    async fn run(&self, due: &DueSchedule, until: Instant) -> Result<Ran, CommandError> {
        let id: ScheduleId = due
            .schedule
            .parse()
            .map_err(|error| CommandError::Fault(format!("{}: {error}", due.schedule)))?;
        let context = Context {
            principal: Principal::Timer { tenant: id.tenant.clone() },
            request_id: format!("timer-{}", clock::new_uuid()),
            idempotency: None,
            trace: None,
        };
        let (mut position, mut refused) = (0, None);
        while refused.is_some() || Instant::now() < until {
            // What is due is so by the clock of the database.
            let now = clock::now().max(due.due_at);
            let Some(tick) = self.commands.due_tick(&id, now).await? else {
                return Ok(if position == 0 { Ran::Idle } else { Ran::On(position) });
            };
            let is_last = tick.is_last(now);
            let from = tick.from;
            let asked = match refused.take() {
                // Another one by now is tried like any other.
                Some((of, reason)) if of == from => Some(Err(reason)),
                _ => self.asked(&id, &tick).await?,
            };
            let makes = matches!(asked, Some(Ok(_)));
            match self.commands.tick(&context, &id, tick, asked).await {
                Ok(reached) if is_last => return Ok(Ran::On(reached)),
                Ok(reached) => position = reached,
                // Another node had it, or it was changed: the log knows.
                Err(CommandError::Conflict) => tokio::time::sleep(CONFLICT_PAUSE).await,
                // The tick is told without it. Where the log refuses that, too, somebody must look.
                Err(CommandError::Append(AppendError::Refused(_))) if makes => {
                    refused = Some((from, reason("the log refuses what was made of it")));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Ran::On(position))
    }

    /// What it asks for at this tick, or why that cannot be; nothing of one that is skipped.
    async fn asked(
        &self,
        id: &ScheduleId,
        tick: &DueTick,
    ) -> Result<Option<Result<Asked, Reason>>, CommandError> {
        if matches!(tick.step, Step::Skip { .. }) {
            return Ok(None);
        }
        let Some(request) = tick.request() else {
            return Ok(Some(Err(reason("nobody knows its words any more"))));
        };
        match self.requests.make(&id.tenant, request, clock::now()).await {
            Ok(asked) => Ok(Some(Ok(asked))),
            Err(problem) if problem.status() == StatusCode::SERVICE_UNAVAILABLE => {
                Err(CommandError::Unavailable(problem.first().1.to_owned()))
            }
            Err(problem) if problem.status().is_server_error() => {
                Err(CommandError::Fault(problem.first().1.to_owned()))
            }
            Err(problem) => {
                let (pointer, detail) = problem.first();
                Ok(Some(Err(Reason { pointer: pointer.to_owned(), detail: detail.to_owned() })))
            }
        }
    }
}

/// How far a schedule came in a turn.
enum Ran {
    /// Up to this position; 0 where nothing could be done yet.
    On(i64),
    /// Nothing of it was due.
    Idle,
}

fn reason(detail: &str) -> Reason {
    Reason { pointer: String::new(), detail: detail.to_owned() }
}
