//! The two ends: cancelled by somebody, expired by time. After either, nothing happens any more.

use time::Duration;

use crate::notification::{Action, Create, DeliveryStatus, Error, Event, Life};

use super::harness::given;
use super::samples::*;

fn cancelled() -> Vec<Event> {
    created_and([Event::Cancelled {}])
}

fn expired() -> Vec<Event> {
    created_and([Event::Expired {}])
}

#[test]
fn cancelling_ends_a_pending_delivery() {
    let notification = given([created()]).when(Action::Cancel).then([Event::Cancelled {}]);
    assert_eq!(notification.life, Life::Cancelled);
    assert_eq!(notification.deliveries[0].status, DeliveryStatus::Cancelled);
}

#[test]
fn expiring_ends_a_pending_delivery() {
    let notification = given([created()]).when(Action::Expire { at: EXPIRES_AT }).then([Event::Expired {}]);
    assert_eq!(notification.life, Life::Expired);
    assert_eq!(notification.deliveries[0].status, DeliveryStatus::Expired);
}

#[test]
fn an_end_does_not_rewrite_a_delivery_that_ended_before() {
    for (action, end) in
        [(Action::Cancel, Event::Cancelled {}), (Action::Expire { at: EXPIRES_AT }, Event::Expired {})]
    {
        let delivered = given(created_and([succeeded(1)])).when(action.clone()).then([end.clone()]);
        assert_eq!(delivered.deliveries[0].status, DeliveryStatus::Delivered);
        let dead = given(created_and(dead_lettered(1))).when(action).then([end]);
        assert_eq!(dead.deliveries[0].status, DeliveryStatus::DeadLettered);
    }
}

#[test]
fn an_end_keeps_the_marks_made_before() {
    let history = created_and([Event::Read {}, Event::Archived {}, succeeded(1)]);
    let notification = given(history).when(Action::Cancel).then([Event::Cancelled {}]);
    assert!(notification.seen && notification.read && notification.archived);
}

#[test]
fn cancelling_twice_changes_nothing() {
    given(cancelled()).when(Action::Cancel).then_nothing();
}

#[test]
fn cancelling_an_expired_notification_is_refused() {
    given(expired()).when(Action::Cancel).then_err(Error::Expired);
}

#[test]
fn expiring_a_cancelled_notification_changes_nothing() {
    given(cancelled()).when(Action::Expire { at: EXPIRES_AT }).then_nothing();
}

#[test]
fn expiring_twice_changes_nothing() {
    given(expired()).when(Action::Expire { at: EXPIRES_AT }).then_nothing();
}

#[test]
fn an_expiry_for_any_other_instant_changes_nothing() {
    for at in [EXPIRES_AT - Duration::NANOSECOND, EXPIRES_AT + Duration::NANOSECOND, OTHER_INSTANT] {
        given([created()]).when(Action::Expire { at }).then_nothing();
        given([scheduled()]).when(Action::Expire { at }).then_nothing();
    }
}

#[test]
fn a_notification_without_an_expiry_never_expires() {
    let endless = created_from(Create { expires_at: None, ..create() });
    given([endless]).when(Action::Expire { at: EXPIRES_AT }).then_nothing();
}

#[test]
fn a_snoozed_or_archived_notification_expires_all_the_same() {
    let snoozed = created_and([Event::Snoozed { until: SNOOZE_UNTIL }, succeeded(1)]);
    given(snoozed).when(Action::Expire { at: EXPIRES_AT }).then([Event::Expired {}]);
    let archived = created_and([Event::Read {}, Event::Archived {}, succeeded(1)]);
    given(archived).when(Action::Expire { at: EXPIRES_AT }).then([Event::Expired {}]);
}

#[test]
fn a_cancelled_notification_refuses_marks_outcomes_and_retries() {
    for action in actions_of_the_released() {
        given(cancelled()).when(action).then_err(Error::Cancelled);
    }
}

#[test]
fn an_expired_notification_refuses_marks_outcomes_and_retries() {
    for action in actions_of_the_released() {
        given(expired()).when(action).then_err(Error::Expired);
    }
}

#[test]
fn after_its_end_even_a_repeated_mark_or_outcome_is_refused() {
    for (end, error) in [(Event::Cancelled {}, Error::Cancelled), (Event::Expired {}, Error::Expired)] {
        let history = created_and([Event::Read {}, succeeded(1), end]);
        for action in [Action::MarkSeen, Action::MarkRead, delivered(Some(1))] {
            given(history.clone()).when(action).then_err(error.clone());
        }
    }
}

#[test]
fn a_dead_lettered_delivery_is_not_retried_after_the_end() {
    for (end, error) in [(Event::Cancelled {}, Error::Cancelled), (Event::Expired {}, Error::Expired)] {
        let history = created_and(dead_lettered(1)).into_iter().chain([end]);
        given(history).when(retry()).then_err(error);
    }
}
