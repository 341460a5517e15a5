//! Whose notification it is: for anybody else it does not exist.

use crate::Issuer;
use crate::notification::{Action, Command, Error, Event};

use super::harness::{fold, given};
use super::samples::*;

fn one_history_of_each_stage() -> [Vec<Event>; 4] {
    [vec![scheduled()], vec![created()], created_and([Event::Cancelled {}]), created_and([Event::Expired {}])]
}

fn actions_on_an_existing_one() -> impl Iterator<Item = Action> {
    one_action_of_each_kind().filter(|action| !matches!(action, Action::Create(_)))
}

#[track_caller]
fn is_not_found_by(issuer: &Issuer) {
    for history in one_history_of_each_stage() {
        for action in actions_on_an_existing_one() {
            given(history.clone()).when_issued_by(issuer.clone(), action).then_err(Error::NotFound);
        }
    }
}

#[test]
fn an_absent_notification_is_not_found_by_any_action_but_create() {
    for action in actions_on_an_existing_one() {
        given([]).when(action.clone()).then_err(Error::NotFound);
        given([]).when_issued_by(issued_by("ada"), action).then_err(Error::NotFound);
    }
}

#[test]
fn a_service_of_another_tenant_does_not_find_it() {
    is_not_found_by(&Issuer { tenant: tenant("acme-2"), user: None });
}

#[test]
fn a_user_of_the_same_name_in_another_tenant_does_not_find_it() {
    is_not_found_by(&Issuer { tenant: tenant("acme-2"), user: Some(user("ada")) });
}

#[test]
fn another_user_of_the_tenant_does_not_find_it() {
    is_not_found_by(&issued_by("bob"));
}

#[test]
fn user_ids_are_compared_to_the_letter() {
    is_not_found_by(&issued_by("Ada"));
    is_not_found_by(&issued_by("ada "));
}

#[test]
fn its_user_and_the_services_of_its_tenant_get_the_same_answers() {
    for history in one_history_of_each_stage() {
        for action in one_action_of_each_kind() {
            let by_service =
                fold(history.clone()).decide(&Command { issuer: service(), action: action.clone() });
            assert_ne!(by_service, Err(Error::NotFound), "{action:?}");
            let by_user = given(history.clone()).when_issued_by(issued_by("ada"), action);
            match by_service {
                Ok(events) => drop(by_user.then(events)),
                Err(error) => by_user.then_err(error),
            }
        }
    }
}

#[test]
fn a_second_create_tells_nobody_whose_the_first_one_is() {
    for issuer in [service(), issued_by("bob"), Issuer { tenant: tenant("acme-2"), user: None }] {
        for history in one_history_of_each_stage() {
            let again = Action::Create(Box::new(create()));
            given(history).when_issued_by(issuer.clone(), again).then_err(Error::AlreadyExists);
        }
    }
}
