//! Loads the rows a batch touches, and writes what became of them, all of it in one statement with the checkpoint.

use std::collections::HashSet;

use sqlx::PgConnection;
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use tidings_domain::notification::DeliveryStatus;
use uuid::Uuid;

use super::fold::{DeliveryKey, Life, Row, Rows};

// OFFSET 0 keeps the planner from joining the whole table with the few rows that are wanted.
const LOAD: &str = "
SELECT d.tenant, d.user_id, d.notification, d.channel, d.step, d.created, d.life, d.status, d.attempt, d.error,
       d.position
  FROM unnest($1::text[], $2::text[], $3::uuid[]) w (tenant, user_id, notification)
 CROSS JOIN LATERAL (SELECT * FROM deliveries d
                      WHERE d.tenant = w.tenant AND d.user_id = w.user_id AND d.notification = w.notification
                     OFFSET 0) d
 ORDER BY d.notification, d.step";

const STORE: &str = "
WITH made AS (
    INSERT INTO deliveries (tenant, user_id, notification, channel, step, created, life, status, attempt, error,
                            position)
    SELECT tenant, user_id, notification, channel, step, created, life, status, attempt, error, position
      FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::integer[],
                  $8::text[], $9::bigint[], $10::smallint[], $11::bigint[])
           m (tenant, user_id, notification, channel, life, status, attempt, error, position, step, created)
), moved AS (
    UPDATE deliveries d
       SET life = m.life, status = m.status, attempt = m.attempt, error = m.error, position = m.position
      FROM unnest($12::text[], $13::text[], $14::uuid[], $15::text[], $16::text[], $17::text[], $18::integer[],
                  $19::text[], $20::bigint[])
           m (tenant, user_id, notification, channel, life, status, attempt, error, position)
     WHERE (d.tenant, d.user_id, d.notification, d.channel) = (m.tenant, m.user_id, m.notification, m.channel)
)
UPDATE checkpoint SET position = $21 WHERE $21 IS NOT NULL";

#[derive(sqlx::FromRow)]
struct StoredRow {
    tenant: String,
    user_id: String,
    notification: Uuid,
    channel: String,
    step: i16,
    created: i64,
    life: String,
    status: String,
    attempt: i32,
    error: Option<String>,
    position: i64,
}

pub(super) async fn load(
    connection: &mut PgConnection,
    keys: &HashSet<DeliveryKey>,
) -> Result<Vec<(DeliveryKey, Row)>, sqlx::Error> {
    let rows: Vec<StoredRow> = sqlx::query_as(LOAD)
        .bind(keys.iter().map(|key| key.0.as_str()).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.1.as_str()).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.2).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    rows.into_iter().map(StoredRow::into_entry).collect()
}

impl StoredRow {
    fn into_entry(self) -> Result<(DeliveryKey, Row), sqlx::Error> {
        let (Some(life), Some(status)) = (Life::parse(&self.life), status_of(&self.status)) else {
            let words = format!("a delivery that is {} and {}", self.life, self.status);
            return Err(sqlx::Error::Decode(words.into()));
        };
        let row = Row {
            channel: self.channel,
            step: self.step,
            created: self.created,
            life,
            status,
            attempt: self.attempt,
            error: self.error,
            position: self.position,
        };
        Ok(((self.tenant, self.user_id, self.notification), row))
    }
}

pub(super) fn status_of(text: &str) -> Option<DeliveryStatus> {
    let all = [
        DeliveryStatus::Pending,
        DeliveryStatus::Delivered,
        DeliveryStatus::DeadLettered,
        DeliveryStatus::Cancelled,
        DeliveryStatus::Expired,
    ];
    all.into_iter().find(|status| status.as_str() == text)
}

type Statement<'q> = Query<'q, Postgres, PgArguments>;
type Entry<'a> = (&'a DeliveryKey, &'a Row);

/// Writes the rows; `checkpoint` is where the checkpoint goes, if it moves.
pub(super) async fn store(
    connection: &mut PgConnection,
    rows: &Rows,
    checkpoint: Option<i64>,
) -> Result<(), sqlx::Error> {
    let (made, moved) = (entries(rows, &rows.made), entries(rows, &rows.moved));
    let statement = if made.is_empty() && moved.is_empty() {
        sqlx::query("UPDATE checkpoint SET position = $1 WHERE $1 IS NOT NULL")
    } else {
        let statement = bind_rows(sqlx::query(STORE), &made)
            .bind(made.iter().map(|(_, row)| row.step).collect::<Vec<_>>())
            .bind(made.iter().map(|(_, row)| row.created).collect::<Vec<_>>());
        bind_rows(statement, &moved)
    };
    statement.bind(checkpoint).execute(connection).await.map(drop)
}

fn entries<'a>(rows: &'a Rows, keys: &'a HashSet<DeliveryKey>) -> Vec<Entry<'a>> {
    let of = |key: &'a DeliveryKey| rows.rows.get(key).into_iter().flatten().map(move |row| (key, row));
    keys.iter().flat_map(of).collect()
}

fn bind_rows<'q>(statement: Statement<'q>, rows: &[Entry<'q>]) -> Statement<'q> {
    statement
        .bind(rows.iter().map(|(key, _)| key.0.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(key, _)| key.1.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(key, _)| key.2).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.channel.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.life.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.status.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.attempt).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.error.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.position).collect::<Vec<_>>())
}
