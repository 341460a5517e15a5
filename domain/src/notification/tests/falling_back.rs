//! From step to step: a turn comes by time, or because the step before failed or was skipped, and may be needless then.

use time::Duration;

use crate::notification::{
    Action, Channel, DeliveryStatus, Error, Event, FailureClass, Outcome, PlanStep, SkipReason, Unless,
};

use super::harness::given;
use super::samples::*;

use Channel::{Email, InApp, Slack, Webhook};

fn after(channel: Channel, after_s: u32) -> PlanStep {
    PlanStep { after_s: Some(after_s), ..PlanStep::on(channel) }
}

fn unless(unless: Unless, step: PlanStep) -> PlanStep {
    PlanStep { unless: Some(unless), ..step }
}

fn on(channel: Channel) -> PlanStep {
    PlanStep::on(channel)
}

fn dead(channel: Channel) -> Event {
    Event::DeliveryDeadLettered { channel }
}

fn activate(channel: Channel, at: time::OffsetDateTime) -> Action {
    Action::Activate { channel, at }
}

/// The one attempt of a channel fails for good; what it comes to after that.
fn fails_for_good(history: Vec<Event>, channel: Channel) -> Vec<Event> {
    let history = and(history, [started(channel, 1)]);
    let events = given(history).when(fails(channel, 1, FailureClass::Permanent)).decided();
    assert_eq!(events[..2], [failed_on(channel, 1, FailureClass::Permanent), exhausted(channel, 1)]);
    events[2..].to_vec()
}

#[test]
fn a_step_is_activated_at_its_instant() {
    let history = planned([in_app(), after(Email, 300)]);
    let activation = activated(InApp, Email, EMAIL_AT);
    let done = given(history.clone()).when(activate(Email, EMAIL_AT)).then([activation.clone()]);
    assert_eq!(done.deliveries[1].status, DeliveryStatus::Pending);
    given(and(history.clone(), [activation])).when(activate(Email, EMAIL_AT)).then_nothing();
    given(history).when(start(Email, 1)).then_err(Error::NotActivated);
}

#[test]
fn any_other_instant_or_channel_changes_nothing() {
    let history = planned([in_app(), after(Email, 300), on(Slack)]);
    for at in [EMAIL_AT - Duration::NANOSECOND, EMAIL_AT + Duration::NANOSECOND, OTHER_INSTANT] {
        given(history.clone()).when(activate(Email, at)).then_nothing();
    }
    for channel in [InApp, Slack, Webhook] {
        given(history.clone()).when(activate(channel, EMAIL_AT)).then_nothing();
    }
    for end in [Event::Cancelled {}, Event::Expired {}] {
        given(and(history.clone(), [end])).when(activate(Email, EMAIL_AT)).then_nothing();
    }
}

#[test]
fn a_step_takes_over_at_once_from_one_that_failed() {
    for second in [on(Slack), after(Slack, 300)] {
        let history = planned([on(Email), second]);
        assert_eq!(fails_for_good(history.clone(), Email), [activated(Email, Slack, NOW)]);
        // Its own instant comes too late.
        let active = and(history, [exhausted(Email, 1), activated(Email, Slack, NOW)]);
        given(active.clone()).when(activate(Slack, EMAIL_AT)).then_nothing();
        given(active).when(start(Slack, 1)).then([started(Slack, 1)]);
    }
}

#[test]
fn a_step_takes_over_at_once_from_one_that_was_skipped() {
    let history = planned([on(Email), on(Slack)]);
    given(history)
        .when(skips(Email, SkipReason::Preference))
        .then([skipped(Email, SkipReason::Preference), activated(Email, Slack, NOW)]);
}

#[test]
fn a_failure_that_is_reported_of_the_inbox_is_handed_on() {
    let history = planned([in_app(), on(Email)]);
    let [failed, exhausted, _] = dead_lettered(1);
    given(history).when(super::samples::failed(None)).then([failed, exhausted, activated(InApp, Email, NOW)]);
}

#[test]
fn a_step_without_a_time_is_needless_once_the_one_before_is_delivered() {
    let history = planned([in_app(), on(Email), on(Slack), after(Webhook, 3600)]);
    given(history).when(delivered(None)).then([
        succeeded(1),
        skipped(Email, SkipReason::Delivered),
        skipped(Slack, SkipReason::Delivered),
    ]);
}

#[test]
fn a_step_with_a_time_comes_though_the_one_before_was_delivered_unless_it_says_otherwise() {
    let history = |step| and(planned([in_app(), step]), [succeeded(1)]);
    let plain = history(after(Email, 300));
    given(plain).when(activate(Email, EMAIL_AT)).then([activated(InApp, Email, EMAIL_AT)]);
    let needless = history(unless(Unless::Delivered, after(Email, 300)));
    given(needless).when(activate(Email, EMAIL_AT)).then([skipped(Email, SkipReason::Delivered)]);
    let pending = planned([in_app(), unless(Unless::Delivered, after(Email, 300))]);
    given(pending).when(activate(Email, EMAIL_AT)).then([activated(InApp, Email, EMAIL_AT)]);
}

#[test]
fn what_would_stand_in_for_a_needless_step_is_needless_too() {
    let steps = [in_app(), unless(Unless::Delivered, after(Email, 300)), on(Slack)];
    given(and(planned(steps), [succeeded(1)]))
        .when(activate(Email, EMAIL_AT))
        .then([skipped(Email, SkipReason::Delivered), skipped(Slack, SkipReason::Delivered)]);
    let steps = [
        in_app(),
        unless(Unless::Delivered, after(Email, 300)),
        unless(Unless::Delivered, after(Slack, 3600)),
    ];
    given(and(planned(steps), [succeeded(1), skipped(Email, SkipReason::Delivered)]))
        .when(activate(Slack, WEBHOOK_AT))
        .then([skipped(Slack, SkipReason::Delivered)]);
}

#[test]
fn the_last_failure_is_dead_lettered() {
    let history = and(planned([on(Email), on(Slack)]), [exhausted(Email, 1), activated(Email, Slack, NOW)]);
    assert_eq!(fails_for_good(history, Slack), [dead(Slack)]);
}

#[test]
fn a_failure_waits_for_what_another_channel_comes_to() {
    // The e-mail is still tried while Slack, whose time had come, fails.
    let trying = and(planned([on(Email), after(Slack, 300)]), [activated(Email, Slack, EMAIL_AT)]);
    let trying = and(trying, [started(Email, 1)]);
    assert_eq!(fails_for_good(trying.clone(), Slack), []);
    let events =
        given(and(trying, [exhausted(Slack, 1)])).when(fails(Email, 1, FailureClass::Gone)).decided();
    assert_eq!(events[2..], [dead(Email)]);
}

#[test]
fn a_pending_item_in_the_inbox_does_not_hide_a_message_that_could_not_be_sent() {
    let history = and(planned([in_app(), after(Email, 300)]), [activated(InApp, Email, EMAIL_AT)]);
    assert_eq!(fails_for_good(history.clone(), Email), [dead(Email)]);
    assert_eq!(fails_for_good(and(history, [succeeded(1)]), Email), [dead(Email)]);
}

#[test]
fn a_failure_that_only_skipped_steps_followed_is_dead_lettered() {
    let history = and(planned([on(Email), on(Slack)]), [exhausted(Email, 1), activated(Email, Slack, NOW)]);
    given(history)
        .when(skips(Slack, SkipReason::NoAddress))
        .then([skipped(Slack, SkipReason::NoAddress), dead(Email)]);
}

#[test]
fn a_plan_of_skipped_steps_ends_without_a_dead_letter() {
    let history = and(
        planned([on(Email), on(Slack)]),
        [skipped(Email, SkipReason::NoAddress), activated(Email, Slack, NOW)],
    );
    given(history)
        .when(skips(Slack, SkipReason::NotConfigured))
        .then([skipped(Slack, SkipReason::NotConfigured)]);
}

#[test]
fn what_another_step_took_over_is_retried_only_by_name() {
    let history = and(planned([on(Email), on(Slack)]), [exhausted(Email, 1), activated(Email, Slack, NOW)]);
    let email = Event::DeliveryRetryRequested { channel: Email, attempt: 2 };
    given(history.clone()).when(retry()).then_err(Error::NothingToRetry);
    given(history.clone()).when(Action::Retry { channel: Some(Email) }).then([email]);
    given(history.clone()).when(Action::Retry { channel: Some(Slack) }).then_err(Error::NothingToRetry);
    let both = and(history, [exhausted(Slack, 1), dead(Slack)]);
    given(both).when(retry()).then([Event::DeliveryRetryRequested { channel: Slack, attempt: 2 }]);
}

#[test]
fn an_outcome_before_its_turn_is_refused() {
    let history = planned([in_app(), after(Email, 300)]);
    for outcome in [Outcome::delivered(), Outcome::Skipped { reason: SkipReason::NoAddress }] {
        given(history.clone()).when(ended(Email, 1, outcome)).then_err(Error::NotActivated);
    }
}
