//! Reading what older versions wrote: one upcaster per (event, older version), applied by every reader.
//!
//! Each lifts a payload to the version after it; they run in order, so that any stored version arrives at
//! the one [`crate::notification::Event`] knows.

use cqrs_es::persist::{EventUpcaster, SemanticVersionEventUpcaster, SerializedEvent};
use serde_json::{Value, json};

/// All upcasters, oldest first.
pub fn upcasters() -> Vec<Box<dyn EventUpcaster>> {
    vec![Box::new(SemanticVersionEventUpcaster::new(
        "delivery.failed",
        "2.0.0",
        Box::new(delivery_failed_error_has_a_class),
    ))]
}

/// Lifts one stored event to the version this binary knows.
pub fn upcast(upcasters: &[Box<dyn EventUpcaster>], event: SerializedEvent) -> SerializedEvent {
    upcasters.iter().fold(event, |event, upcaster| {
        if upcaster.can_upcast(&event.event_type, &event.event_version) {
            upcaster.upcast(event)
        } else {
            event
        }
    })
}

/// 1.0.0 said `"error": "text"`, and only services reported failures then.
fn delivery_failed_error_has_a_class(mut payload: Value) -> Value {
    if let Some(error) = payload.get_mut("error")
        && let Some(detail) = error.as_str()
    {
        *error = json!({"class": "reported", "detail": detail});
    }
    payload
}
