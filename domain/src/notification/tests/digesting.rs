//! A digest holds every item once, in their order, and says all of them when it is released.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::notification::{
    Action, Collected, Content, Create, Digest, DigestArgument, DigestTemplate, Digested, Event, Item, Life,
    Opening, Templated, Words,
};
use crate::template::{ArgumentType, TemplateKey};

use super::harness::{fold, given};
use super::samples::*;

fn opening(digest: Digest, first: Item) -> Action {
    Action::Create(Box::new(Create {
        deliver_at: Some(RELEASE_AT),
        expires_at: None,
        opening: Some(Opening { digest, first }),
        ..create()
    }))
}

/// What a digest of these is made of.
fn history(digest: Digest, items: impl IntoIterator<Item = Item>) -> Vec<Event> {
    let mut items = items.into_iter();
    let mut events = given([]).when(opening(digest, items.next().unwrap())).decided();
    for item in items {
        let Some(Event::Collected(last)) = events.last() else { panic!("{events:?}") };
        events.push(Event::Collected(Box::new(last.then(item, 1_000).unwrap())));
    }
    events
}

fn released(history: Vec<Event>) -> Vec<Event> {
    given(history).when(Action::Release { at: RELEASE_AT }).decided()
}

fn with(title: &str, action_url: &str, data: &Value) -> Item {
    let Item { words, template, .. } = item(title);
    Item {
        words: Words { action_url: Some(action_url.into()), ..words },
        template,
        data: data.as_object().cloned(),
    }
}

fn key() -> TemplateKey {
    TemplateKey::new("comments-digest".into()).unwrap()
}

fn of_template(arguments: impl IntoIterator<Item = DigestArgument>) -> Digest {
    let arguments = arguments.into_iter().collect();
    Digest { template: Some(DigestTemplate { key: key(), version: 2, arguments }) }
}

#[test]
fn opening_one_makes_a_notification_that_waits_and_holds_the_first_item() {
    let first = item("Ada commented");
    let made = fold(given([]).when(opening(Digest::default(), first.clone())).decided());
    assert_eq!(made.life, Life::Scheduled { release_at: RELEASE_AT });
    let events = history(Digest::default(), [first.clone()]);
    let [Event::Created(created), Event::Collected(collected)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&created.digest, created.deliver_at), (&Some(Digest::default()), Some(RELEASE_AT)));
    assert_eq!((collected.number, &collected.content), (1, &Some(first.words)));
}

#[test]
fn a_digest_of_one_is_that_one() {
    let history = history(Digest::default(), [item("Ada commented")]);
    assert_eq!(released(history), [Event::Released {}]);
}

#[test]
fn the_newest_gives_the_title_and_all_are_listed_in_their_order() {
    let items = [
        with("Ada  commented\non it", "/t/1", &json!({"thread": 1})),
        item("Bob commented"),
        with("Cy commented", "/t/3", &json!({"thread": 3})),
    ];
    let body = "Ada commented on it\nBob commented\nCy commented";
    let content = Content::new("Cy commented".into(), body.into(), Some("/t/3".into())).ok();
    let shown = json!([
        {"title": "Ada  commented\non it", "body": "Hm.", "action_url": "/t/1", "data": {"thread": 1}},
        {"title": "Bob commented", "body": "Hm."},
        {"title": "Cy commented", "body": "Hm.", "action_url": "/t/3", "data": {"thread": 3}},
    ]);
    let data = json!({"thread": 3, "items": shown}).as_object().cloned();
    let digested = Event::Digested(Box::new(Digested { count: 3, content, data }));
    let history = history(Digest::default(), items);
    assert_eq!(released(history.clone()), [digested.clone(), Event::Released {}]);
    let after = fold(history.into_iter().chain([digested, Event::Released {}]));
    assert_eq!((after.life, after.gathering), (Life::Released, None));
}

#[test]
fn a_template_is_told_what_it_declares_be_it_of_one_item_or_of_many() {
    let args = |digest: Digest, items: Vec<Item>| match released(history(digest, items)).remove(0) {
        Event::Digested(digested) => match digested.content {
            Some(Content::Template { template: Templated { key: used, version: 2, args, .. } })
                if used == key() =>
            {
                Value::Object(args)
            }
            content => panic!("{content:?}"),
        },
        event => panic!("{event:?}"),
    };
    let two = || vec![item("Ada commented"), with("Bob commented", "/t/2", &json!({}))];
    let all = json!({
        "count": 2, "others": 1, "items": "Ada commented\nBob commented",
        "first": "Ada commented", "last": "Bob commented", "action_url": "/t/2",
    });
    assert_eq!(args(of_template(DigestArgument::ALL), two()), all);
    assert_eq!(args(of_template([DigestArgument::Count]), two()), json!({"count": 2}));
    let one = json!({"others": 0, "action_url": ""});
    let some = of_template([DigestArgument::Others, DigestArgument::ActionUrl]);
    assert_eq!(args(some, vec![item("Ada commented")]), one);
}

#[test]
fn a_template_fits_that_declares_nothing_else() {
    let declared = |pairs: &[(&str, ArgumentType)]| {
        let declared: BTreeMap<String, ArgumentType> =
            pairs.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        DigestArgument::declared(&declared).map(|them| them.len()).map_err(str::to_owned)
    };
    let all = DigestArgument::ALL.map(|it| (it.name(), it.kind()));
    assert_eq!((declared(&all), declared(&[])), (Ok(6), Ok(0)));
    assert_eq!(declared(&[("count", ArgumentType::String)]), Err("count".into()));
    assert_eq!(
        declared(&[("count", ArgumentType::Number), ("who", ArgumentType::String)]),
        Err("who".into())
    );
}

#[test]
fn it_is_full_of_so_many_items_or_bytes() {
    let first = Collected::first(item("Ada commented"));
    let second = first.then(item("Bob commented"), 2).unwrap();
    assert_eq!((second.number, second.bytes), (2, 2 * first.bytes));
    assert_eq!(second.then(item("Cy commented"), 2), None);
    let mut large = item("Ada commented");
    large.words.body = "x".repeat(Collected::BYTES_MAX as usize);
    assert_eq!(first.then(large.clone(), 2), None);
    let alone = Collected::first(large);
    assert!(alone.bytes > Collected::BYTES_MAX, "a single one is as large as any notification may be");
    assert_eq!(alone.then(item("Bob commented"), 2), None);
}

#[test]
fn all_that_a_full_digest_says_is_bounded() {
    let large = with(&"x".repeat(1_000), "/comments", &json!({"text": "y".repeat(20 << 10)}));
    let mut items = vec![large.clone()];
    let mut last = Collected::first(large.clone());
    while let Some(then) = last.then(large.clone(), 1_000) {
        items.push(large.clone());
        last = then;
    }
    assert_eq!(items.len(), 4);
    let events = released(history(Digest::default(), items));
    let bytes = serde_json::to_vec(&events).unwrap().len() as u64;
    assert!(bytes <= Collected::BYTES_MAX, "{bytes}");
}

#[test]
fn what_was_forgotten_is_said_no_more() {
    let mut history = history(Digest::default(), [item("Ada commented"), item("Bob commented")]);
    for event in &mut history {
        if let Event::Collected(collected) = event {
            (collected.content, collected.data) = (None, None);
        }
    }
    let nothing = Event::Digested(Box::new(digested_to_nothing()));
    assert_eq!(released(history), [nothing, Event::Released {}]);
}

#[test]
fn a_digest_that_was_cancelled_is_not_released_and_holds_nothing() {
    let history = history(Digest::default(), [item("Ada commented"), item("Bob commented")]);
    let cancelled = given(history).when(Action::Cancel).then([Event::Cancelled {}]);
    assert_eq!((&cancelled.life, &cancelled.gathering), (&Life::Cancelled, &None));
}
