//! Writes what became of the timers, all of it in one statement with the checkpoint.

use sqlx::PgConnection;

use super::fold::{Moves, ScheduleKey, Set, TimerKey};

const STORE: &str = "
WITH gone AS (
    DELETE FROM timers t
     USING unnest($1::text[], $2::text[], $3::uuid[], $4::text[]) g (tenant, user_id, notification, kind)
     WHERE (t.tenant, t.user_id, t.notification, t.kind) = (g.tenant, g.user_id, g.notification, g.kind)
), put AS (
    INSERT INTO timers (tenant, user_id, notification, kind, due_at, position)
    SELECT * FROM unnest($5::text[], $6::text[], $7::uuid[], $8::text[], $9::timestamptz[], $10::bigint[])
    ON CONFLICT (tenant, user_id, notification, kind)
    DO UPDATE SET due_at = excluded.due_at, position = excluded.position
), ended AS (
    DELETE FROM schedules s
     USING unnest($11::text[], $12::text[]) g (tenant, schedule)
     WHERE (s.tenant, s.user_id, s.schedule) = (g.tenant, '', g.schedule)
), next AS (
    INSERT INTO schedules (tenant, user_id, schedule, due_at, position)
    SELECT tenant, '', schedule, due_at, position
      FROM unnest($13::text[], $14::text[], $15::timestamptz[], $16::bigint[]) n (tenant, schedule, due_at, position)
    ON CONFLICT (tenant, user_id, schedule)
    DO UPDATE SET due_at = excluded.due_at, position = excluded.position
)
UPDATE checkpoint SET position = $17 WHERE $17 IS NOT NULL";

/// Writes the rows; `checkpoint` is where the checkpoint goes, if it moves.
pub(super) async fn store(
    connection: &mut PgConnection,
    moves: &Moves,
    checkpoint: Option<i64>,
) -> Result<(), sqlx::Error> {
    // Most batches have no timer in them.
    let statement = if moves.is_empty() {
        sqlx::query("UPDATE checkpoint SET position = $1 WHERE $1 IS NOT NULL")
    } else {
        let gone: Vec<&TimerKey> =
            moves.timers.iter().filter(|(_, set)| set.is_none()).map(|(key, _)| key).collect();
        let put: Vec<(&TimerKey, Set)> =
            moves.timers.iter().filter_map(|(key, set)| Some((key, (*set)?))).collect();
        let ended: Vec<&ScheduleKey> =
            moves.schedules.iter().filter(|(_, set)| set.is_none()).map(|(key, _)| key).collect();
        let next: Vec<(&ScheduleKey, Set)> =
            moves.schedules.iter().filter_map(|(key, set)| Some((key, (*set)?))).collect();
        sqlx::query(STORE)
            .bind(gone.iter().map(|key| key.0.as_str()).collect::<Vec<_>>())
            .bind(gone.iter().map(|key| key.1.as_str()).collect::<Vec<_>>())
            .bind(gone.iter().map(|key| key.2).collect::<Vec<_>>())
            .bind(gone.iter().map(|key| key.3.as_str()).collect::<Vec<_>>())
            .bind(put.iter().map(|(key, _)| key.0.as_str()).collect::<Vec<_>>())
            .bind(put.iter().map(|(key, _)| key.1.as_str()).collect::<Vec<_>>())
            .bind(put.iter().map(|(key, _)| key.2).collect::<Vec<_>>())
            .bind(put.iter().map(|(key, _)| key.3.as_str()).collect::<Vec<_>>())
            .bind(put.iter().map(|(_, set)| set.due_at).collect::<Vec<_>>())
            .bind(put.iter().map(|(_, set)| set.position).collect::<Vec<_>>())
            .bind(ended.iter().map(|key| key.0.as_str()).collect::<Vec<_>>())
            .bind(ended.iter().map(|key| key.1.as_str()).collect::<Vec<_>>())
            .bind(next.iter().map(|(key, _)| key.0.as_str()).collect::<Vec<_>>())
            .bind(next.iter().map(|(key, _)| key.1.as_str()).collect::<Vec<_>>())
            .bind(next.iter().map(|(_, set)| set.due_at).collect::<Vec<_>>())
            .bind(next.iter().map(|(_, set)| set.position).collect::<Vec<_>>())
    };
    statement.bind(checkpoint).execute(connection).await.map(drop)
}
