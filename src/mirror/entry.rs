//! One entry of the stream, a public contract: other services may read it with consumer groups.
//!
//! Fields: `epoch` and `generation` (first, always), `tenant`, `type`, `event` (the envelope as `/v1/events` lists it), and
//! where the event concerns a user `user_id`; where it changed his inbox also `unread`, `unseen`, `item`, and
//! `recorded_at_us`, the envelope's `recorded_at` in Unix microseconds. `traceparent` (W3C) is there where the event is part of a trace
//! that is sampled. An item that is a template's has `template` (key, version and arguments) instead of its words: each node
//! makes them for those who read there.

use redis::ScriptInvocation;
use redis::streams::StreamId;
use tidings_projections::inbox::{Counts, Folded};
use tidings_projections::log::Epochs;
use time::OffsetDateTime;

use crate::telemetry::traces::{TRACEPARENT, Trace};

/// Which history an entry belongs to, and which reading of it: the epoch of the log, and the generation of the inbox
/// that its counts and item come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub epoch: i64,
    pub generation: i64,
}

/// What live inboxes need of an entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub position: i64,
    pub tenant: String,
    pub event_type: String,
    pub user_id: Option<String>,
    /// The aggregate, where it is none of the notifications: what nodes remember of it is over.
    pub aggregate_id: Option<String>,
    /// When the event was committed; not known of what an older node wrote.
    pub recorded_at: Option<OffsetDateTime>,
    pub changed: Option<Changed>,
    /// The append that it came with, where that is traced.
    pub trace: Option<Trace>,
}

/// What the event altered in its user's inbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    pub counts: Counts,
    /// The item after the change, as JSON.
    pub item: String,
}

impl Entry {
    /// Where nobody traces, `traced` is false, and nobody looks for a trace.
    pub fn new(folded: &Folded, epochs: &Epochs, traced: bool) -> Self {
        let event = &folded.event;
        Self {
            position: event.position,
            tenant: event.tenant.clone(),
            event_type: event.event_type.clone(),
            user_id: event.recipient.clone(),
            aggregate_id: (!of_notification(&event.event_type)).then(|| event.aggregate_id.clone()),
            recorded_at: Some(event.recorded_at),
            trace: if traced { Trace::of_metadata(event.metadata.get()) } else { None },
            changed: folded.change.as_ref().map(|change| Changed {
                counts: change.counts,
                item: change.item.to_json(epochs.cursor(event.position)),
            }),
        }
    }

    /// The entry with its version; `None` for something that Tidings did not write.
    pub fn parse(id: &StreamId) -> Option<(Version, Self)> {
        let position = id.id.strip_suffix("-0")?.parse().ok()?;
        let changed = match id.get("item") {
            Some(item) => Some(Changed {
                counts: Counts { unread: id.get("unread")?, unseen: id.get("unseen")? },
                item,
            }),
            None => None,
        };
        let (tenant, event_type): (String, String) = (id.get("tenant")?, id.get("type")?);
        let user_id = id.get("user_id");
        let aggregate_id = if of_notification(&event_type) { None } else { aggregate_of(id) };
        let version = Version { epoch: id.get("epoch")?, generation: id.get("generation")? };
        let recorded_at = id.get("recorded_at_us").and_then(from_unix_us);
        let trace = id.get::<String>(TRACEPARENT).and_then(|text| Trace::parse(&text));
        Some((
            version,
            Self { position, tenant, event_type, user_id, aggregate_id, recorded_at, changed, trace },
        ))
    }

    /// Adds the entry to the call of `append.lua`: how many words follow, then names and values in turn.
    /// `envelope` is the event as JSON.
    pub fn add_to(&self, call: &mut ScriptInvocation<'_>, version: Version, envelope: &str) {
        let recorded_at_us = self.recorded_at.filter(|_| self.changed.is_some()).map(unix_us);
        let optional = usize::from(self.user_id.is_some())
            + 3 * usize::from(self.changed.is_some())
            + usize::from(recorded_at_us.is_some())
            + usize::from(self.trace.is_some());
        call.arg(2 * (5 + optional));
        call.arg("epoch").arg(version.epoch).arg("generation").arg(version.generation);
        call.arg("tenant").arg(&self.tenant);
        call.arg("type").arg(&self.event_type).arg("event").arg(envelope);
        if let Some(user_id) = &self.user_id {
            call.arg("user_id").arg(user_id);
        }
        if let Some(Changed { counts, item }) = &self.changed {
            call.arg("unread").arg(counts.unread).arg("unseen").arg(counts.unseen).arg("item").arg(item);
        }
        if let Some(recorded_at_us) = recorded_at_us {
            call.arg("recorded_at_us").arg(recorded_at_us);
        }
        if let Some(trace) = self.trace {
            call.arg(TRACEPARENT).arg(trace.to_string());
        }
    }
}

fn of_notification(event_type: &str) -> bool {
    event_type.starts_with("notification.") || event_type.starts_with("delivery.")
}

/// As the envelope names it; few events have it looked into.
fn aggregate_of(id: &StreamId) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Envelope {
        aggregate_id: String,
    }
    serde_json::from_str::<Envelope>(&id.get::<String>("event")?).ok().map(|envelope| envelope.aggregate_id)
}

fn unix_us(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

fn from_unix_us(us: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1_000).ok()
}
