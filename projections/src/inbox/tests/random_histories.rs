//! Laws that hold for whatever the domain decides, however the log is cut into batches, and however often a
//! batch is delivered: 300 histories, the same in every run.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::model;
use super::store::Store;
use crate::inbox::fold::{Rows, altered_item};
use crate::inbox::item::Change;
use crate::log::Recorded;
use crate::tests::histories::{Xorshift, history, item_key};

const HISTORIES: usize = 300;
const EVENT_KINDS: usize = 23;
/// Those that alter an item, after its creation.
const EVENTS_OF_ITEMS: usize = 11;

fn histories(seed: u64) -> impl Iterator<Item = (Xorshift, Vec<Arc<Recorded>>)> {
    (1..=HISTORIES as u64).map(move |number| {
        let mut random = Xorshift(seed.wrapping_mul(number) | 1);
        let events = history(&mut random);
        (random, events)
    })
}

/// The log in pieces of up to `max` events.
fn batches<'a>(
    random: &mut Xorshift,
    mut events: &'a [Arc<Recorded>],
    max: usize,
) -> Vec<&'a [Arc<Recorded>]> {
    let mut batches = Vec::new();
    while !events.is_empty() {
        let (batch, rest) = events.split_at((1 + random.below(max)).min(events.len()));
        batches.push(batch);
        events = rest;
    }
    batches
}

/// Store and changes after all batches, each folded from rows that were written and read again.
fn stored(batches: &[&[Arc<Recorded>]]) -> (Store, Vec<Option<Change>>) {
    let (mut store, mut changes) = (Store::default(), Vec::new());
    for batch in batches {
        let folded = store.fold(batch).unwrap();
        store.commit(&folded);
        changes.extend(folded.changes);
    }
    (store, changes)
}

fn assert_is_as_recomputed(store: &Store, events: &[Arc<Recorded>]) {
    assert_eq!(store.checkpoint, events.len() as i64);
    assert_eq!(store.items, model::items(events).collect());
    for (user, counts) in &store.counters {
        assert_eq!(*counts, model::counts(events, user), "{user:?}");
        let last = store.changes.range((user.clone(), 0)..=(user.clone(), i64::MAX)).next_back();
        let last = last.map(|(_, change)| change.counts).unwrap_or_default();
        assert_eq!(*counts, last, "what {user:?} was told last");
    }
}

#[test]
fn however_the_log_is_cut_the_inbox_is_the_one_recomputed_from_scratch() {
    for (mut random, events) in histories(0x7469_6469_6e67_7321) {
        let expected: Vec<_> = (1..=events.len()).map(|end| model::change_by_last(&events[..end])).collect();

        let mut rows = Rows::default();
        let in_memory: Vec<_> = events.iter().map(|event| rows.fold(event).unwrap()).collect();
        assert_eq!(in_memory, expected);
        assert_eq!(rows.items, model::items(&events).collect());

        for max in [1, 7, 40] {
            let (store, changes) = stored(&batches(&mut random, &events, max));
            assert_eq!(changes, expected, "batches of up to {max}");
            assert_is_as_recomputed(&store, &events);
        }
    }
}

#[test]
fn a_batch_delivered_again_before_the_checkpoint_moved_gives_the_same_rows_and_changes() {
    for (mut random, events) in histories(0x0bad_5eed_0bad_5eed) {
        let mut store = Store::default();
        for batch in batches(&mut random, &events, 20) {
            let first = store.fold(batch).unwrap();
            // What was not committed left no trace, also where only a part of it is delivered in between.
            store.fold(&batch[..1 + random.below(batch.len())]).unwrap();
            let again = store.fold(batch).unwrap();
            assert_eq!(first, again);
            store.commit(&again);
        }
        assert_is_as_recomputed(&store, &events);
    }
}

#[test]
fn a_store_rewound_to_any_checkpoint_folds_forward_to_the_same_store() {
    for (mut random, events) in histories(0x5eed_0bad_5eed_0bad) {
        let (expected, _) = stored(&[&events]);
        let mut past = vec![Store::default()];
        for batch in batches(&mut random, &events, 20) {
            let mut store = past.last().unwrap().clone();
            let folded = store.fold(batch).unwrap();
            store.commit(&folded);
            past.push(store);
        }
        // A crash of Postgres takes rows and checkpoint back together, and the batches fall elsewhere.
        let mut store = past.swap_remove(random.below(past.len()));
        let left = &events[store.checkpoint as usize..];
        for batch in batches(&mut random, left, 20) {
            let folded = store.fold(batch).unwrap();
            store.commit(&folded);
        }
        assert_eq!(store, expected);
    }
}

#[test]
fn the_histories_meet_every_event_both_where_it_shows_and_where_it_does_not() {
    let (mut met, mut hidden) = (BTreeSet::new(), BTreeSet::new());
    let mut elsewhere = BTreeSet::new();
    for (_, events) in histories(0x7469_6469_6e67_7321) {
        let (store, changes) = stored(&[&events]);
        for (event, change) in events.iter().zip(changes) {
            met.insert(event.event_type.clone());
            if change.is_none() && altered_item(event).is_some() {
                let is_elsewhere = store.items[&item_key(event)].is_elsewhere();
                let hidden = if is_elsewhere { &mut elsewhere } else { &mut hidden };
                hidden.insert(event.event_type.clone());
            }
        }
    }
    assert_eq!(met.len(), EVENT_KINDS, "{met:?}");
    let of_hidden = ["notification.cancelled", "notification.digested", "notification.expired"];
    assert_eq!(hidden, of_hidden.map(String::from).into());
    assert_eq!(elsewhere.len(), EVENTS_OF_ITEMS, "{elsewhere:?}");
}
