//! Has schedules tick: when an instant has come that one waits for, what it asks for is asked for.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use poem::http::StatusCode;
use sqlx::PgConnection;
use tidings_domain::schedule::{Reason, ScheduleId};
use tidings_projections::timers::{DueSchedule, due_schedules};
use tokio::time::Instant;

use super::{AGAIN_AFTER, FiringError};
use crate::api::Requests;
use crate::auth::Principal;
use crate::clock;
use crate::commands::{CONFLICT_PAUSE, CommandError, Commands, Context, DueTick};

/// Schedules of one turn.
const CHUNK: i64 = 100;
/// Those that have many ticks to make up for go on in another turn: the others wait for this one.
const TURN: Duration = Duration::from_secs(3);

pub struct Ticker {
    commands: Arc<Commands>,
    requests: Requests,
    /// What ticked here lately. One that is still there was either not folded yet or has nothing to do.
    ticked: LruCache<(String, i64), Instant>,
}

impl Ticker {
    pub fn new(commands: Arc<Commands>, requests: Requests) -> Self {
        const TICKED_MAX: NonZeroUsize = NonZeroUsize::new(1_000).expect("not zero");
        Self { commands, requests, ticked: LruCache::new(TICKED_MAX) }
    }

    /// Works off one chunk of what is due; gives a position that all of it is at or before, and nothing where nothing is due.
    pub(super) async fn tick(&mut self, connection: &mut PgConnection) -> Result<Option<i64>, FiringError> {
        let lately = self.ticked.iter().filter(|(_, at)| at.elapsed() < AGAIN_AFTER);
        let lately: Vec<(String, i64)> = lately.map(|(key, _)| key.clone()).collect();
        let due = due_schedules(connection, &lately, CHUNK).await?;
        let until = Instant::now() + TURN;
        let (mut position, mut failed) = (None, None);
        for due in due {
            if Instant::now() >= until {
                break;
            }
            match self.run(&due, until).await {
                Ok(reached) => position = position.max(Some(reached)),
                // No repetition helps, but for one after a mending.
                Err(error @ (CommandError::Fault(_) | CommandError::ScheduleRefused(_))) => {
                    tracing::error!(schedule = due.schedule, %error, "a schedule cannot tick");
                }
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            }
            self.ticked.put((due.schedule, due.position), Instant::now());
        }
        failed.map_or(Ok(position), |error| Err(error.into()))
    }

    /// Step by step, until nothing of the schedule is due. Each step is durable by itself.
    async fn run(&self, due: &DueSchedule, until: Instant) -> Result<i64, CommandError> {
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
        let mut position = 0;
        while Instant::now() < until {
            // What is due is so by the clock of the database.
            let now = clock::now().max(due.due_at);
            let Some(tick) = self.commands.due_tick(&id, now).await? else { break };
            let asked = match (&tick, tick.request()) {
                (DueTick { step: tidings_domain::schedule::Step::Skip { .. }, .. }, _) => None,
                (_, None) => Some(Err(reason("nobody knows its words any more"))),
                (_, Some(request)) => match self.requests.make(&id.tenant, request, clock::now()).await {
                    Ok(asked) => Some(Ok(asked)),
                    Err(problem) if problem.status() == StatusCode::SERVICE_UNAVAILABLE => {
                        return Err(CommandError::Unavailable(problem.first().1.to_owned()));
                    }
                    // One tenant's trouble is not that of all timers.
                    Err(problem) if problem.status().is_server_error() => {
                        return Err(CommandError::Fault(problem.first().1.to_owned()));
                    }
                    Err(problem) => {
                        let (pointer, detail) = problem.first();
                        Some(Err(Reason { pointer: pointer.to_owned(), detail: detail.to_owned() }))
                    }
                },
            };
            match self.commands.tick(&context, &id, tick, asked).await {
                Ok(reached) => position = reached,
                // Another node had it, or it was changed: the log knows.
                Err(CommandError::Conflict) => tokio::time::sleep(CONFLICT_PAUSE).await,
                Err(error) => return Err(error),
            }
        }
        Ok(position)
    }
}

fn reason(detail: &str) -> Reason {
    Reason { pointer: String::new(), detail: detail.to_owned() }
}
