//! The skin that cqrs-es sees: `handle` emits what `decide` decides and leaves what `evolve` leaves.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};

use crate::Stored;
use crate::notification::{Action, Command, Error, Event, Notification};

use super::harness::fold;
use super::samples::*;

/// Nothing in the aggregate waits, so one poll is the whole run and no runtime is needed.
fn run<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a pure aggregate must not wait"),
    }
}

fn handle(notification: &mut Notification, command: Command) -> Result<Vec<Event>, Error> {
    let sink = EventSink::default();
    run(notification.handle(command, &(), &sink))?;
    Ok(run(sink.collect()))
}

fn assert_handle_is_decide_and_evolve(history: Vec<Event>, command: Command) {
    let before = fold(history);
    let mut handled = before.clone();
    let answer = handle(&mut handled, command.clone());

    let decided = before.decide(&command);
    assert_eq!(answer, decided, "{command:?}");
    let mut evolved = before;
    for event in decided.iter().flatten() {
        evolved.evolve(event);
    }
    assert_eq!(handled, evolved, "{command:?}");
}

#[test]
fn handle_equals_decide_then_evolve_for_every_action_and_stage() {
    let histories = [
        vec![],
        vec![scheduled()],
        vec![created()],
        created_and([Event::Read {}, Event::Archived {}, succeeded(1)]),
        created_and([Event::Snoozed { until: SNOOZE_UNTIL }, succeeded(1)]),
        created_and(dead_lettered(1)),
        created_and([Event::Cancelled {}]),
        created_and([Event::Expired {}]),
    ];
    for history in histories {
        for action in one_action_of_each_kind() {
            assert_handle_is_decide_and_evolve(history.clone(), Command { issuer: service(), action });
        }
    }
}

#[test]
fn handle_emits_and_applies_the_events_of_one_command_in_their_order() {
    let mut notification = fold([created()]);
    let command = Command { issuer: service(), action: Action::Archive };
    let expected = vec![Event::Read {}, Event::Archived {}, succeeded(1)];
    assert_eq!(handle(&mut notification, command), Ok(expected.clone()));
    assert_eq!(notification, fold(created_and(expected)));
}

#[test]
fn a_refused_command_leaves_the_aggregate_as_it_was() {
    let mut notification = fold([scheduled()]);
    let command = Command { issuer: service(), action: delivered(None) };
    assert_eq!(handle(&mut notification, command), Err(Error::NotReleased));
    assert_eq!(notification, fold([scheduled()]));
}

#[test]
fn apply_folds_an_event_as_evolve_does() {
    let mut applied = Notification::default();
    for event in one_event_of_each_kind() {
        applied.apply(event);
    }
    assert_eq!(applied, fold(one_event_of_each_kind()));
}

#[test]
fn the_framework_stores_every_event_under_its_name_and_current_version() {
    for event in one_event_of_each_kind() {
        assert_eq!(event.event_type(), event.name());
        assert_eq!(Some(event.event_version().as_str()), Event::version_of(event.name()));
    }
    assert_eq!(Notification::TYPE, "notification");
}
