//! The marks: seen, read, unread, archived, unarchived. A repeated mark emits nothing; the first of all
//! shows that the notification reached its reader.

use crate::notification::{Action, DeliveryStatus, Event};

use super::harness::{fold, given};
use super::samples::*;

#[test]
fn seeing_an_unseen_item_settles_its_in_app_delivery() {
    let notification = given([created()]).when(Action::MarkSeen).then([Event::Seen {}, succeeded(1)]);
    assert!(notification.seen && !notification.read);
    assert_eq!(notification.deliveries[0].status, DeliveryStatus::Delivered);
}

#[test]
fn reading_an_unread_item_settles_its_in_app_delivery() {
    let notification = given([created()]).when(Action::MarkRead).then([Event::Read {}, succeeded(1)]);
    assert_eq!(notification.deliveries[0].status, DeliveryStatus::Delivered);
}

#[test]
fn read_implies_seen() {
    let notification = fold(created_and([Event::Read {}]));
    assert!(notification.read && notification.seen);
    given(created_and([Event::Read {}, succeeded(1)])).when(Action::MarkSeen).then_nothing();
}

#[test]
fn reading_a_seen_item_emits_read_alone() {
    given(created_and([Event::Seen {}, succeeded(1)])).when(Action::MarkRead).then([Event::Read {}]);
}

#[test]
fn seeing_or_reading_again_changes_nothing() {
    given(created_and([Event::Seen {}, succeeded(1)])).when(Action::MarkSeen).then_nothing();
    given(created_and([Event::Read {}, succeeded(1)])).when(Action::MarkRead).then_nothing();
}

#[test]
fn marking_a_read_item_unread_leaves_it_seen() {
    let history = created_and([Event::Read {}, succeeded(1)]);
    let notification = given(history).when(Action::MarkUnread).then([Event::Unread {}]);
    assert!(!notification.read && notification.seen);
}

#[test]
fn marking_an_unread_item_unread_changes_nothing_and_settles_nothing() {
    given([created()]).when(Action::MarkUnread).then_nothing();
    given(created_and([Event::Seen {}, succeeded(1)])).when(Action::MarkUnread).then_nothing();
}

#[test]
fn an_item_marked_unread_can_be_read_again() {
    let history = created_and([Event::Read {}, succeeded(1), Event::Unread {}]);
    given(history).when(Action::MarkRead).then([Event::Read {}]);
}

#[test]
fn archiving_an_unread_item_reads_it_first() {
    let notification =
        given([created()]).when(Action::Archive).then([Event::Read {}, Event::Archived {}, succeeded(1)]);
    assert!(notification.read && notification.seen && notification.archived);
}

#[test]
fn archiving_a_seen_but_unread_item_reads_it_first() {
    let history = created_and([Event::Seen {}, succeeded(1)]);
    given(history).when(Action::Archive).then([Event::Read {}, Event::Archived {}]);
}

#[test]
fn archiving_a_read_item_emits_archived_alone() {
    given(created_and([Event::Read {}, succeeded(1)])).when(Action::Archive).then([Event::Archived {}]);
}

#[test]
fn archiving_again_changes_nothing() {
    let archived = created_and([Event::Read {}, Event::Archived {}, succeeded(1)]);
    given(archived).when(Action::Archive).then_nothing();
}

#[test]
fn an_archived_item_can_be_marked_unread_and_stays_archived() {
    let archived = created_and([Event::Read {}, Event::Archived {}, succeeded(1)]);
    let notification = given(archived).when(Action::MarkUnread).then([Event::Unread {}]);
    assert!(notification.archived && !notification.read);
}

#[test]
fn archiving_an_archived_unread_item_changes_nothing_and_leaves_it_unread() {
    let history = created_and([Event::Read {}, Event::Archived {}, succeeded(1), Event::Unread {}]);
    given(history).when(Action::Archive).then_nothing();
}

#[test]
fn an_item_that_was_marked_unread_in_the_archive_comes_back_unread() {
    let history = created_and([Event::Read {}, Event::Archived {}, succeeded(1), Event::Unread {}]);
    let notification = given(history).when(Action::Unarchive).then([Event::Unarchived {}]);
    assert!(!notification.archived && !notification.read);
}

#[test]
fn unarchiving_leaves_a_read_item_read() {
    let archived = created_and([Event::Read {}, Event::Archived {}, succeeded(1)]);
    let notification = given(archived).when(Action::Unarchive).then([Event::Unarchived {}]);
    assert!(!notification.archived && notification.read);
}

#[test]
fn unarchiving_an_item_outside_the_archive_changes_nothing_and_settles_nothing() {
    given([created()]).when(Action::Unarchive).then_nothing();
    let back = created_and([Event::Read {}, Event::Archived {}, succeeded(1), Event::Unarchived {}]);
    given(back).when(Action::Unarchive).then_nothing();
}

#[test]
fn a_mark_after_an_acknowledged_delivery_does_not_settle_it_twice() {
    given(created_and([succeeded(1)])).when(Action::MarkSeen).then([Event::Seen {}]);
    given(created_and([succeeded(1)])).when(Action::Archive).then([Event::Read {}, Event::Archived {}]);
}

#[test]
fn the_first_mark_settles_a_dead_lettered_delivery_once() {
    let dead = created_and(dead_lettered(1));
    let notification = given(dead.clone()).when(Action::MarkSeen).then([Event::Seen {}, succeeded(1)]);
    assert_eq!(notification.deliveries[0].status, DeliveryStatus::Delivered);
    let settled = dead.into_iter().chain([Event::Seen {}, succeeded(1)]);
    given(settled).when(Action::MarkRead).then([Event::Read {}]);
}

#[test]
fn a_mark_settles_the_attempt_that_is_current() {
    let retried = created_and(dead_lettered(1)).into_iter().chain([retry_requested(2)]);
    given(retried).when(Action::MarkRead).then([Event::Read {}, succeeded(2)]);
}

#[test]
fn a_mark_settles_nothing_when_the_plan_has_no_in_app_step() {
    given([created_without_plan()]).when(Action::MarkRead).then([Event::Read {}]);
    given([created_without_plan()]).when(Action::Archive).then([Event::Read {}, Event::Archived {}]);
}
