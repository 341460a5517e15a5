//! What `decode` refuses, and how it says whose turn it is: a newer binary's, or a person's.

use cqrs_es::persist::SerializedEvent;
use serde_json::{Value, json};

use crate::notification::Event;
use crate::upcast::{upcast, upcasters};
use crate::{DecodeError, Stored};

use super::samples::*;

fn stored(name: &str, version: &str, payload: Value) -> SerializedEvent {
    let (id, kind) = (String::new(), "notification".to_owned());
    SerializedEvent::new(id, 1, kind, name.into(), version.into(), payload, json!({}))
}

#[track_caller]
fn assert_unknown(name: &str, version: &str, payload: Value) {
    match Event::decode(name, version, &payload) {
        Err(DecodeError::Unknown { name: of, version: at }) => {
            assert_eq!((of.as_str(), at.as_str()), (name, version))
        }
        other => panic!("expected an unknown event, got {other:?}"),
    }
}

#[track_caller]
fn assert_malformed(name: &str, version: &str, payload: Value) {
    match Event::decode(name, version, &payload) {
        Err(DecodeError::Malformed { name: of, version: at, .. }) => {
            assert_eq!((of.as_str(), at.as_str()), (name, version))
        }
        other => panic!("expected a malformed event, got {other:?}"),
    }
}

fn minimal_created() -> Value {
    json!({
        "tenant": "acme",
        "user_id": "ada",
        "content": {"title": "Invoice 42", "body": "It is due."},
        "priority": "normal",
        "plan": [{"channel": "in_app"}],
    })
}

#[test]
fn an_unknown_name_is_left_to_a_newer_binary() {
    assert_unknown("notification.folded", "1.0.0", json!({}));
    assert_unknown("", "1.0.0", json!({}));
    assert_unknown("Notification.Read", "1.0.0", json!({}));
    assert_eq!(Event::version_of("notification.folded"), None);
}

#[test]
fn a_newer_version_is_left_to_a_newer_binary() {
    for event in one_event_of_each_kind() {
        assert_unknown(event.name(), "3.0.0", json!({}));
        assert_unknown(event.name(), "2.0.1", json!({}));
    }
}

#[test]
fn a_version_must_be_lifted_before_it_is_decoded() {
    let payload = json!({"channel": "in_app", "attempt": 1, "error": "no device"});
    assert_unknown("delivery.failed", "1.0.0", payload);
}

#[test]
fn a_version_is_compared_by_its_whole_text() {
    assert_unknown("notification.read", "1", json!({}));
    assert_unknown("notification.read", "", json!({}));
}

#[test]
fn a_payload_that_is_not_an_object_is_malformed() {
    for payload in [json!(null), json!([]), json!("read"), json!(1)] {
        assert_malformed("notification.read", "1.0.0", payload);
    }
}

#[test]
fn a_payload_without_a_required_member_is_malformed() {
    assert_malformed("notification.created", "1.0.0", json!({}));
    assert_malformed("notification.snoozed", "1.0.0", json!({}));
    assert_malformed("delivery.succeeded", "1.0.0", json!({"channel": "in_app"}));
    for member in ["tenant", "user_id", "priority", "plan"] {
        let mut payload = minimal_created();
        payload.as_object_mut().unwrap().remove(member);
        assert_malformed("notification.created", "1.0.0", payload);
    }
}

#[test]
fn a_member_of_the_wrong_kind_is_malformed() {
    assert_malformed("notification.snoozed", "1.0.0", json!({"until": "tomorrow"}));
    assert_malformed("delivery.succeeded", "1.0.0", json!({"channel": "pigeon", "attempt": 1}));
    assert_malformed("delivery.succeeded", "1.0.0", json!({"channel": "in_app", "attempt": -1}));
    assert_malformed("delivery.failed", "2.0.0", json!({"channel": "in_app", "attempt": 1, "error": "text"}));
    for (member, wrong) in [
        ("tenant", json!("ACME")),
        ("user_id", json!("")),
        ("content", json!("sealed")),
        ("priority", json!("Urgent")),
        ("deliver_at", json!(1_785_574_800)),
    ] {
        let mut payload = minimal_created();
        payload[member] = wrong;
        assert_malformed("notification.created", "1.0.0", payload);
    }
}

#[test]
fn the_column_names_the_event_and_a_type_member_does_not() {
    let payload = json!({"type": "notification.cancelled"});
    let decoded = Event::decode("notification.read", "1.0.0", &payload).unwrap();
    assert_eq!(decoded, Event::Read {});
}

#[test]
fn a_created_event_whose_words_were_forgotten_decodes() {
    let mut payload = minimal_created();
    payload.as_object_mut().unwrap().remove("content");
    let Event::Created(created) = Event::decode("notification.created", "1.0.0", &payload).unwrap() else {
        panic!("the column says it was created")
    };
    assert_eq!((created.content, created.data), (None, None));
    assert_eq!((created.tenant, created.user_id), (tenant("acme"), user("ada")));
}

#[test]
fn upcasting_stops_at_the_version_this_binary_writes() {
    let lifted = json!({"channel": "in_app", "attempt": 1, "error": {"class": "reported", "detail": "x"}});
    for version in ["2.0.0", "2.1.0", "3.0.0"] {
        let event = stored("delivery.failed", version, lifted.clone());
        assert_eq!(upcast(&upcasters(), event.clone()), event);
    }
}

#[test]
fn upcasting_leaves_other_events_alone() {
    let event = stored("delivery.faked", "1.0.0", json!({"error": "no device"}));
    assert_eq!(upcast(&upcasters(), event.clone()), event);
}

#[test]
fn an_upcast_does_not_heal_a_malformed_payload() {
    for payload in [json!({}), json!([]), json!({"channel": "in_app", "attempt": 1, "error": 5})] {
        let event = upcast(&upcasters(), stored("delivery.failed", "1.0.0", payload));
        assert_malformed(&event.event_type, &event.event_version, event.payload);
    }
}

#[test]
fn every_upcaster_arrives_at_the_version_this_binary_writes() {
    for event in one_event_of_each_kind() {
        let current = Event::version_of(event.name()).unwrap();
        let lifted = upcast(&upcasters(), stored(event.name(), "0.0.1", json!({})));
        let untouched = lifted.event_version == "0.0.1";
        assert!(untouched || lifted.event_version == current, "{} ends at {lifted:?}", event.name());
    }
}

#[test]
fn a_decode_error_names_the_event_and_its_version() {
    let unknown = Event::decode("notification.folded", "1.0.0", &json!({})).unwrap_err();
    assert_eq!(unknown.to_string(), "event notification.folded of version 1.0.0 is unknown to this binary");
    let malformed = Event::decode("notification.snoozed", "1.0.0", &json!({})).unwrap_err();
    // Not the reason: it may quote what the payload says, and ends up in logs.
    assert_eq!(malformed.to_string(), "event notification.snoozed of version 1.0.0 is malformed");
}
