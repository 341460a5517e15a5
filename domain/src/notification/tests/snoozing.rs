//! Snoozing hides an item until an instant; only a wake for exactly that instant brings it back.

use time::Duration;
use time::macros::datetime;

use crate::notification::{Action, Event};

use super::harness::given;
use super::samples::*;

fn snoozed() -> Vec<Event> {
    created_and([Event::Snoozed { until: SNOOZE_UNTIL }, succeeded(1)])
}

#[test]
fn snoozing_settles_the_in_app_delivery_and_leaves_the_item_unread() {
    let expected = [Event::Snoozed { until: SNOOZE_UNTIL }, succeeded(1)];
    let notification = given([created()]).when(snooze()).then(expected);
    assert_eq!(notification.snoozed_until, Some(SNOOZE_UNTIL));
    assert!(!notification.seen && !notification.read);
}

#[test]
fn snoozing_until_the_same_instant_again_changes_nothing() {
    given(snoozed()).when(snooze()).then_nothing();
    given(snoozed()).when(Action::Snooze { until: datetime!(2026-08-02 11:00 +02:00) }).then_nothing();
}

#[test]
fn snoozing_until_another_instant_moves_the_wake() {
    let moved = Event::Snoozed { until: OTHER_INSTANT };
    let notification = given(snoozed()).when(Action::Snooze { until: OTHER_INSTANT }).then([moved]);
    assert_eq!(notification.snoozed_until, Some(OTHER_INSTANT));
}

#[test]
fn a_snoozed_item_wakes_at_its_instant() {
    let notification = given(snoozed()).when(Action::Wake { at: SNOOZE_UNTIL }).then([Event::Woken {}]);
    assert_eq!(notification.snoozed_until, None);
}

#[test]
fn a_wake_for_any_other_instant_changes_nothing() {
    for at in [SNOOZE_UNTIL - Duration::NANOSECOND, SNOOZE_UNTIL + Duration::NANOSECOND, OTHER_INSTANT] {
        given(snoozed()).when(Action::Wake { at }).then_nothing();
    }
}

#[test]
fn the_wake_of_a_snooze_that_was_moved_changes_nothing() {
    let moved = || snoozed().into_iter().chain([Event::Snoozed { until: OTHER_INSTANT }]);
    given(moved()).when(Action::Wake { at: SNOOZE_UNTIL }).then_nothing();
    given(moved()).when(Action::Wake { at: OTHER_INSTANT }).then([Event::Woken {}]);
}

#[test]
fn a_second_wake_changes_nothing() {
    let woken = snoozed().into_iter().chain([Event::Woken {}]);
    given(woken).when(Action::Wake { at: SNOOZE_UNTIL }).then_nothing();
}

#[test]
fn an_item_that_was_never_snoozed_does_not_wake() {
    given([created()]).when(Action::Wake { at: SNOOZE_UNTIL }).then_nothing();
}

#[test]
fn a_woken_item_can_be_snoozed_until_the_same_instant_again() {
    let woken = snoozed().into_iter().chain([Event::Woken {}]);
    given(woken).when(snooze()).then([Event::Snoozed { until: SNOOZE_UNTIL }]);
}

#[test]
fn an_archived_item_wakes_and_stays_archived() {
    let archived = snoozed().into_iter().chain([Event::Read {}, Event::Archived {}]);
    let notification = given(archived).when(Action::Wake { at: SNOOZE_UNTIL }).then([Event::Woken {}]);
    assert!(notification.archived);
    assert_eq!(notification.snoozed_until, None);
}

#[test]
fn marks_on_a_snoozed_item_leave_it_snoozed() {
    let notification = given(snoozed()).when(Action::MarkRead).then([Event::Read {}]);
    assert_eq!(notification.snoozed_until, Some(SNOOZE_UNTIL));
}

#[test]
fn an_ended_item_does_not_wake() {
    for end in [Event::Cancelled {}, Event::Expired {}] {
        let ended = snoozed().into_iter().chain([end]);
        given(ended).when(Action::Wake { at: SNOOZE_UNTIL }).then_nothing();
    }
}
