//! The contract of the log: what any version of Tidings ever wrote is read for ever, and means what it meant.
//!
//! `golden/<name>@<version>.json`, or `<name>@<version>-<variant>.json`, holds a payload as stored, opened.
//! A file is never changed and never deleted: a new shape is a new version, a new file and an upcaster.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use cqrs_es::persist::SerializedEvent;
use serde_json::{Map, Value, json};
use time::macros::datetime;

use crate::notification::{
    Category, Channel, Content, Created, Event, Failure, FailureClass, PlanStep, Priority, Tags,
};
use crate::upcast::{upcast, upcasters};

use super::samples::*;

fn created_with_everything() -> Created {
    let words = ("Rechnung 42 – fällig", "Bitte bis Montag zahlen. 💶", "https://app.example/invoices/42");
    Created {
        tenant: tenant("acme"),
        user_id: user("user-7@example.com"),
        content: Content::new(words.0.into(), words.1.into(), Some(words.2.into())).ok(),
        category: Category::new("billing".into()).ok(),
        priority: Priority::Urgent,
        plan: vec![PlanStep { channel: Channel::InApp }],
        data: Some(Map::from_iter([
            ("amount".to_owned(), json!(12.5)),
            ("lines".to_owned(), json!([{"sku": "A-1", "count": 2}, null, true])),
        ])),
        tags: Tags::new(vec!["vip".into(), "q3".into()]).unwrap(),
        deliver_at: Some(datetime!(2026-08-01 09:30:00.25 UTC)),
        expires_at: Some(datetime!(2026-09-01 00:00 +02:00)),
    }
}

fn created_with_the_least() -> Created {
    Created {
        tenant: tenant("acme"),
        user_id: user("ada"),
        content: Content::new("Invoice 42".into(), String::new(), None).ok(),
        category: None,
        priority: Priority::Normal,
        plan: vec![PlanStep { channel: Channel::InApp }],
        data: None,
        tags: Tags::default(),
        deliver_at: None,
        expires_at: None,
    }
}

/// What each file means, in the words of today.
fn expectations() -> BTreeMap<&'static str, Event> {
    let channel = Channel::InApp;
    let error = |detail: &str| Failure { class: FailureClass::Reported, detail: detail.into() };
    let failed = |detail| Event::DeliveryFailed { channel, attempt: 1, error: error(detail) };
    BTreeMap::from([
        ("notification.created@1.0.0", Event::Created(Box::new(created_with_everything()))),
        ("notification.created@1.0.0-minimal", Event::Created(Box::new(created_with_the_least()))),
        ("notification.released@1.0.0", Event::Released {}),
        ("notification.woken@1.0.0", Event::Woken {}),
        ("notification.seen@1.0.0", Event::Seen {}),
        ("notification.read@1.0.0", Event::Read {}),
        ("notification.unread@1.0.0", Event::Unread {}),
        ("notification.archived@1.0.0", Event::Archived {}),
        ("notification.unarchived@1.0.0", Event::Unarchived {}),
        ("notification.snoozed@1.0.0", Event::Snoozed { until: datetime!(2026-08-02 07:00 UTC) }),
        ("notification.cancelled@1.0.0", Event::Cancelled {}),
        ("notification.expired@1.0.0", Event::Expired {}),
        ("delivery.succeeded@1.0.0", Event::DeliverySucceeded { channel, attempt: 1 }),
        ("delivery.failed@1.0.0", failed("the device is gone")),
        ("delivery.failed@2.0.0", failed("the device is gone")),
        ("delivery.exhausted@1.0.0", Event::DeliveryExhausted { channel, attempts: 1 }),
        ("delivery.dead_lettered@1.0.0", Event::DeliveryDeadLettered { channel }),
        ("delivery.retry_requested@1.0.0", Event::DeliveryRetryRequested { channel, attempt: 2 }),
    ])
}

/// Every file of the folder by its name without `.json`.
fn files() -> BTreeMap<String, Value> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert_eq!(path.extension().and_then(|end| end.to_str()), Some("json"), "{}", path.display());
        (stem, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap().path())).collect()
}

/// The event name and version that a file stands for.
fn name_and_version(stem: &str) -> (&str, &str) {
    let (name, version) = stem.split_once('@').unwrap();
    (name, version.split_once('-').map_or(version, |(version, _variant)| version))
}

fn read_as_the_log_is_read(stem: &str, payload: Value) -> Event {
    let (name, version) = name_and_version(stem);
    let (id, kind) = (String::new(), "notification".to_owned());
    let stored = SerializedEvent::new(id, 1, kind, name.into(), version.into(), payload, json!({}));
    let lifted = upcast(&upcasters(), stored);
    Event::decode(&lifted.event_type, &lifted.event_version, &lifted.payload)
        .unwrap_or_else(|error| panic!("{stem}: {error}"))
}

#[test]
fn every_file_has_an_expectation_and_every_expectation_its_file() {
    let (files, expectations) = (files(), expectations());
    let written: BTreeSet<&str> = files.keys().map(String::as_str).collect();
    let expected: BTreeSet<&str> = expectations.keys().copied().collect();
    assert_eq!(written, expected);
}

#[test]
fn every_event_has_a_golden_file_of_the_version_written_today() {
    let files = files();
    for event in one_event_of_each_kind() {
        let version = Event::version_of(event.name()).unwrap();
        let file = format!("{}@{version}", event.name());
        assert!(files.contains_key(&file), "golden/{file}.json is missing");
    }
}

#[test]
fn every_payload_ever_written_reads_as_the_event_it_meant() {
    let mut files = files();
    for (stem, expected) in expectations() {
        let payload = files.remove(stem).unwrap();
        assert_eq!(read_as_the_log_is_read(stem, payload), expected, "{stem}");
    }
}

#[test]
fn what_is_written_today_is_the_golden_file_to_the_letter() {
    let mut files = files();
    for (stem, event) in expectations() {
        let (name, version) = name_and_version(stem);
        assert_eq!(event.name(), name);
        if Event::version_of(name) != Some(version) {
            continue;
        }
        let mut written = serde_json::to_value(&event).unwrap();
        let label = written.as_object_mut().unwrap().remove("type");
        assert_eq!(label, Some(json!(name)));
        assert_eq!(written, files.remove(stem).unwrap(), "{stem}");
    }
}

#[test]
fn no_golden_payload_says_its_own_name() {
    for (stem, payload) in files() {
        assert!(payload.is_object() && payload.get("type").is_none(), "{stem}");
    }
}
