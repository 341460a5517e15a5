//! What the user has seen or read, and what has ended, needs no messenger any more.

use crate::notification::{
    Action, Channel, DeliveryStatus, Error, Event, FailureClass, Outcome, PlanStep, SkipReason, Unless,
};

use super::harness::{fold, given};
use super::samples::*;

use Channel::{Email, InApp, Slack, Webhook};

/// In the app, after five minutes by e-mail, after an hour by webhook; what these two wait for.
fn plan_with(email: Option<Unless>, webhook: Option<Unless>) -> Vec<Event> {
    let step = |channel, after_s, unless| PlanStep { after_s: Some(after_s), unless, ..tried(channel) };
    planned([in_app(), step(Email, 300, email), step(Webhook, 3600, webhook)])
}

#[test]
fn seeing_it_stops_what_waits() {
    for unless in [None, Some(Unless::Seen), Some(Unless::Delivered)] {
        given(plan_with(unless, unless)).when(Action::MarkSeen).then([
            Event::Seen {},
            succeeded(1),
            skipped(Email, SkipReason::Seen),
            skipped(Webhook, SkipReason::Seen),
        ]);
    }
}

#[test]
fn a_step_that_insists_on_reading_goes_on_until_then() {
    let seen = [Event::Seen {}, succeeded(1), skipped(Webhook, SkipReason::Seen)];
    given(plan_with(Some(Unless::Read), None)).when(Action::MarkSeen).then(seen.clone());
    let history = and(plan_with(Some(Unless::Read), None), seen);
    let at = EMAIL_AT;
    let email = Action::Activate { channel: Email, at };
    given(history.clone()).when(email).then([activated(InApp, Email, at)]);
    given(history.clone()).when(Action::MarkRead).then([Event::Read {}, skipped(Email, SkipReason::Read)]);
    let active = and(history, [activated(InApp, Email, at)]);
    given(active).when(Action::MarkRead).then([Event::Read {}, skipped(Email, SkipReason::Read)]);
}

#[test]
fn reading_it_stops_everything_and_archiving_reads_it() {
    let stopped = [succeeded(1), skipped(Email, SkipReason::Read), skipped(Webhook, SkipReason::Read)];
    let history = || plan_with(None, Some(Unless::Read));
    given(history()).when(Action::MarkRead).then(and(vec![Event::Read {}], stopped.clone()));
    given(history()).when(Action::Archive).then(and(vec![Event::Read {}, Event::Archived {}], stopped));
}

#[test]
fn snoozing_stops_nothing() {
    let snoozed = given(plan_with(None, None)).when(snooze()).decided();
    assert_eq!(snoozed, [Event::Snoozed { until: SNOOZE_UNTIL }, succeeded(1)]);
}

#[test]
fn what_is_due_or_waits_for_a_retry_is_stopped_and_what_is_under_way_is_not() {
    let due = planned([tried(Email)]);
    let seen = [Event::Seen {}, skipped(Email, SkipReason::Seen)];
    given(due.clone()).when(Action::MarkSeen).then(seen.clone());
    let again = and(due.clone(), [started(Email, 1), scheduled_again(Email, 2, EMAIL_AT)]);
    given(again).when(Action::MarkSeen).then(seen);
    let under_way = and(due, [started(Email, 1)]);
    given(under_way).when(Action::MarkSeen).then([Event::Seen {}]);
}

#[test]
fn an_attempt_that_was_under_way_when_it_was_seen_is_the_last() {
    let history = and(planned([tried(Email), PlanStep::on(Slack)]), [started(Email, 1), Event::Seen {}]);
    let arrived = Event::DeliverySucceeded { channel: Email, attempt: 1, provider_ref: None };
    given(history.clone())
        .when(ended(Email, 1, Outcome::delivered()))
        .then([arrived, skipped(Slack, SkipReason::Delivered)]);
    for class in [FailureClass::Transient, FailureClass::Permanent] {
        given(history.clone()).when(fails(Email, 1, class)).then([
            failed_on(Email, 1, class),
            skipped(Email, SkipReason::Seen),
            skipped(Slack, SkipReason::Seen),
        ]);
    }
    let take_over = Action::Start { channel: Email, attempt: 2, now: DEADLINE, deadline: EMAIL_AT };
    given(history).when(take_over).then_err(Error::Stopped { reason: SkipReason::Seen });
}

#[test]
fn what_was_read_once_stays_stopped() {
    let history = and(planned([tried(Email)]), [started(Email, 1), Event::Read {}, Event::Unread {}]);
    given(history)
        .when(fails(Email, 1, FailureClass::Transient))
        .then([failed_on(Email, 1, FailureClass::Transient), skipped(Email, SkipReason::Read)]);
}

#[test]
fn nothing_is_retried_that_the_user_has_seen() {
    let dead = Event::DeliveryDeadLettered { channel: Email };
    let history = and(planned([tried(Email)]), [started(Email, 1), dead, Event::Seen {}]);
    for channel in [None, Some(Email)] {
        let refused = Error::Stopped { reason: SkipReason::Seen };
        given(history.clone()).when(Action::Retry { channel }).then_err(refused);
    }
}

#[test]
fn an_end_ends_everything_that_had_not_begun() {
    for (end, action, status) in [
        (Event::Cancelled {}, Action::Cancel, DeliveryStatus::Cancelled),
        (Event::Expired {}, Action::Expire { at: EXPIRES_AT }, DeliveryStatus::Expired),
    ] {
        let history = and(plan_with(None, None), [activated(InApp, Email, EMAIL_AT), started(Email, 1)]);
        let done = given(history.clone()).when(action.clone()).then([end.clone()]);
        let statuses: Vec<_> = done.deliveries.iter().map(|d| d.status).collect();
        assert_eq!(statuses, [status, DeliveryStatus::Started, status]);
        assert_eq!(done.deliveries[2].due_at, None);
        let scheduled = fold(and(history, [scheduled_again(Email, 2, EMAIL_AT), end]));
        assert_eq!(scheduled.deliveries[1].status, status);
    }
}

#[test]
fn an_attempt_that_was_under_way_at_the_end_tells_how_it_went() {
    for (end, reason, error) in [
        (Event::Cancelled {}, SkipReason::Cancelled, Error::Cancelled),
        (Event::Expired {}, SkipReason::Expired, Error::Expired),
    ] {
        let history = and(planned([tried(Email), PlanStep::on(Slack)]), [started(Email, 1), end]);
        let arrived = Event::DeliverySucceeded { channel: Email, attempt: 1, provider_ref: None };
        given(history.clone()).when(ended(Email, 1, Outcome::delivered())).then([arrived]);
        let failed = [failed_on(Email, 1, FailureClass::Transient), skipped(Email, reason)];
        given(history.clone()).when(fails(Email, 1, FailureClass::Transient)).then(failed.clone());
        given(and(history.clone(), failed))
            .when(fails(Email, 1, FailureClass::Transient))
            .then_err(error.clone());
        given(history.clone()).when(ended(Slack, 1, Outcome::delivered())).then_err(error.clone());
        let stale = Error::StaleAttempt { current: 1 };
        given(history.clone()).when(ended(Email, 2, Outcome::delivered())).then_err(stale);
        // A new one does not begin, even in the place of one that was lost.
        let take_over = Action::Start { channel: Email, attempt: 2, now: DEADLINE, deadline: EMAIL_AT };
        given(history).when(take_over).then_err(error);
    }
}

#[test]
fn nothing_is_dead_lettered_after_the_end() {
    let history = and(
        planned([PlanStep::on(Email), PlanStep::on(Slack)]),
        [exhausted(Email, 1), activated(Email, Slack, NOW), started(Slack, 1), Event::Cancelled {}],
    );
    given(history).when(skips(Slack, SkipReason::NoAddress)).then([skipped(Slack, SkipReason::Cancelled)]);
}

#[test]
fn what_would_stand_in_for_a_step_that_nobody_needs_is_needless_too() {
    let insists = PlanStep { unless: Some(Unless::Read), ..PlanStep::on(Slack) };
    let history = and(planned([tried(Email), insists]), [started(Email, 1), Event::Seen {}]);
    let needless = [skipped(Email, SkipReason::Seen), skipped(Slack, SkipReason::Seen)];
    given(history).when(skips(Email, SkipReason::NoAddress)).then(needless);
}
