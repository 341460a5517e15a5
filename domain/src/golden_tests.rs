//! The contract of the log: what any version of Tidings ever wrote is read for ever, and means what it meant.
//!
//! `golden/<name>@<version>.json`, or `<name>@<version>-<variant>.json`, holds a payload as stored, opened.
//! A file is never changed and never deleted: a new shape is a new version, a new file and an upcaster.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;

use cqrs_es::persist::SerializedEvent;
use serde_json::{Value, json};

use crate::Stored;
use crate::upcast::{upcast, upcasters};

/// The files of one aggregate, and what they mean.
pub struct Contract<E> {
    /// What the names of its events begin with.
    pub families: &'static [&'static str],
    /// What each file means, in the words of today.
    pub expectations: BTreeMap<&'static str, E>,
}

impl<E: Stored + PartialEq + Debug> Contract<E> {
    /// Fails for whatever breaks it; `kinds` holds one event of each kind.
    pub fn check(&self, kinds: &[E]) {
        let files = self.files();
        let written: BTreeSet<&str> = files.keys().map(String::as_str).collect();
        let expected: BTreeSet<&str> = self.expectations.keys().copied().collect();
        assert_eq!(written, expected, "every file has an expectation, and every expectation its file");
        for event in kinds {
            let file = format!("{}@{}", event.event_type(), event.event_version());
            assert!(files.contains_key(&file), "golden/{file}.json is missing");
        }
        for (stem, payload) in files {
            assert!(payload.is_object() && payload.get("type").is_none(), "{stem}: a name is a column");
            let expected = &self.expectations[stem.as_str()];
            assert_eq!(&read::<E>(&stem, payload.clone()), expected, "{stem}");
            let (name, version) = name_and_version(&stem);
            assert_eq!(expected.event_type(), name);
            if E::version_of(name) == Some(version) {
                let mut written = serde_json::to_value(expected).unwrap();
                let label = written.as_object_mut().unwrap().remove("type");
                assert_eq!((label, written), (Some(json!(name)), payload), "{stem}");
            }
        }
    }

    /// Its files, by name without `.json`.
    fn files(&self) -> BTreeMap<String, Value> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden");
        let stems = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).map(|path| {
            assert_eq!(path.extension().and_then(|end| end.to_str()), Some("json"), "{}", path.display());
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), path)
        });
        let its = stems.filter(|(stem, _)| self.families.iter().any(|family| stem.starts_with(family)));
        its.map(|(stem, path)| (stem, serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()))
            .collect()
    }
}

/// The event name and version that a file stands for.
fn name_and_version(stem: &str) -> (&str, &str) {
    let (name, version) = stem.split_once('@').unwrap();
    (name, version.split_once('-').map_or(version, |(version, _variant)| version))
}

/// As the log reads it.
fn read<E: Stored>(stem: &str, payload: Value) -> E {
    let (name, version) = name_and_version(stem);
    let stored = SerializedEvent::new(
        String::new(),
        1,
        String::new(),
        name.into(),
        version.into(),
        payload,
        json!({}),
    );
    let lifted = upcast(&upcasters(), stored);
    E::decode(&lifted.event_type, &lifted.event_version, &lifted.payload)
        .unwrap_or_else(|error| panic!("{stem}: {error}"))
}

#[test]
fn no_file_belongs_to_nobody() {
    let families = [
        "notification.",
        "delivery.",
        "recipient.",
        "template.",
        "topic.",
        "settings.",
        "broadcast.",
        "source.",
        "hook.",
        "admission.",
        "schedule.",
        "digest.",
    ];
    let all = Contract::<crate::notification::Event> { families: &[""], expectations: BTreeMap::new() };
    for stem in all.files().keys() {
        assert!(families.iter().any(|family| stem.starts_with(family)), "golden/{stem}.json");
    }
}
