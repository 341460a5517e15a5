//! Attempts on channels that are called: who may begin one, and what follows from how it ended.

use time::Duration;

use crate::notification::{
    Action, Channel, DeliveryStatus, Error, Event, FailureClass, Jitter, Outcome, PlanStep, SkipReason,
};

use super::harness::given;
use super::samples::*;

const EMAIL: Channel = Channel::Email;

/// The first of three attempts by e-mail may begin.
fn due() -> Vec<Event> {
    planned([tried(EMAIL)])
}

/// The given attempt by e-mail is under way.
fn under_way(attempt: u32) -> Vec<Event> {
    and(due(), [started(EMAIL, attempt)])
}

fn later(seconds: i64) -> time::OffsetDateTime {
    NOW + Duration::seconds(seconds)
}

#[test]
fn an_attempt_begins_and_is_left_to_whoever_began_it() {
    let notification = given(due()).when(start(EMAIL, 1)).then([started(EMAIL, 1)]);
    assert_eq!(notification.deliveries[0].status, DeliveryStatus::Started);
    assert_eq!(notification.deliveries[0].deadline, Some(DEADLINE));
    given(under_way(1)).when(start(EMAIL, 1)).then_err(Error::AlreadyStarted);
    let last_moment = Action::Start {
        channel: EMAIL,
        attempt: 1,
        now: DEADLINE - Duration::MILLISECOND,
        deadline: later(60),
    };
    given(under_way(1)).when(last_moment).then_err(Error::AlreadyStarted);
}

#[test]
fn only_the_next_attempt_begins() {
    for attempt in [0, 2, u32::MAX] {
        given(due()).when(start(EMAIL, attempt)).then_err(Error::StaleAttempt { current: 1 });
    }
    given(under_way(1)).when(start(EMAIL, 2)).then_err(Error::StaleAttempt { current: 1 });
}

#[test]
fn an_attempt_that_outlived_its_deadline_is_lost_and_the_next_one_begins() {
    let (now, deadline) = (DEADLINE, later(60));
    let take_over = |attempt| Action::Start { channel: EMAIL, attempt, now, deadline };
    given(under_way(1)).when(take_over(1)).then_err(Error::StaleAttempt { current: 2 });
    let lost = given(under_way(1)).when(take_over(2)).decided();
    let [Event::DeliveryFailed { attempt: 1, error, .. }, began] = &lost[..] else { panic!("{lost:?}") };
    assert_eq!(error.class, FailureClass::Unknown);
    assert_eq!(*began, Event::DeliveryStarted { channel: EMAIL, attempt: 2, deadline });
    // What comes of the lost one after all is stale.
    let taken_over = and(under_way(1), lost.clone());
    let arrived = ended(EMAIL, 1, Outcome::delivered());
    given(taken_over).when(arrived.clone()).then_err(Error::StaleAttempt { current: 2 });
    // Before somebody takes over it still counts.
    given(under_way(1)).when(arrived).then([Event::DeliverySucceeded {
        channel: EMAIL,
        attempt: 1,
        provider_ref: None,
    }]);
}

#[test]
fn a_lost_attempt_that_was_the_last_has_none_after_it() {
    let take_over = |attempt| Action::Start { channel: EMAIL, attempt, now: DEADLINE, deadline: later(60) };
    given(under_way(3)).when(take_over(4)).then_err(Error::NoAttemptLeft);
    let once = and(planned([PlanStep::on(EMAIL)]), [started(EMAIL, 1)]);
    given(once.clone()).when(take_over(2)).then_err(Error::NoAttemptLeft);
    // So what is known of it is said, and ends it.
    given(once).when(fails(EMAIL, 1, FailureClass::Unknown)).then([
        failed_on(EMAIL, 1, FailureClass::Unknown),
        exhausted(EMAIL, 1),
        Event::DeliveryDeadLettered { channel: EMAIL },
    ]);
}

#[test]
fn nothing_is_called_in_the_app() {
    given([created()]).when(start(Channel::InApp, 1)).then_err(Error::NothingToCall);
    given([created()]).when(start(EMAIL, 1)).then_err(Error::ChannelNotPlanned);
}

#[test]
fn nothing_begins_before_the_release_or_after_the_end() {
    let plan = crate::notification::Plan::new(vec![tried(EMAIL)]).unwrap();
    let hidden = crate::notification::Create { plan, deliver_at: Some(RELEASE_AT), ..create() };
    given([created_from(hidden)]).when(start(EMAIL, 1)).then_err(Error::NotReleased);
    for (end, error) in [(Event::Cancelled {}, Error::Cancelled), (Event::Expired {}, Error::Expired)] {
        given(and(due(), [end])).when(start(EMAIL, 1)).then_err(error);
    }
}

#[test]
fn a_delivered_attempt_keeps_what_the_provider_calls_it() {
    let outcome = Outcome::Delivered { provider_ref: Some("<1@mail.example>".into()) };
    let provider_ref = Some("<1@mail.example>".to_owned());
    let succeeded = Event::DeliverySucceeded { channel: EMAIL, attempt: 1, provider_ref };
    let done = given(under_way(1)).when(ended(EMAIL, 1, outcome.clone())).then([succeeded.clone()]);
    assert_eq!(done.deliveries[0].status, DeliveryStatus::Delivered);
    let history = and(under_way(1), [succeeded]);
    given(history.clone()).when(ended(EMAIL, 1, outcome)).then_nothing();
    given(history.clone()).when(ended(EMAIL, 1, Outcome::delivered())).then_nothing();
    given(history).when(start(EMAIL, 1)).then_err(Error::AttemptEnded { status: DeliveryStatus::Delivered });
}

#[test]
fn an_outcome_needs_an_attempt_that_began() {
    given(due()).when(ended(EMAIL, 1, Outcome::delivered())).then_err(Error::NotStarted);
    given(due()).when(fails(EMAIL, 1, FailureClass::Transient)).then_err(Error::NotStarted);
}

#[test]
fn a_transient_failure_is_tried_again_when_the_policy_says() {
    let again = later(0) + Duration::milliseconds(500);
    let events = [failed_on(EMAIL, 1, FailureClass::Transient), scheduled_again(EMAIL, 2, again)];
    let action = fails(EMAIL, 1, FailureClass::Transient);
    let notification = given(under_way(1)).when(action.clone()).then(events.clone());
    assert_eq!(notification.deliveries[0].status, DeliveryStatus::Scheduled);
    assert_eq!((notification.deliveries[0].attempt, notification.deliveries[0].due_at), (2, Some(again)));

    let history = and(under_way(1), events);
    given(history.clone()).when(action).then_err(Error::StaleAttempt { current: 2 });
    given(history.clone()).when(start(EMAIL, 1)).then_err(Error::StaleAttempt { current: 2 });
    given(history.clone()).when(start(EMAIL, 2)).then_err(Error::NotDue);
    let when_due = Action::Start { channel: EMAIL, attempt: 2, now: again, deadline: DEADLINE };
    given(history).when(when_due).then([started(EMAIL, 2)]);
}

#[test]
fn a_server_that_asks_for_time_gets_it() {
    let outcome = Outcome::Failed {
        failure: failure(FailureClass::Transient),
        retry_after_s: Some(90),
        jitter: Jitter(u32::MAX),
    };
    given(under_way(1))
        .when(ended(EMAIL, 1, outcome))
        .then([failed_on(EMAIL, 1, FailureClass::Transient), scheduled_again(EMAIL, 2, later(90))]);
}

#[test]
fn the_last_attempt_exhausts_the_channel() {
    let events = [
        failed_on(EMAIL, 3, FailureClass::Transient),
        exhausted(EMAIL, 3),
        Event::DeliveryDeadLettered { channel: EMAIL },
    ];
    let action = fails(EMAIL, 3, FailureClass::Transient);
    given(under_way(3)).when(action.clone()).then(events.clone());
    given(and(under_way(3), events)).when(action).then_nothing();
}

#[test]
fn what_will_not_pass_by_itself_is_not_tried_again() {
    use FailureClass::{Gone, Permanent, Reported, Unknown};
    for class in [Permanent, Gone, Reported, Unknown] {
        given(under_way(1)).when(fails(EMAIL, 1, class)).then([
            failed_on(EMAIL, 1, class),
            exhausted(EMAIL, 1),
            Event::DeliveryDeadLettered { channel: EMAIL },
        ]);
    }
}

#[test]
fn without_a_policy_there_is_one_attempt() {
    let history = and(planned([PlanStep::on(EMAIL)]), [started(EMAIL, 1)]);
    let events = given(history).when(fails(EMAIL, 1, FailureClass::Transient)).decided();
    assert_eq!(events[1], exhausted(EMAIL, 1));
}

#[test]
fn a_retry_that_somebody_asks_for_is_one_more_attempt() {
    let dead = and(under_way(3), [exhausted(EMAIL, 3), Event::DeliveryDeadLettered { channel: EMAIL }]);
    let asked = Event::DeliveryRetryRequested { channel: EMAIL, attempt: 4 };
    given(dead.clone()).when(retry()).then([asked.clone()]);
    let again = and(dead, [asked]);
    given(again.clone()).when(start(EMAIL, 4)).then([started(EMAIL, 4)]);
    let events =
        given(and(again, [started(EMAIL, 4)])).when(fails(EMAIL, 4, FailureClass::Transient)).decided();
    assert_eq!(events[1], exhausted(EMAIL, 4), "it does not begin the policy anew");
}

#[test]
fn a_channel_is_skipped_without_a_failure_or_a_dead_letter() {
    for history in [due(), under_way(1)] {
        let action = skips(EMAIL, SkipReason::NoAddress);
        let done = given(history.clone()).when(action.clone()).then([skipped(EMAIL, SkipReason::NoAddress)]);
        assert_eq!(done.deliveries[0].status, DeliveryStatus::Skipped);
        assert_eq!(done.deliveries[0].skipped, Some(SkipReason::NoAddress));
        let history = and(history, [skipped(EMAIL, SkipReason::NoAddress)]);
        given(history.clone()).when(action).then_nothing();
        let ended = || Error::AttemptEnded { status: DeliveryStatus::Skipped };
        given(history.clone()).when(start(EMAIL, 1)).then_err(ended());
        given(history.clone()).when(fails(EMAIL, 1, FailureClass::Transient)).then_err(ended());
        given(history).when(retry()).then_err(Error::NothingToRetry);
    }
}
