//! What a plan may be, and what it fixes at the creation.

use time::Duration;
use time::macros::datetime;

use crate::notification::{
    Channel, Create, DeliveryStatus, InvalidContent, Plan, PlanStep, RetryPolicy, SkipReason, Unless,
};

use super::harness::fold;
use super::samples::*;

fn after(channel: Channel, after_s: u32) -> PlanStep {
    PlanStep { after_s: Some(after_s), ..PlanStep::on(channel) }
}

#[track_caller]
fn assert_refused(steps: Vec<PlanStep>, pointer: &str, detail: &'static str) {
    assert_eq!(Plan::new(steps).unwrap_err(), InvalidContent { pointer: pointer.into(), detail });
}

#[test]
fn a_plan_has_1_to_8_steps() {
    let on = |index: usize| PlanStep::on(Channel::ALL[index % 5]);
    assert_refused(vec![], "/plan", "must have 1 to 8 steps");
    assert_refused((0..9).map(on).collect(), "/plan", "must have 1 to 8 steps");
    // There are not enough channels yet for eight.
    assert_eq!(Plan::new((0..5).map(on).collect()).unwrap().steps().len(), 5);
}

#[test]
fn a_channel_stands_in_a_plan_once() {
    let steps = vec![in_app(), PlanStep::on(Channel::Email), PlanStep::on(Channel::Email)];
    assert_refused(steps, "/plan/2/channel", "must not repeat the channel of another step");
}

#[test]
fn the_inbox_is_the_first_step_or_none() {
    let steps = vec![PlanStep::on(Channel::Email), in_app()];
    assert_refused(steps, "/plan/1/channel", "`in_app` can only be the first step");
    assert!(Plan::new(vec![PlanStep::on(Channel::Email)]).is_ok());
}

#[test]
fn the_first_step_waits_for_nothing() {
    assert_refused(vec![after(Channel::Email, 1)], "/plan/0/after", "the first step waits for nothing");
    let unless = PlanStep { unless: Some(Unless::Read), ..PlanStep::on(Channel::Email) };
    assert_refused(vec![unless], "/plan/0/unless", "the first step waits for nothing");
}

#[test]
fn a_step_waits_1_second_to_30_days() {
    for seconds in [1, Plan::AFTER_S_MAX] {
        assert!(Plan::new(vec![in_app(), after(Channel::Email, seconds)]).is_ok());
    }
    for seconds in [0, Plan::AFTER_S_MAX + 1, u32::MAX] {
        let steps = vec![in_app(), after(Channel::Email, seconds)];
        assert_refused(steps, "/plan/1/after", "must be 1 second to 30 days");
    }
}

#[test]
fn who_names_no_plan_gets_the_inbox_and_nothing_is_due() {
    assert_eq!(Plan::default().steps(), [in_app()]);
    assert_eq!(Plan::default().counted_from(NOW), Plan::default());
}

#[test]
fn the_first_step_is_pending_and_the_others_wait() {
    let notification = fold(planned([in_app(), after(Channel::Email, 300), PlanStep::on(Channel::Slack)]));
    let standing: Vec<_> = notification.deliveries.iter().map(|d| (d.status, d.due_at)).collect();
    let expected = [
        (DeliveryStatus::Pending, None),
        (DeliveryStatus::Waiting, Some(EMAIL_AT)),
        (DeliveryStatus::Waiting, None),
    ];
    assert_eq!(standing, expected);
}

#[test]
fn delays_count_from_the_release() {
    let plan = Plan::new(vec![PlanStep::on(Channel::Slack), after(Channel::Email, 300)]).unwrap();
    let due = |deliver_at| {
        let plan = plan.clone();
        let notification = fold([created_from(Create { plan, deliver_at, ..create() })]);
        [0, 1].map(|step: usize| notification.deliveries[step].due_at)
    };
    assert_eq!(due(None), [Some(NOW), Some(EMAIL_AT)]);
    assert_eq!(due(Some(RELEASE_AT)), [Some(RELEASE_AT), Some(RELEASE_AT + Duration::minutes(5))]);
    // An instant is told in milliseconds, and no later than the calendar ends.
    let fine = RELEASE_AT + Duration::nanoseconds(1_999_999);
    assert_eq!(due(Some(fine))[0], Some(RELEASE_AT + Duration::milliseconds(1)));
    let last = datetime!(9999-12-31 23:59:59 UTC);
    assert!(due(Some(last))[1] >= Some(last));
}

#[test]
fn whoever_asks_for_a_plan_does_not_say_when_it_is_due() {
    let asked = PlanStep { due_at: Some(OTHER_INSTANT), ..PlanStep::on(Channel::Slack) };
    let steps = vec![PlanStep { retry: Some(RetryPolicy::STANDARD_WEBHOOKS), ..in_app() }, asked];
    let fixed = Plan::new(steps.clone()).unwrap().counted_from(NOW);
    assert_eq!(fixed.steps()[1].due_at, None);
    assert_eq!(fixed.steps()[0].retry, steps[0].retry);
}

#[test]
fn what_is_skipped_from_the_creation_on_hands_its_turn_to_the_next_step() {
    let mut plan = Plan::new(vec![in_app(), after(Channel::Email, 300), after(Channel::Slack, 600)]).unwrap();
    assert!(plan.is_in_inbox());
    plan.skip(Channel::InApp, SkipReason::Preference);
    assert!(!plan.is_in_inbox());
    let standing = |plan: Plan| -> Vec<_> {
        let notification = fold([created_from(Create { plan, ..create() })]);
        notification.deliveries.iter().map(|d| (d.status, d.due_at, d.skipped)).collect()
    };
    let skipped = |reason| (DeliveryStatus::Skipped, None, Some(reason));
    let waiting = (DeliveryStatus::Waiting, Some(NOW + Duration::minutes(10)), None);
    let expected = [skipped(SkipReason::Preference), (DeliveryStatus::Pending, Some(NOW), None), waiting];
    assert_eq!(standing(plan.clone()), expected);
    plan.skip_all(SkipReason::Throttled);
    let throttled = skipped(SkipReason::Throttled);
    assert_eq!(standing(plan), [skipped(SkipReason::Preference), throttled, throttled], "nobody is called");
}
