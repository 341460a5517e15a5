//! One call of `log_append`: jobs in, verdicts out. Knows the SQL function and nothing of queues.

use serde::Deserialize;
use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::job::{Answer, Job};

/// What a call decided, job by job in the order given.
pub struct Outcome {
    /// The position of the first event that was added.
    pub first_position: i64,
    pub recorded_at: OffsetDateTime,
    pub epoch: i64,
    pub verdicts: Vec<Verdict>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Added,
    Conflict,
    /// In the log already, from a call whose answer was lost.
    AlreadyStored {
        position: i64,
    },
    Replayed(Answer),
}

#[derive(Deserialize)]
struct Loser {
    job: usize,
    verdict: LoserVerdict,
    position: Option<i64>,
    request_hash: Option<String>,
    status: Option<i16>,
    result: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum LoserVerdict {
    Conflict,
    Stored,
    Replayed,
}

impl Loser {
    fn into_verdict(self) -> Verdict {
        let position = self.position.unwrap_or_default();
        match self.verdict {
            LoserVerdict::Conflict => Verdict::Conflict,
            LoserVerdict::Stored => Verdict::AlreadyStored { position },
            LoserVerdict::Replayed => Verdict::Replayed(Answer {
                request_hash: self.request_hash.and_then(|h| hex::decode(h).ok()).unwrap_or_default(),
                status: self.status.unwrap_or_default(),
                result: self.result.unwrap_or_default(),
                position,
            }),
        }
    }
}

/// The columns of the call's arrays, filled job by job. Jobs are counted from 1, as SQL arrays are.
#[derive(Default)]
struct Columns<'a> {
    command_ids: Vec<Uuid>,
    heads: (Vec<i32>, Vec<&'a str>, Vec<&'a str>, Vec<i64>),
    job: Vec<i32>,
    aggregate_type: Vec<&'a str>,
    aggregate_id: Vec<&'a str>,
    sequence: Vec<i64>,
    event_type: Vec<&'a str>,
    event_version: Vec<&'a str>,
    payload: Vec<&'a str>,
    metadata: Vec<&'a str>,
    tenant: Vec<&'a str>,
    recipient: Vec<Option<&'a str>>,
    key_job: Vec<i32>,
    key: (Vec<&'a str>, Vec<&'a str>, Vec<&'a str>, Vec<i32>),
    key_hash: Vec<&'a [u8]>,
    key_status: Vec<i16>,
    key_result: Vec<String>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, job: &'a Job) {
        self.command_ids.push(job.command_id);
        let number = self.command_ids.len() as i32;
        let mut previous = None;
        for event in &job.events {
            let open = &event.open;
            if previous != Some(&open.aggregate_id) {
                self.heads.0.push(number);
                self.heads.1.push(&open.aggregate_type);
                self.heads.2.push(&open.aggregate_id);
                self.heads.3.push(open.sequence);
            }
            previous = Some(&open.aggregate_id);
            self.job.push(number);
            self.aggregate_type.push(&open.aggregate_type);
            self.aggregate_id.push(&open.aggregate_id);
            self.sequence.push(open.sequence);
            self.event_type.push(&open.event_type);
            self.event_version.push(&open.event_version);
            self.payload.push(&event.stored_payload);
            self.metadata.push(event.open.metadata.get());
            self.tenant.push(&open.tenant);
            self.recipient.push(open.recipient.as_deref());
        }
        let Some(record) = &job.record else { return };
        for key in std::iter::once(&record.key).chain(&record.alias) {
            self.key_job.push(number);
            self.key.0.push(&record.tenant);
            self.key.1.push(&record.principal);
            self.key.2.push(key);
            self.key.3.push(record.part);
            self.key_hash.push(&record.request_hash);
            self.key_status.push(record.status);
            self.key_result.push(record.result.to_string());
        }
    }
}

const APPEND: &str = "
SELECT first_position, recorded_at, epoch, losers
  FROM log_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
                  $17, $18, $19, $20, $21, $22, $23, $24)";

/// Appends `jobs`, which touch each aggregate and each key at most once. After a lost connection,
/// `uncertain_since` is the head known before the call that was lost.
pub async fn append(
    connection: &mut PgConnection,
    jobs: impl Iterator<Item = &Job>,
    uncertain_since: Option<i64>,
) -> Result<Outcome, sqlx::Error> {
    let mut columns = Columns::default();
    jobs.for_each(|job| columns.push(job));
    let count = columns.command_ids.len();
    let (first_position, recorded_at, epoch, losers): (i64, OffsetDateTime, i64, Option<Value>) =
        sqlx::query_as(APPEND)
            .bind(columns.command_ids)
            .bind(uncertain_since)
            .bind(columns.heads.0)
            .bind(columns.heads.1)
            .bind(columns.heads.2)
            .bind(columns.heads.3)
            .bind(columns.job)
            .bind(columns.aggregate_type)
            .bind(columns.aggregate_id)
            .bind(columns.sequence)
            .bind(columns.event_type)
            .bind(columns.event_version)
            .bind(columns.payload)
            .bind(columns.metadata)
            .bind(columns.tenant)
            .bind(columns.recipient)
            .bind(columns.key_job)
            .bind(columns.key.0)
            .bind(columns.key.1)
            .bind(columns.key.2)
            .bind(columns.key.3)
            .bind(columns.key_hash)
            .bind(columns.key_status)
            .bind(columns.key_result)
            .fetch_one(connection)
            .await?;
    let mut verdicts = vec![Verdict::Added; count];
    if let Some(losers) = losers {
        let losers: Vec<Loser> =
            serde_json::from_value(losers).map_err(|error| sqlx::Error::Decode(error.into()))?;
        for loser in losers {
            if let Some(verdict) = verdicts.get_mut(loser.job.wrapping_sub(1)) {
                *verdict = loser.into_verdict();
            }
        }
    }
    Ok(Outcome { first_position, recorded_at, epoch, verdicts })
}
