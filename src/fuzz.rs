//! Where strangers' bytes come in, for the fuzz targets of `fuzz/`: whatever they are, nothing panics, and what is
//! understood is printed and understood again as the same.
//!
//! Not part of the binary. The corpora that the targets begin with go through here in the tests of every build.

use std::collections::HashMap;

use cqrs_es::persist::SerializedEvent;
use redis::streams::StreamId;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tidings_domain::Stored;
use tidings_domain::notification::{Action, Event, Notification};
use tidings_domain::{NotificationId, Tenant, UserId, upcast};
use tidings_projections::inbox::rfc3339;
use tidings_projections::log::codec::{Place, open_with, seal_with};
use tidings_projections::log::{Cursor, Epoch, Epochs, Fact, RecipientKey, Recorded};
use time::OffsetDateTime;
use time::macros::datetime;

use crate::api::Problem;
use crate::api::http::parameter::{Before, Parameter};
use crate::gateway::inbound::{self, Inbound, Order};
use crate::instant;
use crate::mirror::Entry;
use crate::replay::Moment;

const NOW: OffsetDateTime = datetime!(2026-11-22 10:00 UTC);

/// What a client sends on a socket.
pub fn frames(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(inbound) = inbound::parse(text, NOW) else { return };
    // What is passed over may hold numbers that no type can.
    assert!(serde_json::from_str::<HashMap<String, IgnoredAny>>(text).is_ok(), "it is an object");
    let is_problem = |problem: &Problem| serde_json::from_str::<Value>(&problem.to_json()).is_ok();
    match &inbound {
        Inbound::Order { order: Err(problem), .. } | Inbound::Auth { token: Err(problem), .. } => {
            assert!(is_problem(problem));
        }
        Inbound::Order { order: Ok(Order::One { action: Action::Snooze { until }, .. }), .. } => {
            assert!(*until > NOW);
            kept(*until);
        }
        Inbound::Order { order: Ok(Order::All { up_to: Some(cursor), .. }), .. } | Inbound::Ack(cursor) => {
            assert_eq!(cursor.to_string().parse(), Ok(*cursor));
        }
        _ => {}
    }
}

/// Whatever names something in an address, a header or a body: cursors, moments, ids, pages.
pub fn cursors(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text, "a cursor has one spelling");
        resolved(cursor);
    }
    match text.parse() {
        Ok(Moment::Cursor(cursor)) => assert_eq!(Ok(cursor), text.parse()),
        Ok(Moment::Instant(at)) => kept(at),
        Err(_) => assert!(text.parse::<Cursor>().is_err() && instant::parse(text).is_err()),
    }
    if let Ok(Before(position)) = Before::parse("before", text) {
        assert!(position >= 0, "a page begins in the log");
        let next = Before::parse("before", &Before::next(position));
        assert!(next.is_ok_and(|next| next.0 == position));
    }
    if let Ok(id) = text.parse::<NotificationId>() {
        assert_eq!(id.to_string(), text, "an id has one spelling");
    }
    if let Ok(user) = UserId::try_from(text.to_owned()) {
        assert_eq!(user.as_str(), text);
    }
    if let Ok(tenant) = Tenant::try_from(text.to_owned()) {
        assert_eq!(tenant.as_str(), text);
    }
}

/// A cursor either names a position of this history, and then its own, or it is lost.
fn resolved(cursor: Cursor) {
    let epoch = |number, first_position| Epoch { number, first_position };
    let epochs = Epochs::new(vec![epoch(100, 1), epoch(200, 51), epoch(300, 80)]).expect("not empty");
    if let Ok(position) = epochs.resolve(cursor, 100) {
        assert!(position <= 100);
        assert_eq!(epochs.resolve(epochs.cursor(position), 100), Ok(position));
    }
}

/// An instant that was let in can be written, and reads back as the same.
fn kept(at: OffsetDateTime) {
    assert_eq!(instant::parse(&rfc3339(at)), Ok(at));
}

/// What is stored and streamed: `<name> <version>` on a line, then the payload.
pub fn envelopes(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some((head, payload)) = text.split_once('\n') else { return };
    let (name, version) = head.split_once(' ').unwrap_or((head, "1.0.0"));
    let Ok(payload) = serde_json::from_str::<Map<String, Value>>(payload) else { return };
    sealed_and_opened(name, &payload);
    streamed(&payload);
    decoded(name, version, Value::Object(payload));
}

const ID: &str = "ntf_01890a5d-ac96-774b-bcce-b302099a8057";

fn sealed_and_opened(event_type: &str, payload: &Map<String, Value>) {
    let place = Place { aggregate_id: ID, sequence: 1, event_type };
    let key = RecipientKey { id: 7, secret: [9; 32] };
    // What somebody wrote into the place of a seal does not open, and does not break.
    if let Some(forged) = payload.get("sealed") {
        assert!(open_with(&key, place, forged, &mut Map::new()).is_err());
        return;
    }
    let stored = seal_with(Some(&key), place, payload);
    let mut members: Map<String, Value> = serde_json::from_str(&stored).expect("what was stored is JSON");
    let sealed = members.remove("sealed").expect("it was sealed");
    open_with(&key, place, &sealed, &mut members).expect("what was sealed here opens here");
    assert_eq!(members, *payload);
}

fn decoded(name: &str, version: &str, payload: Value) {
    let metadata = Value::Null;
    let event = SerializedEvent::new(
        ID.into(),
        1,
        <Notification as cqrs_es::Aggregate>::TYPE.into(),
        name.into(),
        version.into(),
        payload,
        metadata,
    );
    let event = upcast::upcast(&upcast::upcasters(), event);
    let (name, version) = (&event.event_type, &event.event_version);
    let Ok(fact) = Fact::decode(&event.aggregate_type, ID, name, version, &event.payload) else { return };
    let Fact::Notification(_, decoded) = &fact else { panic!("it is a notification's") };
    // As it would be stored today, without its name, which has a column.
    let mut written = serde_json::to_value(decoded).expect("an event serialises");
    written.as_object_mut().expect("as an object").remove("type");
    assert_eq!(&Event::decode(name, version, &written).expect("what was written is read"), decoded);
    listed(&event, fact);
}

/// The envelope of `/v1/events` and of the stream holds the payload as it is.
fn listed(event: &SerializedEvent, fact: Fact) {
    let recorded = Recorded {
        position: 7,
        recorded_at: NOW,
        tenant: "default".into(),
        recipient: Some("alice".into()),
        aggregate_type: event.aggregate_type.clone(),
        aggregate_id: event.aggregate_id.clone(),
        sequence: 1,
        event_type: event.event_type.clone(),
        event_version: event.event_version.clone(),
        payload: event.payload.clone(),
        metadata: RawValue::NULL.to_owned(),
        stored_bytes: 0,
        fact,
    };
    let epochs = Epochs::new(vec![Epoch { number: 1, first_position: 1 }]).expect("not empty");
    let envelope: Value = serde_json::from_str(&recorded.to_json(&epochs)).expect("an envelope is JSON");
    assert_eq!((&envelope["data"], &envelope["cursor"]), (&event.payload, &Value::from("1.7")));
}

/// An entry of the stream that somebody else may have written.
fn streamed(fields: &Map<String, Value>) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let id = fields.get("id").map_or_else(|| "1-0".to_owned(), text);
    let map: HashMap<String, redis::Value> = fields
        .iter()
        .map(|(name, value)| (name.clone(), redis::Value::BulkString(text(value).into_bytes())))
        .collect();
    let entry = Entry::parse(&StreamId { id, map, ..StreamId::default() });
    if let Some(at) = entry.and_then(|(_, entry)| entry.recorded_at) {
        rfc3339(at);
    }
}

#[cfg(test)]
mod tests {
    //! The corpora, and properties of what is printed and parsed.
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn corpus(name: &str, target: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut seeds = 0;
        for file in std::fs::read_dir(&folder).expect("a target has a corpus") {
            target(&std::fs::read(file.expect("is listed").path()).expect("is readable"));
            seeds += 1;
        }
        assert!(seeds >= 10, "{name} has {seeds} seeds");
    }

    #[test]
    fn no_frame_of_the_corpus_breaks_anything() {
        corpus("frames", frames);
    }

    #[test]
    fn no_cursor_of_the_corpus_breaks_anything() {
        corpus("cursors", cursors);
    }

    #[test]
    fn no_envelope_of_the_corpus_breaks_anything() {
        corpus("envelopes", envelopes);
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_of_something_or_refused(text in "\\PC{0,80}") {
            cursors(text.as_bytes());
        }

        #[test]
        fn a_cursor_reads_back_and_is_never_another(epoch in 0..i64::MAX, position in 0..i64::MAX) {
            let cursor = Cursor { epoch, position };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
            cursors(cursor.to_string().as_bytes());
        }

        #[test]
        fn a_text_like_a_cursor_is_one_only_in_its_own_spelling(text in "[0-9+ -]{0,20}[.]?[0-9]{0,20}") {
            cursors(text.as_bytes());
        }

        #[test]
        fn a_cursor_of_this_log_resolves_to_its_position(
            firsts in prop::collection::btree_set(2_i64..1_000, 0..5), position in 0_i64..1_000,
        ) {
            let epochs = [1].into_iter().chain(firsts).zip(1..);
            let epochs = epochs.map(|(first_position, number)| Epoch { number, first_position });
            let epochs = Epochs::new(epochs.collect()).expect("not empty");
            prop_assert_eq!(epochs.resolve(epochs.cursor(position), 1_000), Ok(position));
            prop_assert!(epochs.resolve(epochs.cursor(position), position - 1).is_err());
        }

        #[test]
        fn a_next_is_a_before_at_the_same_place(position in 0..i64::MAX) {
            let before = Before::parse("before", &Before::next(position));
            prop_assert!(before.is_ok_and(|before| before.0 == position));
        }

        #[test]
        fn ids_are_ordered_as_they_are_written(one: u128, other: u128) {
            let id = |bits| NotificationId::new(uuid::Uuid::from_u128(bits));
            let (one, other) = (id(one), id(other));
            prop_assert_eq!(one.to_string().parse(), Ok(one));
            prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
            cursors(one.to_string().to_uppercase().as_bytes());
        }

        #[test]
        fn an_instant_is_kept_to_the_millisecond(seconds in -62_135_596_800_i64..253_402_300_800, ms in 0_i64..1_000) {
            let at = OffsetDateTime::from_unix_timestamp(seconds).expect("is in range");
            let at = at + time::Duration::milliseconds(ms);
            cursors(rfc3339(at).as_bytes());
            prop_assert_eq!(instant::parse(&rfc3339(at)), Ok(at));
        }

        #[test]
        fn what_is_sealed_opens_to_what_it_was(title in "\\PC{0,40}", body in "\\PC{0,40}", other in "[a-z]{1,8}") {
            let payload = serde_json::json!({"content": {"title": title}, "data": {"b": body}, other: body});
            envelopes(format!("notification.created 1.0.0\n{payload}").as_bytes());
        }
    }
}
