//! What waits is counted, and nothing that will not be sent.

use super::*;
use crate::mirror::Changed;
use tidings_projections::inbox::Counts;

fn entry(position: i64, bytes: usize) -> Entry {
    Entry {
        position,
        tenant: "default".into(),
        event_type: "notification.created".into(),
        user_id: Some("alice".into()),
        aggregate_id: None,
        recorded_at: None,
        trace: None,
        changed: Some(Changed { counts: Counts::default(), item: "x".repeat(bytes) }),
    }
}

/// A hub with one connection, and the gauge of what waits for it.
fn tapped() -> (Hub, Tap, IntGauge) {
    let gauge = IntGauge::new("queued_bytes", "Of the test.").expect("is a name");
    let hub = Hub::new(gauge.clone());
    let owner = Owner { tenant: "default".into(), user_id: "alice".into() };
    let tap = hub.tap(Arc::new(owner), Uuid::nil(), None);
    (hub, tap, gauge)
}

fn dispatch(hub: &Hub, entries: &[Entry]) {
    hub.dispatch(entries, &HashMap::new(), |position| Cursor { epoch: 1, position });
}

fn expired() -> Arc<Key> {
    let mut key = Key::root();
    key.expires_at = Some(time::OffsetDateTime::UNIX_EPOCH);
    Arc::new(key)
}

#[test]
fn what_is_taken_and_what_is_dropped_is_counted_no_longer() {
    let (hub, tap, gauge) = tapped();
    dispatch(&hub, &[entry(1, 1_000)]);
    assert!(gauge.get() > 1_000, "{}", gauge.get());
    assert!(tap.take().is_ok_and(|queue| queue.len() == 1));
    assert_eq!(gauge.get(), 0);
    dispatch(&hub, &[entry(2, 1_000)]);
    drop(tap);
    assert_eq!(gauge.get(), 0);
}

#[test]
fn a_queue_that_is_given_up_counts_nothing_while_its_connection_is_still_there() {
    let (hub, tap, gauge) = tapped();
    dispatch(&hub, &[entry(1, QUEUE_BYTES_MAX / 2), entry(2, QUEUE_BYTES_MAX / 2), entry(3, 10)]);
    assert_eq!((tap.take().err(), gauge.get()), (Some(Close::TooSlow), 0));
}

#[test]
fn what_waited_for_a_revoked_key_counts_nothing() {
    let (hub, tap, gauge) = tapped();
    dispatch(&hub, &[entry(1, 1_000)]);
    tap.belong_to(Some(expired()));
    dispatch(&hub, &[entry(2, 1_000)]);
    assert_eq!((tap.take().err(), gauge.get()), (Some(Close::Revoked), 0));
}
