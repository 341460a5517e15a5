//! An event as the log holds it: decoded once, shared by every read model of the node.

use cqrs_es::Aggregate;
use cqrs_es::persist::SerializedEvent;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tidings_domain::admission::{self, Admission, AdmissionId};
use tidings_domain::broadcast::{self, Broadcast};
use tidings_domain::digest::{self, DigestId, Window};
use tidings_domain::notification::{self, Notification};
use tidings_domain::recipient::{self, Recipient};
use tidings_domain::schedule::{self, Schedule, ScheduleId};
use tidings_domain::settings::{self, Settings};
use tidings_domain::source::{self, Hook, HookId, Source, SourceId};
use tidings_domain::subscription::{self, Subscription};
use tidings_domain::template::{self, Template};
use tidings_domain::{
    BroadcastId, DecodeError, NotificationId, RecipientId, SettingsId, Stored, SubscriptionId, TemplateId,
};
use time::OffsetDateTime;

use super::Epochs;

#[derive(Clone, Debug)]
pub struct Recorded {
    pub position: i64,
    pub recorded_at: OffsetDateTime,
    pub tenant: String,
    /// The user it concerns, where there is one.
    pub recipient: Option<String>,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    /// Opened and upcast, without secrets: whoever needs those finds them in the fact.
    pub payload: Value,
    /// JSON that nobody here looks into.
    pub metadata: Box<RawValue>,
    /// What the stored payload takes: the measure of a batch.
    pub stored_bytes: usize,
    pub fact: Fact,
}

/// The event in the domain's own types.
#[derive(Clone, Debug)]
pub enum Fact {
    Notification(NotificationId, notification::Event),
    Recipient(RecipientId, recipient::Event),
    Template(TemplateId, template::Event),
    Subscription(SubscriptionId, subscription::Event),
    Settings(SettingsId, settings::Event),
    Broadcast(BroadcastId, broadcast::Event),
    Source(SourceId, source::Event),
    Hook(HookId, Hook),
    Admission(AdmissionId, admission::Event),
    Schedule(ScheduleId, schedule::Event),
    Digest(DigestId, digest::Event),
    /// What is stored cannot be read: a broken seal, a payload that is not what its version says.
    Unreadable(String),
}

impl Fact {
    /// An event as the framework serialised it a moment ago, its name still inside the payload.
    pub fn of_serialized(event: &SerializedEvent) -> Result<Self, DecodeError> {
        let SerializedEvent { aggregate_type, aggregate_id, event_type, event_version, payload, .. } = event;
        Self::decode(aggregate_type, aggregate_id, event_type, event_version, payload)
    }

    /// An aggregate or event this binary does not know is an error: a newer node wrote it, and skipping it
    /// would make every read model wrong.
    pub fn decode(
        aggregate_type: &str,
        aggregate_id: &str,
        event_type: &str,
        event_version: &str,
        payload: &Value,
    ) -> Result<Self, DecodeError> {
        let unknown = |_| DecodeError::unknown(event_type, event_version);
        if aggregate_type == Notification::TYPE {
            let id = aggregate_id.parse().map_err(unknown)?;
            Ok(Self::Notification(id, Stored::decode(event_type, event_version, payload)?))
        } else if aggregate_type == Recipient::TYPE {
            let id = aggregate_id.parse().map_err(unknown)?;
            Ok(Self::Recipient(id, Stored::decode(event_type, event_version, payload)?))
        } else if aggregate_type == Template::TYPE {
            let id = aggregate_id.parse().map_err(unknown)?;
            Ok(Self::Template(id, Stored::decode(event_type, event_version, payload)?))
        } else if aggregate_type == Subscription::TYPE {
            let id = aggregate_id.parse().map_err(unknown)?;
            Ok(Self::Subscription(id, Stored::decode(event_type, event_version, payload)?))
        } else if aggregate_type == Settings::TYPE {
            let id = aggregate_id.parse().map_err(unknown)?;
            Ok(Self::Settings(id, Stored::decode(event_type, event_version, payload)?))
        } else if aggregate_type == Broadcast::TYPE {
            let id = aggregate_id.parse().map_err(unknown)?;
            Ok(Self::Broadcast(id, Stored::decode(event_type, event_version, payload)?))
        } else if aggregate_type == Source::TYPE {
            let id = aggregate_id.parse().map_err(unknown)?;
            Ok(Self::Source(id, Stored::decode(event_type, event_version, payload)?))
        } else if aggregate_type == Hook::TYPE {
            let id = aggregate_id.parse().map_err(unknown)?;
            Ok(Self::Hook(id, Stored::decode(event_type, event_version, payload)?))
        } else if aggregate_type == Admission::TYPE {
            let id = aggregate_id.parse().map_err(unknown)?;
            Ok(Self::Admission(id, Stored::decode(event_type, event_version, payload)?))
        } else if aggregate_type == Schedule::TYPE {
            let id = aggregate_id.parse().map_err(unknown)?;
            Ok(Self::Schedule(id, Stored::decode(event_type, event_version, payload)?))
        } else if aggregate_type == Window::TYPE {
            let id = aggregate_id.parse().map_err(unknown)?;
            Ok(Self::Digest(id, Stored::decode(event_type, event_version, payload)?))
        } else {
            Err(DecodeError::unknown(event_type, event_version))
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("position {position} cannot be read: {why}")]
pub struct Unreadable {
    pub position: i64,
    pub why: String,
}

/// The event as the API lists it and the stream carries it.
#[derive(Serialize)]
struct Envelope<'a> {
    cursor: String,
    r#type: &'a str,
    aggregate_type: &'a str,
    aggregate_id: &'a str,
    sequence: i64,
    recorded_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    data: &'a Value,
    metadata: &'a RawValue,
}

impl Recorded {
    /// The notification's id and what happened to it; `None` of another aggregate. The error says why that cannot be
    /// read.
    pub fn notification(&self) -> Result<Option<(NotificationId, &notification::Event)>, Unreadable> {
        match &self.fact {
            Fact::Notification(id, event) => Ok(Some((*id, event))),
            Fact::Recipient(..)
            | Fact::Template(..)
            | Fact::Subscription(..)
            | Fact::Settings(..)
            | Fact::Broadcast(..)
            | Fact::Source(..)
            | Fact::Hook(..)
            | Fact::Admission(..)
            | Fact::Schedule(..)
            | Fact::Digest(..) => Ok(None),
            Fact::Unreadable(why) => Err(Unreadable { position: self.position, why: why.clone() }),
        }
    }

    /// The event as JSON, the same in `/v1/events` and in the stream.
    pub fn to_json(&self, epochs: &Epochs) -> String {
        let envelope = Envelope {
            cursor: epochs.cursor(self.position).to_string(),
            r#type: &self.event_type,
            aggregate_type: &self.aggregate_type,
            aggregate_id: &self.aggregate_id,
            sequence: self.sequence,
            recorded_at: crate::inbox::rfc3339(self.recorded_at),
            user_id: self.recipient.as_deref(),
            data: &self.payload,
            metadata: &self.metadata,
        };
        serde_json::to_string(&envelope).expect("strings and JSON values always serialise")
    }
}
