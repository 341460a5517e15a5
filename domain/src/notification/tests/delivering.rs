//! Outcomes of attempts and retries: an attempt ends once, and only the current one can end.

use crate::notification::{
    Action, Channel, Delivery, DeliveryStatus, Error, Event, Failure, FailureClass, Outcome, SkipReason,
};

use super::harness::{fold, given};
use super::samples::*;

fn retried() -> Vec<Event> {
    created_and(dead_lettered(1)).into_iter().chain([retry_requested(2)]).collect()
}

fn attempt(attempt: u32, status: DeliveryStatus) -> [Delivery; 1] {
    [Delivery { attempt, status, ..Delivery::planned(&in_app(), true) }]
}

#[test]
fn a_delivered_outcome_ends_the_pending_attempt() {
    for named in [None, Some(1)] {
        let notification = given([created()]).when(delivered(named)).then([succeeded(1)]);
        assert_eq!(notification.deliveries, attempt(1, DeliveryStatus::Delivered));
    }
}

#[test]
fn a_delivery_marks_nothing() {
    let notification = given([created()]).when(delivered(None)).then([succeeded(1)]);
    assert!(!notification.seen && !notification.read);
}

#[test]
fn a_repeated_delivered_outcome_changes_nothing() {
    for named in [None, Some(1)] {
        given(created_and([succeeded(1)])).when(delivered(named)).then_nothing();
    }
}

#[test]
fn a_failed_outcome_is_recorded_exhausts_the_channel_and_dead_letters_it() {
    let outcome = Outcome::reported("the device is gone".into());
    let error = Failure { class: FailureClass::Reported, detail: "the device is gone".into() };
    let channel = Channel::InApp;
    let notification =
        given([created()]).when(Action::Deliver { channel, attempt: None, outcome, at: NOW }).then([
            Event::DeliveryFailed { channel, attempt: 1, error },
            Event::DeliveryExhausted { channel, attempts: 1 },
            Event::DeliveryDeadLettered { channel },
        ]);
    assert_eq!(notification.deliveries, attempt(1, DeliveryStatus::DeadLettered));
}

#[test]
fn a_repeated_failed_outcome_changes_nothing_even_in_other_words() {
    let action = ended(Channel::InApp, 1, Outcome::reported("timed out".into()));
    given(created_and(dead_lettered(1))).when(failed(None)).then_nothing();
    given(created_and(dead_lettered(1))).when(action).then_nothing();
}

#[test]
fn an_outcome_that_contradicts_the_recorded_one_is_refused() {
    let ended = |status| Error::AttemptEnded { status };
    for named in [None, Some(1)] {
        given(created_and([succeeded(1)])).when(failed(named)).then_err(ended(DeliveryStatus::Delivered));
        given(created_and(dead_lettered(1)))
            .when(delivered(named))
            .then_err(ended(DeliveryStatus::DeadLettered));
    }
}

#[test]
fn a_failure_reported_after_the_user_marked_the_item_is_refused() {
    given(created_and([Event::Seen {}, succeeded(1)]))
        .when(failed(Some(1)))
        .then_err(Error::AttemptEnded { status: DeliveryStatus::Delivered });
}

#[test]
fn an_outcome_of_another_attempt_than_the_current_one_is_refused() {
    for named in [0, 2, u32::MAX] {
        given([created()]).when(delivered(Some(named))).then_err(Error::StaleAttempt { current: 1 });
        given([created()]).when(failed(Some(named))).then_err(Error::StaleAttempt { current: 1 });
    }
    given(retried()).when(delivered(Some(1))).then_err(Error::StaleAttempt { current: 2 });
    given(retried()).when(failed(Some(1))).then_err(Error::StaleAttempt { current: 2 });
}

#[test]
fn a_stale_attempt_is_refused_even_when_its_outcome_is_the_recorded_one() {
    given(created_and([succeeded(1)])).when(delivered(Some(2))).then_err(Error::StaleAttempt { current: 1 });
}

#[test]
fn an_outcome_or_a_retry_on_a_channel_outside_the_plan_is_refused() {
    let named = Action::Retry { channel: Some(Channel::InApp) };
    for action in [delivered(None), failed(None), delivered(Some(1)), named] {
        given([created_without_plan()]).when(action).then_err(Error::ChannelNotPlanned);
    }
}

#[test]
fn retrying_a_dead_lettered_delivery_opens_the_next_attempt() {
    for channel in [None, Some(Channel::InApp)] {
        let notification =
            given(created_and(dead_lettered(1))).when(Action::Retry { channel }).then([retry_requested(2)]);
        assert_eq!(notification.deliveries, attempt(2, DeliveryStatus::Pending));
    }
}

#[test]
fn retrying_while_the_attempt_is_pending_is_refused() {
    for channel in [None, Some(Channel::InApp)] {
        given([created()]).when(Action::Retry { channel }).then_err(Error::NothingToRetry);
        given(retried()).when(Action::Retry { channel }).then_err(Error::NothingToRetry);
    }
}

#[test]
fn retrying_a_delivered_notification_is_refused() {
    for channel in [None, Some(Channel::InApp)] {
        let history = created_and([succeeded(1)]);
        given(history).when(Action::Retry { channel }).then_err(Error::NothingToRetry);
    }
}

#[test]
fn retrying_a_notification_without_a_plan_is_refused() {
    given([created_without_plan()]).when(retry()).then_err(Error::NothingToRetry);
}

#[test]
fn the_outcome_of_a_retried_attempt_carries_its_number() {
    for named in [None, Some(2)] {
        given(retried()).when(delivered(named)).then([succeeded(2)]);
        given(retried()).when(failed(named)).then(dead_lettered(2));
    }
}

#[test]
fn a_delivery_can_be_retried_as_often_as_it_fails() {
    let history = retried().into_iter().chain(dead_lettered(2));
    let notification = given(history).when(retry()).then([retry_requested(3)]);
    assert_eq!(notification.deliveries, attempt(3, DeliveryStatus::Pending));
}

#[test]
fn a_failure_alone_leaves_the_attempt_to_the_events_after_it() {
    let [failed, _, _] = dead_lettered(1);
    let notification = fold([created(), failed]);
    assert_eq!(notification.deliveries, attempt(1, DeliveryStatus::Pending));
}

#[test]
fn facts_about_a_channel_outside_the_plan_change_nothing() {
    let before = fold([created_without_plan()]);
    for event in dead_lettered(1).into_iter().chain([succeeded(1), retry_requested(2)]) {
        assert_eq!(fold([created_without_plan(), event]), before);
    }
}

#[test]
fn channels_statuses_classes_and_reasons_have_one_spelling() {
    let json = |value: serde_json::Value| value.as_str().unwrap().to_owned();
    for channel in Channel::ALL {
        assert_eq!(json(serde_json::json!(channel)), channel.as_str());
        assert_eq!(Channel::parse(channel.as_str()), Some(channel));
    }
    for status in DeliveryStatus::ALL {
        assert_eq!(json(serde_json::json!(status)), status.as_str());
        assert_eq!(DeliveryStatus::parse(status.as_str()), Some(status));
    }
    for class in FailureClass::ALL {
        assert_eq!(json(serde_json::json!(class)), class.as_str());
        assert_eq!(FailureClass::parse(class.as_str()), Some(class));
    }
    for reason in SkipReason::ALL {
        assert_eq!(json(serde_json::json!(reason)), reason.as_str());
        assert_eq!(SkipReason::parse(reason.as_str()), Some(reason));
    }
}
