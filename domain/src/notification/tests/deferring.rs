//! Attempts that are put off: until when, of what, and what becomes of those that would come too late.

use crate::notification::{
    Action, Channel, DeferReason, DeliveryStatus, Error, Event, FailureClass, SkipReason,
};

use super::harness::given;
use super::samples::*;

const EMAIL: Channel = Channel::Email;

fn due() -> Vec<Event> {
    planned([tried(EMAIL)])
}

#[test]
fn a_deferred_attempt_begins_when_that_is_over() {
    let notification = given(due()).when(defer(EMAIL, 1)).then([deferred(EMAIL, 1)]);
    let delivery = &notification.deliveries[0];
    assert_eq!((delivery.status, delivery.attempt), (DeliveryStatus::Scheduled, 1));
    assert_eq!(delivery.due_at, Some(MORNING));
    let history = and(due(), [deferred(EMAIL, 1)]);
    given(history.clone()).when(start(EMAIL, 1)).then_err(Error::NotDue);
    given(history.clone()).when(defer(EMAIL, 1)).then_err(Error::NotDue);
    let deadline = MORNING + time::Duration::seconds(30);
    let in_the_morning = Action::Start { channel: EMAIL, attempt: 1, now: MORNING, deadline };
    let started = Event::DeliveryStarted { channel: EMAIL, attempt: 1, deadline };
    given(history).when(in_the_morning).then([started]);
}

#[test]
fn only_an_attempt_that_may_begin_is_deferred() {
    given(due()).when(defer(EMAIL, 2)).then_err(Error::StaleAttempt { current: 1 });
    given(due()).when(defer(Channel::Slack, 1)).then_err(Error::ChannelNotPlanned);
    given([created()]).when(defer(Channel::InApp, 1)).then_err(Error::NothingToCall);
    given(planned([in_app(), tried(EMAIL)])).when(defer(EMAIL, 1)).then_err(Error::NotActivated);
    given(and(due(), [started(EMAIL, 1)])).when(defer(EMAIL, 1)).then_err(Error::AlreadyStarted);
    given(and(due(), [Event::Cancelled {}])).when(defer(EMAIL, 1)).then_err(Error::Cancelled);
}

#[test]
fn what_expires_before_that_is_over_is_skipped_and_the_next_step_takes_its_place() {
    let defer = |until| Action::Defer {
        channel: EMAIL,
        attempt: 1,
        now: NOW,
        until,
        reason: DeferReason::QuietHours,
    };
    let late = skipped(EMAIL, SkipReason::QuietHours);
    given(due()).when(defer(EXPIRES_AT)).then([late.clone()]);
    let just_in_time = EXPIRES_AT - time::Duration::MILLISECOND;
    let deferred = Event::DeliveryDeferred {
        channel: EMAIL,
        attempt: 1,
        due_at: just_in_time,
        reason: DeferReason::QuietHours,
    };
    given(due()).when(defer(just_in_time)).then([deferred]);
    given(planned([tried(EMAIL), tried(Channel::Slack)]))
        .when(defer(EXPIRES_AT))
        .then([late, activated(EMAIL, Channel::Slack, NOW)]);
}

#[test]
fn what_has_expired_is_neither_begun_nor_put_off_also_before_anybody_said_so() {
    let start =
        |now| Action::Start { channel: EMAIL, attempt: 1, now, deadline: EXPIRES_AT + time::Duration::HOUR };
    given(due()).when(start(EXPIRES_AT)).then_err(Error::Expired);
    given(due()).when(start(EXPIRES_AT - time::Duration::MILLISECOND)).decided();
    let until = EXPIRES_AT + time::Duration::HOUR;
    let defer =
        Action::Defer { channel: EMAIL, attempt: 1, now: EXPIRES_AT, until, reason: DeferReason::QuietHours };
    given(due()).when(defer).then_err(Error::Expired);
}

#[test]
fn the_attempt_after_a_lost_one_is_deferred_like_any_other() {
    let history = and(due(), [started(EMAIL, 1)]);
    let (now, until, reason) = (DEADLINE, MORNING, DeferReason::QuietHours);
    let defer = |attempt| Action::Defer { channel: EMAIL, attempt, now, until, reason };
    given(history.clone()).when(defer(1)).then_err(Error::StaleAttempt { current: 2 });
    let events = given(history).when(defer(2)).decided();
    let [Event::DeliveryFailed { attempt: 1, error, .. }, put_off] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((error.class, put_off), (FailureClass::Unknown, &deferred(EMAIL, 2)));
}

#[test]
fn what_the_user_reads_meanwhile_is_not_sent_when_that_is_over() {
    given(and(due(), [deferred(EMAIL, 1)]))
        .when(Action::MarkRead)
        .then([Event::Read {}, skipped(EMAIL, SkipReason::Read)]);
}
