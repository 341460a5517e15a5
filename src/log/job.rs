//! The unit of append: events of one or more aggregates and at most one idempotency record, all or nothing.

use std::sync::Arc;

use cqrs_es::persist::SerializedEvent;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use tidings_domain::SECRET_MEMBER;
use tidings_projections::log::codec::{CodecError, Place, seal_with};
use tidings_projections::log::{Codec, Fact, Outage, RecipientKey, Recorded};
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

/// Which queue a job waits in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lane {
    /// A single command: somebody waits for it.
    #[default]
    Single,
    /// Bulk work: batches, fan-out, timers. Appended in small calls that singles overtake.
    Bulk,
}

pub struct Job {
    /// In the metadata of every event of the job; finds it again when a connection was lost mid-call.
    pub command_id: Uuid,
    /// The epoch in which it was made: a later one may not have the keys that its content is sealed with.
    pub epoch: i64,
    pub events: Vec<JobEvent>,
    pub record: Option<Record>,
    /// Past this instant it is dropped if it was not sent, and unresolved if it was.
    pub deadline: Instant,
}

/// What a later request with the same `Idempotency-Key` is answered.
#[derive(Clone, Debug)]
pub struct Record {
    pub tenant: String,
    pub principal: String,
    pub key: String,
    /// The same under another key: whichever is met first answers.
    pub alias: Option<String>,
    pub part: i32,
    pub request_hash: [u8; 32],
    pub status: i16,
    /// The answer without its cursor.
    pub result: Value,
}

impl Record {
    /// Each key that it is found under, with whose it is.
    pub fn keys(&self) -> impl Iterator<Item = (String, String, String, i32)> {
        let keys = std::iter::once(&self.key).chain(&self.alias);
        keys.map(|key| (self.tenant.clone(), self.principal.clone(), key.clone(), self.part))
    }
}

/// An event ready to append: open for this node's readers, sealed for the table.
pub struct JobEvent {
    pub open: Recorded,
    pub stored_payload: String,
}

impl JobEvent {
    /// Seals a serialised event; `fact` is the same event in the domain's own types. Its place in the log is
    /// filled in when it has one.
    pub async fn prepare(
        codec: &Codec,
        event: &SerializedEvent,
        fact: Fact,
        tenant: &str,
        recipient: Option<&str>,
    ) -> Result<Self, CodecError> {
        let members = members(event);
        let stored_payload = codec.seal(place(event), tenant, recipient, &members).await?;
        let metadata = to_raw_value(&event.metadata).expect("a JSON value always serialises");
        let whose = (tenant, recipient);
        Ok(Self::new(event, fact, whose, metadata, members, stored_payload))
    }

    /// The same with the key at hand, and metadata that many events share.
    pub fn seal(
        key: &RecipientKey,
        event: &SerializedEvent,
        fact: Fact,
        whose: (&str, Option<&str>),
        metadata: &RawValue,
    ) -> Self {
        let members = members(event);
        let stored_payload = seal_with(Some(key), place(event), &members);
        Self::new(event, fact, whose, metadata.to_owned(), members, stored_payload)
    }

    fn new(
        event: &SerializedEvent,
        fact: Fact,
        (tenant, recipient): (&str, Option<&str>),
        metadata: Box<RawValue>,
        mut members: Map<String, Value>,
        stored_payload: String,
    ) -> Self {
        members.shift_remove(SECRET_MEMBER);
        Self {
            open: Recorded {
                position: 0,
                recorded_at: OffsetDateTime::UNIX_EPOCH,
                tenant: tenant.to_owned(),
                recipient: recipient.map(str::to_owned),
                aggregate_type: event.aggregate_type.clone(),
                aggregate_id: event.aggregate_id.clone(),
                sequence: event.sequence as i64,
                event_type: event.event_type.clone(),
                event_version: event.event_version.clone(),
                payload: Value::Object(members),
                metadata,
                stored_bytes: stored_payload.len(),
                fact,
            },
            stored_payload,
        }
    }

    pub fn recorded(self, position: i64, recorded_at: OffsetDateTime) -> Arc<Recorded> {
        Arc::new(Recorded { position, recorded_at, ..self.open })
    }
}

fn members(event: &SerializedEvent) -> Map<String, Value> {
    let mut members = event.payload.as_object().cloned().unwrap_or_default();
    // The name is a column already.
    members.shift_remove("type");
    members
}

fn place(event: &SerializedEvent) -> Place<'_> {
    Place {
        aggregate_id: &event.aggregate_id,
        sequence: event.sequence as i64,
        event_type: &event.event_type,
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Appended {
    /// Committed; a job without events gets the head it met.
    Stored { position: i64 },
    /// Another request with the same idempotency key was first: its answer counts.
    Replayed(Answer),
}

/// A stored answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub request_hash: Vec<u8>,
    pub status: i16,
    pub result: Value,
    pub position: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Another job reached an aggregate first, or a new epoch began: load anew and decide again.
    #[error("another command changed the aggregate first")]
    Conflict,
    /// The queue is full; nothing was done.
    #[error("the append queue is full")]
    Busy,
    /// Not sent before its deadline; nothing was done.
    #[error("the log could not be reached in time")]
    Expired,
    /// The stream shows a later history than this node's database has: what is appended here could be lost.
    #[error("this node's database is behind the history that others have seen")]
    DatabaseBehind,
    /// Sent, and the answer was lost: it may or may not be in the log.
    #[error("the log was lost before it answered")]
    OutcomeUnknown,
    /// The database refuses this job's data; all others of its batch went on.
    #[error("the log refuses the data: {0}")]
    Refused(String),
}

impl Outage for AppendError {
    fn is_outage(&self) -> bool {
        match self {
            Self::Conflict | Self::Busy | Self::Expired | Self::DatabaseBehind | Self::OutcomeUnknown => true,
            Self::Refused(_) => false,
        }
    }
}
