//! Ticks are recorded once and in their order; what was missed is treated as was asked.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::collections::BTreeMap;

use serde_json::json;
use time::Duration;
use time::macros::datetime;
use uuid::Uuid;

use super::*;
use crate::golden::Contract;
use crate::recipient::TimeZone;
use crate::{BroadcastId, NotificationId};

const NINE: OffsetDateTime = datetime!(2026-08-03 09:00 UTC);

fn tenant() -> Tenant {
    Tenant::try_from("acme".to_owned()).unwrap()
}

fn key() -> ScheduleKey {
    ScheduleKey::try_from("standup".to_owned()).unwrap()
}

fn definition() -> Definition {
    let request = json!({"user_id": "alice", "content": {"title": "Standup", "body": ""}});
    Definition {
        cron: "0 9 * * 1-5".into(),
        time_zone: TimeZone::new("Europe/Vienna".into()).unwrap(),
        missed: Missed::Once,
        starts_at: Some(NINE),
        ends_at: Some(datetime!(2027-01-01 00:00 UTC)),
        paused: false,
        content: Some(Request::Notification(request.as_object().unwrap().clone())),
    }
}

fn paused() -> Definition {
    let request = json!({"topic": "releases", "content": {"title": "News", "body": ""}});
    let content = Some(Request::Broadcast(request.as_object().unwrap().clone()));
    Definition { starts_at: None, ends_at: None, paused: true, missed: Missed::All, content, ..definition() }
}

fn changed(definition: Definition, next_at: Option<OffsetDateTime>) -> Event {
    Event::Changed { tenant: tenant(), key: key(), definition: Box::new(definition), next_at }
}

fn after(events: &[Event]) -> Schedule {
    let mut schedule = Schedule::default();
    (1..).zip(events).for_each(|(sequence, event)| schedule.evolve(sequence, event));
    schedule
}

fn decided(schedule: &Schedule, action: Action) -> Result<Option<Event>, Error> {
    schedule.decide(&Command { tenant: tenant(), key: key(), action })
}

fn created() -> Created {
    Created::Notification(NotificationId::new(Uuid::from_u128(7)))
}

fn ticked(from: OffsetDateTime, next_at: Option<OffsetDateTime>) -> Action {
    let result = Outcome::Created { at: from, missed: 0, created: created() };
    Action::Record(Tick { from, result, next_at })
}

fn minutes(count: i64) -> Vec<OffsetDateTime> {
    (0..count).map(|minute| NINE + Duration::minutes(minute)).collect()
}

#[test]
fn the_log_of_schedules_is_read_for_ever() {
    let next_at = Some(NINE + Duration::DAY);
    let ticked = Event::Ticked { defined_by: 1, at: NINE, missed: 0, created: vec![created()], next_at };
    let of_broadcast = Event::Ticked {
        defined_by: 3,
        at: NINE,
        missed: 4,
        created: vec![Created::Broadcast(BroadcastId::new(Uuid::from_u128(9)))],
        next_at: None,
    };
    let reason = Reason { pointer: "/notification/template/key".into(), detail: "is retired".into() };
    let failed = Event::Failed { defined_by: 1, at: NINE, missed: 0, reason, next_at };
    let to = NINE + Duration::hours(2);
    let skipped = Event::Skipped { defined_by: 1, from: NINE, to, count: 121, next_at };
    let deleted = Event::Deleted { tenant: tenant(), key: key(), defined_by: 1 };
    let expectations = BTreeMap::from([
        ("schedule.changed@1.0.0", changed(definition(), Some(NINE))),
        ("schedule.changed@1.0.0-paused", changed(paused(), None)),
        ("schedule.ticked@1.0.0", ticked.clone()),
        ("schedule.ticked@1.0.0-broadcast", of_broadcast),
        ("schedule.failed@1.0.0", failed.clone()),
        ("schedule.skipped@1.0.0", skipped.clone()),
        ("schedule.deleted@1.0.0", deleted.clone()),
    ]);
    let kinds = [changed(definition(), None), ticked, failed, skipped, deleted];
    Contract { families: &["schedule."], expectations }.check(&kinds);
}

#[test]
fn a_tick_is_recorded_once_and_only_while_it_is_the_next() {
    let next = NINE + Duration::DAY;
    let mut schedule = after(&[changed(definition(), Some(NINE))]);
    assert_eq!(decided(&schedule, ticked(next, None)), Err(Error::StaleTick));
    let event = decided(&schedule, ticked(NINE, Some(next))).unwrap().unwrap();
    schedule.evolve(2, &event);
    assert_eq!((schedule.next_at, schedule.defined_by), (Some(next), 1));
    assert_eq!(
        decided(&schedule, ticked(NINE, Some(next))),
        Err(Error::StaleTick),
        "a second node comes too late"
    );
    let reason = Reason { pointer: String::new(), detail: "refused".into() };
    let result = Outcome::Failed { at: next, missed: 0, reason };
    let failed = Action::Record(Tick { from: next, result, next_at: None });
    schedule.evolve(3, &decided(&schedule, failed).unwrap().unwrap());
    assert_eq!((schedule.next_at, schedule.life), (None, Life::Active), "nothing comes after its last tick");
    assert_eq!(decided(&Schedule::default(), ticked(NINE, None)), Err(Error::StaleTick));
    let result = Outcome::Skipped { to: next, count: 2 };
    let schedule = after(&[changed(definition(), Some(NINE))]);
    let skipped = Action::Record(Tick { from: NINE, result, next_at: None });
    let Ok(Some(Event::Skipped { from, to, count, .. })) = decided(&schedule, skipped) else {
        panic!("skipped")
    };
    assert_eq!((from, to, count), (NINE, next, 2));
}

#[test]
fn what_stands_is_not_said_again_and_what_is_deleted_ticks_no_more() {
    let change = |definition, next_at| Action::Change { definition: Box::new(definition), next_at };
    assert_eq!(decided(&Schedule::default(), Action::Delete), Err(Error::NotFound));
    let schedule = after(&[changed(definition(), Some(NINE))]);
    assert_eq!(decided(&schedule, change(definition(), Some(NINE + Duration::DAY))), Ok(None));
    assert_eq!(decided(&schedule, change(paused(), None)), Ok(Some(changed(paused(), None))));
    let deleted = decided(&schedule, Action::Delete).unwrap().unwrap();
    let gone = after(&[changed(definition(), Some(NINE)), deleted]);
    assert_eq!(decided(&gone, ticked(NINE, None)), Err(Error::StaleTick));
    assert_eq!(decided(&gone, Action::Delete), Ok(None));
    let anew = decided(&gone, change(definition(), None));
    assert_eq!(anew, Ok(Some(changed(definition(), None))), "and can be made anew");
}

#[test]
fn nothing_that_is_due_is_nothing_to_do() {
    for missed in [Missed::Skip, Missed::Once, Missed::All] {
        assert_eq!(step(missed, &[], false, NINE), None);
    }
}

#[test]
fn a_tick_on_time_is_run_whatever_is_said_of_missed_ones() {
    for missed in [Missed::Skip, Missed::Once, Missed::All] {
        for late in [0, 60] {
            let now = NINE + Duration::seconds(late);
            assert_eq!(step(missed, &[NINE], false, now), Some(Step::Run { at: NINE, missed: 0 }));
        }
    }
}

#[test]
fn missed_ticks_are_skipped_up_to_the_one_on_time() {
    let (due, last) = (minutes(5), NINE + Duration::minutes(4));
    let before_last = NINE + Duration::minutes(3);
    assert_eq!(step(Missed::Skip, &due, false, last), Some(Step::Skip { to: before_last, count: 4 }));
    assert_eq!(step(Missed::Skip, &due[4..], false, last), Some(Step::Run { at: last, missed: 0 }));
    let later = last + Duration::seconds(61);
    assert_eq!(step(Missed::Skip, &due, false, later), Some(Step::Skip { to: last, count: 5 }));
}

#[test]
fn one_stands_for_all_that_were_missed() {
    let (due, last) = (minutes(5), NINE + Duration::minutes(4));
    let expected = Some(Step::Run { at: last, missed: 4 });
    assert_eq!(step(Missed::Once, &due, false, last + Duration::DAY), expected);
}

#[test]
fn all_are_made_up_for_one_by_one_but_never_more_than_a_hundred() {
    let now = NINE + Duration::DAY;
    assert_eq!(step(Missed::All, &minutes(100), false, now), Some(Step::Run { at: NINE, missed: 0 }));
    let to = NINE + Duration::minutes(49);
    assert_eq!(step(Missed::All, &minutes(150), false, now), Some(Step::Skip { to, count: 50 }));
}

#[test]
fn of_more_than_can_be_looked_at_the_first_are_skipped_and_the_rest_is_looked_at_again() {
    let now = NINE + Duration::days(400);
    let count = DUE_MAX - RUN_MAX;
    let to = NINE + Duration::minutes(count as i64 - 1);
    let expected = Some(Step::Skip { to, count: count as u32 });
    for missed in [Missed::Skip, Missed::Once, Missed::All] {
        assert_eq!(step(missed, &minutes(DUE_MAX as i64), true, now), expected);
    }
}

#[test]
fn keys_and_ids_have_one_spelling() {
    for text in ["a", "daily.stand-up_2", &"k".repeat(128)] {
        let id = ScheduleId { tenant: tenant(), key: text.to_owned().try_into().unwrap() };
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    for text in ["", "A", "a:b", "a/b", "ä", &"k".repeat(129)] {
        assert!(ScheduleKey::try_from(text.to_owned()).is_err(), "{text}");
    }
    assert_eq!(ScheduleId { tenant: tenant(), key: key() }.to_string(), "sch_4:acmestandup");
    for text in ["sch_4:acme", "sch_04:acmestandup", "src_4:acmestandup"] {
        assert!(text.parse::<ScheduleId>().is_err(), "{text}");
    }
}
