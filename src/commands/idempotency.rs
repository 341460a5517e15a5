//! One effect per `Idempotency-Key`, for ever: answers are stored with the events they speak of, and looked up
//! before anything is decided. The append probes again under the head lock, so a race has one winner.

use std::collections::HashMap;
use std::fmt::Display;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{CommandError, Commands, Context, DEADLINE, Done};
use crate::auth::Principal;
use crate::log::{Answer, Record};

/// The member of a stored answer that says that a digest took up what was asked for.
pub(super) const COLLECTED: &str = "collected";

/// A key as one request presents it.
#[derive(Clone, Debug)]
pub struct Idempotency {
    pub key: String,
    /// What else makes a request the same.
    pub alias: Option<String>,
    pub request_hash: [u8; 32],
}

impl Idempotency {
    /// The hash covers all that makes two requests the same: method, path and body.
    pub fn new(key: String, method: &str, path: &str, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        for part in [method.as_bytes(), path.as_bytes()] {
            hash.update(part);
            hash.update(b"\n");
        }
        hash.update(body);
        Self { key, alias: None, request_hash: hash.finalize().into() }
    }

    /// The key of one item of a request that does not say which items it is about. No key that a client can send
    /// has a line break in it.
    pub(super) fn of_item(&self, item: impl Display) -> Self {
        Self {
            key: format!(
                "{}
{item}",
                self.key
            ),
            alias: None,
            request_hash: self.request_hash,
        }
    }

    pub(super) fn record(&self, principal: &Principal, part: i32, status: i16, result: Value) -> Record {
        Record {
            tenant: principal.tenant().to_string(),
            principal: principal.idempotency_scope(),
            key: self.key.clone(),
            alias: self.alias.clone(),
            part,
            request_hash: self.request_hash,
            status,
            result,
        }
    }

    pub(super) fn check(&self, answer: &Answer) -> Result<(), CommandError> {
        if answer.request_hash == self.request_hash { Ok(()) } else { Err(CommandError::KeyReused) }
    }
}

impl Context {
    /// Fails where the answer is that of another request with this key.
    pub(super) fn check(&self, answer: &Answer) -> Result<(), CommandError> {
        self.idempotency.as_ref().map_or(Ok(()), |key| key.check(answer))
    }

    /// What an earlier request did to a notification.
    pub(super) fn replayed(&self, answer: &Answer) -> Result<Done, CommandError> {
        self.check(answer)?;
        let id = serde_json::from_value(answer.result["id"].clone());
        let id = id.map_err(|error| CommandError::Fault(format!("a stored answer is damaged: {error}")))?;
        let collected = answer.result[COLLECTED].as_bool().unwrap_or_default();
        Ok(Done { id, position: answer.position, replayed: true, collected })
    }
}

type AnswerRow = (i32, Vec<u8>, i16, Value, i64);

impl Commands {
    /// The answer an earlier request with this key got, if there was one.
    pub(super) async fn first_answer(&self, context: &Context) -> Result<Option<Answer>, CommandError> {
        if context.idempotency.is_none() {
            return Ok(None);
        }
        Ok(self.answers(context, 0..=0).await?.remove(&0))
    }

    /// The answer that an earlier request got which is the same for another reason than its key.
    pub(super) async fn first_answer_by_alias(
        &self,
        context: &Context,
    ) -> Result<Option<Answer>, CommandError> {
        let Some(idempotency) = &context.idempotency else { return Ok(None) };
        let Some(key) = idempotency.alias.clone() else { return Ok(None) };
        let idempotency = Some(Idempotency { key, alias: None, ..idempotency.clone() });
        self.first_answer(&Context { idempotency, ..context.clone() }).await
    }

    /// What an earlier request with this key came to, for one that would be refused now.
    pub async fn earlier(&self, context: &Context) -> Result<Option<Done>, CommandError> {
        self.first_answer(context).await?.map(|answer| context.replayed(&answer)).transpose()
    }

    /// The same of a batch, by part.
    pub async fn earlier_of_batch(
        &self,
        context: &Context,
        items: usize,
    ) -> Result<HashMap<i32, Done>, CommandError> {
        let last = i32::try_from(items).unwrap_or(i32::MAX);
        let answers = self.answers(context, 1..=last).await?.into_iter();
        answers.map(|(part, answer)| Ok((part, context.replayed(&answer)?))).collect()
    }

    /// The stored answers of a range of parts, by part.
    pub(super) async fn answers(
        &self,
        context: &Context,
        parts: std::ops::RangeInclusive<i32>,
    ) -> Result<HashMap<i32, Answer>, CommandError> {
        let Some(key) = &context.idempotency else { return Ok(HashMap::new()) };
        let rows = sqlx::query_as(
            "SELECT part, request_hash, status, result, position FROM idempotency
              WHERE tenant = $1 AND principal = $2 AND key = $3 AND part BETWEEN $4 AND $5",
        )
        .bind(context.principal.tenant().as_str())
        .bind(context.principal.idempotency_scope())
        .bind(&key.key)
        .bind(parts.start())
        .bind(parts.end())
        .fetch_all(&self.pool);
        let rows: Vec<AnswerRow> =
            tokio::time::timeout(DEADLINE, rows).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        let answer = |(part, request_hash, status, result, position)| {
            (part, Answer { request_hash, status, result, position })
        };
        Ok(rows.into_iter().map(answer).collect())
    }

    /// How many items requests with this key have changed so far; `None` without a key.
    pub(super) async fn count_changed(&self, context: &Context) -> Result<Option<u64>, CommandError> {
        let Some(key) = &context.idempotency else { return Ok(None) };
        let marked: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM idempotency
              WHERE tenant = $1 AND principal = $2 AND key > $3 || E'\\n' AND key < $3 || E'\\x0b'
                AND (result ->> 'changed')::boolean",
        )
        .bind(context.principal.tenant().as_str())
        .bind(context.principal.idempotency_scope())
        .bind(&key.key)
        .fetch_one(&self.pool)
        .await?;
        Ok(Some(marked.cast_unsigned()))
    }
}
