//! Writes what a batch folded, all of it in one statement with the checkpoint.

use sqlx::PgConnection;

use super::fold::{Begun, BroadcastKey, Interval, Key, Reached, Rows};

// A broadcast of which a batch says more than that it was made is inserted as it stands after the batch.
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
), made AS (
    INSERT INTO broadcasts (tenant, user_id, broadcast, topic, total, created, created_at, status, notifications, position)
    SELECT tenant, '', broadcast, topic, total, created, created_at, status, notifications, position
      FROM unnest($11::text[], $12::uuid[], $13::text[], $14::bigint[], $15::bigint[], $16::timestamptz[], $17::text[],
                  $18::bigint[], $19::bigint[])
           m (tenant, broadcast, topic, total, created, created_at, status, notifications, position)
    ON CONFLICT (tenant, user_id, broadcast) DO NOTHING
), reached AS (
    UPDATE broadcasts b SET status = r.status, notifications = r.notifications, position = r.position
      FROM unnest($20::text[], $21::uuid[], $22::text[], $23::bigint[], $24::bigint[])
           r (tenant, broadcast, status, notifications, position)
     WHERE (b.tenant, b.user_id, b.broadcast) = (r.tenant, '', r.broadcast)
)
UPDATE checkpoint SET position = $25 WHERE $25 IS NOT NULL";

/// Writes the rows; `checkpoint` is where the checkpoint goes, if it moves.
pub(super) async fn store(
    connection: &mut PgConnection,
    rows: &Rows,
    checkpoint: Option<i64>,
) -> Result<(), sqlx::Error> {
    // Most batches have nothing for it.
    if rows.is_empty() {
        let statement = sqlx::query("UPDATE checkpoint SET position = $1 WHERE $1 IS NOT NULL");
        return statement.bind(checkpoint).execute(connection).await.map(drop);
    }
    let ended: Vec<(&Key, i64)> = rows.ended.iter().map(|(key, position)| (key, *position)).collect();
    let begun = rows.begun.iter().flat_map(|(key, begun)| begun.iter().map(move |it| (key, *it)));
    let begun: Vec<(&Key, Interval)> = begun.collect();
    let made = rows.broadcasts.iter().filter_map(|(key, begun)| Some((key, begun, *rows.reached.get(key)?)));
    let made: Vec<(&BroadcastKey, &Begun, Reached)> = made.collect();
    let reached = rows.reached.iter().filter(|(key, _)| !rows.broadcasts.contains_key(key));
    let reached: Vec<(&BroadcastKey, Reached)> = reached.map(|(key, reached)| (key, *reached)).collect();
    sqlx::query(STORE)
        .bind(column(&ended, |(key, _)| key.0.as_str()))
        .bind(column(&ended, |(key, _)| key.1.as_str()))
        .bind(column(&ended, |(key, _)| key.2.as_str()))
        .bind(column(&ended, |(_, position)| *position))
        .bind(column(&begun, |(key, _)| key.0.as_str()))
        .bind(column(&begun, |(key, _)| key.1.as_str()))
        .bind(column(&begun, |(key, _)| key.2.as_str()))
        .bind(column(&begun, |(_, interval)| interval.since))
        .bind(column(&begun, |(_, interval)| interval.until))
        .bind(column(&begun, |(_, interval)| interval.position()))
        .bind(column(&made, |(key, ..)| key.0.as_str()))
        .bind(column(&made, |(key, ..)| key.1))
        .bind(column(&made, |(_, begun, _)| begun.topic.as_deref()))
        .bind(column(&made, |(_, begun, _)| begun.total))
        .bind(column(&made, |(_, begun, _)| begun.created))
        .bind(column(&made, |(_, begun, _)| begun.created_at))
        .bind(column(&made, |(.., reached)| reached.life.as_str()))
        .bind(column(&made, |(.., reached)| reached.notifications))
        .bind(column(&made, |(.., reached)| reached.position))
        .bind(column(&reached, |(key, _)| key.0.as_str()))
        .bind(column(&reached, |(key, _)| key.1))
        .bind(column(&reached, |(_, reached)| reached.life.as_str()))
        .bind(column(&reached, |(_, reached)| reached.notifications))
        .bind(column(&reached, |(_, reached)| reached.position))
        .bind(checkpoint)
        .execute(connection)
        .await
        .map(drop)
}

fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
