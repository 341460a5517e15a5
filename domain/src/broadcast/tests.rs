//! A broadcast goes from chunk to chunk, in order and once each, until it is completed or cancelled.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::collections::BTreeMap;

use serde_json::{Map, json};
use time::macros::datetime;

use super::*;
use crate::golden::Contract;
use crate::notification::{Category, Content, Plan, Priority, Tags};
use crate::subscription::Topic;

fn tenant(name: &str) -> Tenant {
    Tenant::try_from(name.to_owned()).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::try_from(name.to_owned()).unwrap()
}

fn users(names: &[&str]) -> Users {
    Users::new(names.iter().map(|name| user(name)).collect()).unwrap()
}

fn topic() -> Audience {
    Audience::Topic(Topic::try_from("releases".to_owned()).unwrap())
}

fn plain() -> Message {
    Message {
        content: Content::new("Version 2 is out".into(), String::new(), None).ok(),
        category: None,
        priority: Priority::Normal,
        plan: Plan::default(),
        data: None,
        tags: Tags::default(),
        deliver_at: None,
        expires_at: None,
    }
}

fn with_everything() -> Message {
    let url = Some("https://app.example/releases/2".to_owned());
    Message {
        content: Content::new("Version 2 is out".into(), "Read what is new.".into(), url).ok(),
        category: Category::new("releases".into()).ok(),
        priority: Priority::High,
        data: Some(Map::from_iter([("version".to_owned(), json!(2))])),
        tags: Tags::new(vec!["news".into()]).unwrap(),
        deliver_at: Some(datetime!(2026-08-01 09:30:00.25 UTC)),
        expires_at: Some(datetime!(2026-09-01 00:00 +02:00)),
        ..plain()
    }
}

fn created(audience: Audience, message: Message) -> Event {
    Event::Created(Box::new(Created { tenant: tenant("acme"), audience, message }))
}

fn progressed(chunk: u32, last: &str, count: u32, notifications: u64) -> Event {
    Event::Progressed { chunk, last_user_id: user(last), count, notifications }
}

fn chunk(number: u32, last: Option<&str>, count: u32, is_last: bool) -> Action {
    Action::RecordFanOut(Chunk { number, last_user: last.map(user), count, is_last })
}

fn decided(events: &[Event], action: Action) -> Result<Vec<Event>, Error> {
    let mut broadcast = Broadcast::default();
    events.iter().for_each(|event| broadcast.evolve(event));
    broadcast.decide(&Command { tenant: tenant("acme"), action })
}

#[test]
fn the_log_is_read_for_ever() {
    let to_users = created(Audience::UserIds(users(&["ada", "bob"])), plain());
    let expectations = BTreeMap::from([
        ("broadcast.created@1.0.0", created(topic(), with_everything())),
        ("broadcast.created@1.0.0-users", to_users),
        ("broadcast.progressed@1.0.0", progressed(2, "bob", 248, 496)),
        ("broadcast.completed@1.0.0", Event::Completed { notifications: 496 }),
        ("broadcast.cancelled@1.0.0", Event::Cancelled { notifications: 248 }),
    ]);
    let kinds: Vec<Event> = expectations.values().cloned().collect();
    Contract { families: &["broadcast."], expectations }.check(&kinds);
}

#[test]
fn what_is_asked_for_is_one_fact_and_asked_for_once() {
    let request = || Action::Request(Box::new(Request { audience: topic(), message: with_everything() }));
    let made = created(topic(), with_everything());
    assert_eq!(decided(&[], request()), Ok(vec![made.clone()]));
    assert_eq!(decided(&[made], request()), Err(Error::AlreadyExists));
}

#[test]
fn chunks_follow_each_other_and_the_last_one_completes() {
    let made = created(topic(), plain());
    assert_eq!(
        decided(std::slice::from_ref(&made), chunk(1, Some("bob"), 2, false)),
        Ok(vec![progressed(1, "bob", 2, 2)])
    );
    let first = [made.clone(), progressed(1, "bob", 2, 2)];
    let last = vec![progressed(2, "eve", 1, 3), Event::Completed { notifications: 3 }];
    assert_eq!(decided(&first, chunk(2, Some("eve"), 1, true)), Ok(last));
    assert_eq!(decided(&first, chunk(2, None, 0, true)), Ok(vec![Event::Completed { notifications: 2 }]));
    assert_eq!(decided(&[made], chunk(1, None, 0, true)), Ok(vec![Event::Completed { notifications: 0 }]));
}

#[test]
fn a_chunk_is_recorded_once_and_none_is_left_out() {
    let first = [created(topic(), plain()), progressed(1, "bob", 2, 2)];
    for (number, last) in [(1, "bob"), (3, "eve"), (2, "bob"), (2, "ada")] {
        assert_eq!(decided(&first, chunk(number, Some(last), 1, false)), Err(Error::StaleChunk { number }));
    }
}

#[test]
fn what_was_made_before_a_cancellation_stays_and_nothing_follows() {
    let first = [created(topic(), plain()), progressed(1, "bob", 2, 2)];
    let cancelled = Event::Cancelled { notifications: 2 };
    assert_eq!(decided(&first, Action::Cancel), Ok(vec![cancelled.clone()]));
    let after = [&first[..], &[cancelled]].concat();
    assert_eq!(decided(&after, Action::Cancel), Ok(vec![]), "it is so already");
    assert_eq!(decided(&after, chunk(2, Some("eve"), 1, false)), Err(Error::Cancelled));
}

#[test]
fn what_is_completed_stays_so_and_is_not_continued() {
    let over = [created(topic(), plain()), Event::Completed { notifications: 0 }];
    assert_eq!(decided(&over, Action::Cancel), Ok(vec![]), "there is nothing left to stop");
    assert_eq!(decided(&over, chunk(1, None, 0, true)), Err(Error::Completed));
}

#[test]
fn a_broadcast_of_another_tenant_or_none_is_not_found() {
    let mut broadcast = Broadcast::default();
    for action in [Action::Cancel, chunk(1, None, 0, true)] {
        let command = Command { tenant: tenant("other"), action };
        assert_eq!(broadcast.decide(&command), Err(Error::NotFound));
        broadcast.evolve(&created(topic(), plain()));
        assert_eq!(broadcast.decide(&command), Err(Error::NotFound));
        broadcast = Broadcast::default();
    }
}

#[test]
fn the_first_and_the_last_event_tell_where_it_stands() {
    let named = created(Audience::UserIds(users(&["ada", "bob", "eve"])), plain());
    let all = [named, progressed(1, "ada", 1, 1), progressed(2, "bob", 1, 2)];
    let fold = |events: &[&Event]| {
        let mut broadcast = Broadcast::default();
        events.iter().for_each(|event| broadcast.evolve(event));
        broadcast
    };
    let whole = fold(&all.iter().collect::<Vec<_>>());
    assert_eq!(fold(&[&all[0], &all[2]]), whole);
    assert_eq!((whole.total, whole.notifications, whole.life), (Some(3), 2, Life::Running));
}

#[test]
fn users_are_reached_once_each_in_their_order() {
    let all = users(&["eve", "ada", "bob", "ada"]);
    assert_eq!(all.as_slice(), [user("ada"), user("bob"), user("eve")]);
    assert_eq!(all.after(None, 2), [user("ada"), user("bob")]);
    assert_eq!(all.after(Some(&user("b")), 9), [user("bob"), user("eve")]);
    assert_eq!(all.after(Some(&user("eve")), 9), []);
    assert_eq!(Users::new(Vec::new()), Err(InvalidAudience));
    assert!(Users::new(vec![user("ada"); 10_000]).is_ok());
    assert_eq!(Users::new(vec![user("ada"); 10_001]), Err(InvalidAudience));
}

#[test]
fn an_instant_that_has_passed_hides_nothing() {
    let now = datetime!(2026-08-01 10:00 UTC);
    let create = with_everything().to(user("ada"), now).unwrap();
    assert_eq!((create.deliver_at, create.expires_at), (None, with_everything().expires_at));
    let before = datetime!(2026-08-01 09:00 UTC);
    assert_eq!(with_everything().to(user("ada"), before).unwrap().deliver_at, with_everything().deliver_at);
    assert_eq!(Message { content: None, ..plain() }.to(user("ada"), now), None, "the words are forgotten");
}
