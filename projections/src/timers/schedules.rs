//! Finds the schedules whose next tick has come, by the clock of the database.

use sqlx::PgExecutor;
use time::OffsetDateTime;

/// A schedule whose tick has come.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct DueSchedule {
    /// The aggregate.
    pub schedule: String,
    pub due_at: OffsetDateTime,
    /// The event that set it.
    pub position: i64,
}

const DUE: &str = "
SELECT s.schedule, s.due_at, s.position
  FROM timers_v3.schedules s
 WHERE s.due_at <= statement_timestamp()
   AND NOT EXISTS (SELECT FROM unnest($1::text[], $2::bigint[]) lately (schedule, position)
                    WHERE lately.schedule = s.schedule AND lately.position = s.position)
 ORDER BY s.due_at, s.schedule LIMIT $3";

/// At most `limit` of them, the longest due first, without those that were looked at lately: an aggregate, and the event that
/// had set its tick.
pub async fn due_schedules(
    executor: impl PgExecutor<'_>,
    lately: &[(String, i64)],
    limit: i64,
) -> Result<Vec<DueSchedule>, sqlx::Error> {
    let (schedules, positions): (Vec<&str>, Vec<i64>) =
        lately.iter().map(|(schedule, position)| (schedule.as_str(), *position)).unzip();
    sqlx::query_as(DUE).bind(schedules).bind(positions).bind(limit).fetch_all(executor).await
}
