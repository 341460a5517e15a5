//! How much waits to be delivered outside, and for how long: figures for operators.

use sqlx::PgExecutor;
use tidings_domain::notification::Priority;

/// What is due in a lane and has not begun.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waiting {
    pub lane: Priority,
    /// Counted up to a limit.
    pub due: i64,
    /// Since when the longest due is, in seconds; 0 where nothing is.
    pub oldest_s: f64,
}

// Each lane from where its index begins. Those of parked recipients wait until somebody redrives them: they are counted, and
// not taken for the oldest.
const WAITING: &str = "
SELECT l.lane::smallint,
       (SELECT count(*) FROM (SELECT 1 FROM delivery_v3.deliveries d
                               WHERE d.priority = l.lane AND d.work_at <= now() LIMIT $1) d),
       coalesce(extract(epoch FROM now() - (
            SELECT d.work_at FROM delivery_v3.deliveries d
             WHERE d.priority = l.lane AND d.work_at <= now()
               AND (SELECT 1 FROM delivery_v3.parked p
                     WHERE (p.tenant, p.user_id) = (d.tenant, d.user_id) LIMIT 1) IS NULL
             ORDER BY d.work_at LIMIT 1)), 0)::float8
  FROM generate_series(0, 3) l (lane)";

/// Every lane, counted up to `limit`. It costs as much as that many steps of an index, however much is due.
pub async fn waiting(executor: impl PgExecutor<'_>, limit: i64) -> Result<Vec<Waiting>, sqlx::Error> {
    let rows: Vec<(i16, i64, f64)> = sqlx::query_as(WAITING).bind(limit).fetch_all(executor).await?;
    let waiting = rows.into_iter().filter_map(|(stored, due, oldest_s)| {
        let lane = Priority::ALL.into_iter().find(|lane| *lane as i16 == stored)?;
        Some(Waiting { lane, due, oldest_s })
    });
    Ok(waiting.collect())
}
