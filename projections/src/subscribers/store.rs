//! Writes what a batch folded, all of it in one statement with the checkpoint.

use sqlx::PgConnection;

use super::fold::{Interval, Key, Rows};

const STORE: &str = "
WITH ended AS (
    UPDATE subscribers s SET until = e.position, position = e.position
      FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) e (tenant, topic, user_id, position)
     WHERE (s.tenant, s.topic, s.user_id) = (e.tenant, e.topic, e.user_id)
       AND s.until IS NULL AND s.since < e.position
), begun AS (
    INSERT INTO subscribers (tenant, topic, user_id, since, until, position)
    SELECT * FROM unnest($5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[])
    ON CONFLICT (tenant, topic, user_id, since)
    DO UPDATE SET until = excluded.until, position = excluded.position
)
UPDATE checkpoint SET position = $11 WHERE $11 IS NOT NULL";

/// Writes the rows; `checkpoint` is where the checkpoint goes, if it moves.
pub(super) async fn store(
    connection: &mut PgConnection,
    rows: &Rows,
    checkpoint: Option<i64>,
) -> Result<(), sqlx::Error> {
    // Most batches have nothing for it.
    let statement = if rows.is_empty() {
        sqlx::query("UPDATE checkpoint SET position = $1 WHERE $1 IS NOT NULL")
    } else {
        let ended: Vec<(&Key, i64)> = rows.ended.iter().map(|(key, position)| (key, *position)).collect();
        let of = |(key, begun): (&'_ Key, &'_ Vec<Interval>)| -> Vec<(Key, Interval)> {
            begun.iter().map(|interval| (key.clone(), *interval)).collect()
        };
        let begun: Vec<(Key, Interval)> = rows.begun.iter().flat_map(of).collect();
        sqlx::query(STORE)
            .bind(ended.iter().map(|(key, _)| key.0.clone()).collect::<Vec<_>>())
            .bind(ended.iter().map(|(key, _)| key.1.clone()).collect::<Vec<_>>())
            .bind(ended.iter().map(|(key, _)| key.2.clone()).collect::<Vec<_>>())
            .bind(ended.iter().map(|(_, position)| *position).collect::<Vec<_>>())
            .bind(begun.iter().map(|(key, _)| key.0.clone()).collect::<Vec<_>>())
            .bind(begun.iter().map(|(key, _)| key.1.clone()).collect::<Vec<_>>())
            .bind(begun.iter().map(|(key, _)| key.2.clone()).collect::<Vec<_>>())
            .bind(begun.iter().map(|(_, interval)| interval.since).collect::<Vec<_>>())
            .bind(begun.iter().map(|(_, interval)| interval.until).collect::<Vec<_>>())
            .bind(begun.iter().map(|(_, interval)| interval.position()).collect::<Vec<_>>())
    };
    statement.bind(checkpoint).execute(connection).await.map(drop)
}
