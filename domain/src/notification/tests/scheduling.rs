//! Before its delivery time a notification is hidden: it can be released, expire or be cancelled.

use time::Duration;
use time::macros::datetime;

use crate::notification::{Action, DeliveryStatus, Error, Event, Life};

use super::harness::given;
use super::samples::*;

#[test]
fn marking_delivering_or_retrying_before_the_release_is_refused() {
    for action in actions_of_the_released() {
        given([scheduled()]).when(action).then_err(Error::NotReleased);
    }
}

#[test]
fn a_stale_attempt_before_the_release_is_refused_for_the_release() {
    given([scheduled()]).when(delivered(Some(7))).then_err(Error::NotReleased);
}

#[test]
fn it_is_released_at_the_instant_it_was_scheduled_for() {
    let notification =
        given([scheduled()]).when(Action::Release { at: RELEASE_AT }).then([Event::Released {}]);
    assert_eq!(notification.life, Life::Released);
    assert_eq!(notification.deliveries[0].status, DeliveryStatus::Pending);
}

#[test]
fn the_instant_counts_and_not_its_spelling() {
    let same = datetime!(2026-08-01 11:00 +02:00);
    given([scheduled()]).when(Action::Release { at: same }).then([Event::Released {}]);
}

#[test]
fn a_release_for_any_other_instant_changes_nothing() {
    for at in
        [RELEASE_AT - Duration::NANOSECOND, RELEASE_AT + Duration::NANOSECOND, OTHER_INSTANT, EXPIRES_AT]
    {
        given([scheduled()]).when(Action::Release { at }).then_nothing();
    }
}

#[test]
fn a_second_release_changes_nothing() {
    given([scheduled(), Event::Released {}]).when(Action::Release { at: RELEASE_AT }).then_nothing();
}

#[test]
fn a_notification_that_was_never_scheduled_is_not_released_again() {
    given([created()]).when(Action::Release { at: RELEASE_AT }).then_nothing();
}

#[test]
fn a_released_one_takes_marks() {
    given([scheduled(), Event::Released {}]).when(Action::MarkSeen).then([Event::Seen {}, succeeded(1)]);
}

#[test]
fn a_scheduled_notification_can_be_cancelled() {
    let notification = given([scheduled()]).when(Action::Cancel).then([Event::Cancelled {}]);
    assert_eq!(notification.life, Life::Cancelled);
    assert_eq!(notification.deliveries[0].status, DeliveryStatus::Cancelled);
}

#[test]
fn a_scheduled_notification_can_expire_before_it_was_ever_shown() {
    let notification = given([scheduled()]).when(Action::Expire { at: EXPIRES_AT }).then([Event::Expired {}]);
    assert_eq!(notification.life, Life::Expired);
    assert_eq!(notification.deliveries[0].status, DeliveryStatus::Expired);
}

#[test]
fn an_ended_one_is_not_released() {
    for end in [Event::Cancelled {}, Event::Expired {}] {
        given([scheduled(), end]).when(Action::Release { at: RELEASE_AT }).then_nothing();
    }
}

#[test]
fn waking_a_scheduled_one_changes_nothing() {
    given([scheduled()]).when(Action::Wake { at: RELEASE_AT }).then_nothing();
}
