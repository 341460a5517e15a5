//! Loads the rows a batch touches, and writes what became of them, all of it in one statement with the checkpoint.

use std::collections::HashSet;

use sqlx::PgConnection;
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use tidings_domain::notification::{
    Category, Channel, DeferReason, Delivery, DeliveryStatus, Failure, FailureClass, Priority, SkipReason,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::fold::{DeliveryKey, Life, Row, Rows};

// OFFSET 0 keeps the planner from joining the whole table with the few rows that are wanted.
const LOAD: &str = "
SELECT d.tenant, d.user_id, d.notification, d.channel, d.step, d.created, d.life, d.priority, d.category, d.status,
       d.attempt, d.due_at, d.deadline, d.skipped, d.deferred, d.error_class, d.error, d.position, d.changed_at
  FROM unnest($1::text[], $2::text[], $3::uuid[]) w (tenant, user_id, notification)
 CROSS JOIN LATERAL (SELECT * FROM deliveries d
                      WHERE d.tenant = w.tenant AND d.user_id = w.user_id AND d.notification = w.notification
                     OFFSET 0) d
 ORDER BY d.notification, d.step";

const STORE: &str = "
WITH made AS (
    INSERT INTO deliveries (tenant, user_id, notification, channel, step, created, priority, category, life, status,
                            attempt, due_at, deadline, work_at, skipped, deferred, error_class, error, position,
                            changed_at)
    SELECT tenant, user_id, notification, channel, step, created, priority, category, life, status,
           attempt, due_at, deadline, work_at, skipped, deferred, error_class, error, position, changed_at
      FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::integer[],
                  $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::text[], $12::text[], $13::text[],
                  $14::text[], $15::bigint[], $16::timestamptz[], $17::smallint[], $18::bigint[], $19::smallint[],
                  $20::text[])
           m (tenant, user_id, notification, channel, life, status, attempt, due_at, deadline, work_at, skipped,
              deferred, error_class, error, position, changed_at, step, created, priority, category)
), moved AS (
    UPDATE deliveries d
       SET life = m.life, status = m.status, attempt = m.attempt, due_at = m.due_at, deadline = m.deadline,
           work_at = m.work_at, skipped = m.skipped, deferred = m.deferred, error_class = m.error_class,
           error = m.error, position = m.position, changed_at = m.changed_at
      FROM unnest($21::text[], $22::text[], $23::uuid[], $24::text[], $25::text[], $26::text[], $27::integer[],
                  $28::timestamptz[], $29::timestamptz[], $30::timestamptz[], $31::text[], $32::text[], $33::text[],
                  $34::text[], $35::bigint[], $36::timestamptz[])
           m (tenant, user_id, notification, channel, life, status, attempt, due_at, deadline, work_at, skipped,
              deferred, error_class, error, position, changed_at)
     WHERE (d.tenant, d.user_id, d.notification, d.channel) = (m.tenant, m.user_id, m.notification, m.channel)
)
UPDATE checkpoint SET position = $37 WHERE $37 IS NOT NULL";

#[derive(sqlx::FromRow)]
struct StoredRow {
    tenant: String,
    user_id: String,
    notification: Uuid,
    channel: String,
    step: i16,
    created: i64,
    life: String,
    priority: i16,
    category: Option<String>,
    status: String,
    attempt: i32,
    due_at: Option<OffsetDateTime>,
    deadline: Option<OffsetDateTime>,
    skipped: Option<String>,
    deferred: Option<String>,
    error_class: Option<String>,
    error: Option<String>,
    position: i64,
    changed_at: OffsetDateTime,
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
        let row = self.row().ok_or_else(|| {
            let words = format!("a delivery on {} that is {} and {}", self.channel, self.life, self.status);
            sqlx::Error::Decode(words.into())
        })?;
        Ok(((self.tenant, self.user_id, self.notification), row))
    }

    /// `None` where it says what no fold ever wrote.
    fn row(&self) -> Option<Row> {
        let error = match (&self.error_class, &self.error) {
            (Some(class), Some(detail)) => {
                Some(Failure { class: FailureClass::parse(class)?, detail: detail.clone() })
            }
            _ => None,
        };
        let skipped = match &self.skipped {
            Some(reason) => Some(SkipReason::parse(reason)?),
            None => None,
        };
        let deferred = match &self.deferred {
            Some(reason) => Some(DeferReason::parse(reason)?),
            None => None,
        };
        let category = match &self.category {
            Some(category) => Some(Category::new(category.clone()).ok()?),
            None => None,
        };
        let delivery = Delivery {
            channel: Channel::parse(&self.channel)?,
            attempt: attempt_of(self.attempt),
            status: DeliveryStatus::parse(&self.status)?,
            due_at: self.due_at,
            deadline: self.deadline,
            skipped,
        };
        let life = Life::parse(&self.life)?;
        let priority = Priority::ALL.into_iter().find(|priority| lane(*priority) == self.priority)?;
        Some(Row {
            delivery,
            step: self.step,
            created: self.created,
            life,
            priority,
            category,
            deferred,
            error,
            position: self.position,
            changed_at: self.changed_at,
        })
    }
}

/// As the lane of a priority is stored: the greater, the sooner.
fn lane(priority: Priority) -> i16 {
    priority as i16
}

/// Attempts past the range of the column stay at its end.
fn stored(attempt: u32) -> i32 {
    i32::try_from(attempt).unwrap_or(i32::MAX)
}

fn attempt_of(stored: i32) -> u32 {
    u32::try_from(stored).unwrap_or(1)
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
            .bind(made.iter().map(|(_, row)| row.created).collect::<Vec<_>>())
            .bind(made.iter().map(|(_, row)| lane(row.priority)).collect::<Vec<_>>())
            .bind(
                made.iter().map(|(_, row)| row.category.as_ref().map(Category::as_str)).collect::<Vec<_>>(),
            );
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
        .bind(rows.iter().map(|(_, row)| row.delivery.channel.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.life.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.delivery.status.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| stored(row.delivery.attempt)).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.delivery.due_at).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.delivery.deadline).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.work_at()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.delivery.skipped.map(SkipReason::as_str)).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.deferred.map(DeferReason::as_str)).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| class(row)).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.error.as_ref().map(|e| e.detail.as_str())).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.position).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.changed_at).collect::<Vec<_>>())
}

fn class(row: &Row) -> Option<&'static str> {
    row.error.as_ref().map(|error| error.class.as_str())
}
