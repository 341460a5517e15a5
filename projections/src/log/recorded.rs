//! An event as the log holds it: decoded once, shared by every read model of the node.

use serde_json::{Value, json};
use tidings_domain::NotificationId;
use tidings_domain::notification::{DecodeError, Event, Notification};
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
    /// Opened and upcast.
    pub payload: Value,
    pub metadata: Value,
    pub fact: Fact,
}

/// The event in the domain's own types.
#[derive(Clone, Debug)]
pub enum Fact {
    Notification(NotificationId, Event),
}

impl Fact {
    /// An aggregate or event this binary does not know is an error: a newer node wrote it, and skipping it
    /// would make every read model wrong.
    pub fn decode(
        aggregate_type: &str,
        aggregate_id: &str,
        event_type: &str,
        event_version: &str,
        payload: &Value,
    ) -> Result<Self, DecodeError> {
        let unknown = || DecodeError::Unknown { name: event_type.into(), version: event_version.into() };
        if aggregate_type != <Notification as cqrs_es::Aggregate>::TYPE {
            return Err(unknown());
        }
        let id = aggregate_id.parse().map_err(|_| unknown())?;
        Ok(Self::Notification(id, Event::decode(event_type, event_version, payload.clone())?))
    }
}

impl Recorded {
    /// The event as the API lists it and the stream carries it.
    pub fn envelope(&self, epochs: &Epochs) -> Value {
        let mut envelope = json!({
            "cursor": epochs.cursor(self.position).to_string(),
            "type": self.event_type,
            "aggregate_type": self.aggregate_type,
            "aggregate_id": self.aggregate_id,
            "sequence": self.sequence,
            "recorded_at": crate::inbox::rfc3339(self.recorded_at),
            "data": self.payload,
            "metadata": self.metadata,
        });
        if let Some(user) = &self.recipient {
            envelope["user_id"] = user.as_str().into();
        }
        envelope
    }
}
