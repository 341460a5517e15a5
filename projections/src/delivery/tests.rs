//! The fold, without a database: random histories held against the aggregates themselves, and logs that contradict
//! themselves.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tidings_domain::notification::{Channel, DeliveryStatus, Event};

use super::fold::{DeliveryKey, Life, Row, Rows, altered};
use super::store::status_of;
use crate::log::{Fact, Recorded};
use crate::notification::Overview;
use crate::read_model::FoldError;
use crate::tests::histories::{Xorshift, created, history, id, item_key, recorded};

const ADA: (&str, &str) = ("acme", "ada");

/// The table in memory: loaded, folded and stored batch by batch, as `apply` does it in SQL.
#[derive(Clone, Default, PartialEq, Debug)]
struct Table(HashMap<(DeliveryKey, String), Row>);

impl Table {
    fn fold(&self, batch: &[Arc<Recorded>]) -> Rows {
        let keys: HashSet<DeliveryKey> = batch.iter().filter_map(|event| altered(event)).collect();
        let mut rows = Rows::default();
        let loaded = self.0.iter().filter(|((key, _), _)| keys.contains(key));
        rows.loaded(loaded.map(|((key, _), row)| (key.clone(), as_read(row))));
        batch.iter().for_each(|event| rows.fold(event).unwrap());
        rows
    }

    fn commit(&mut self, rows: &Rows) {
        for key in &rows.made {
            for row in &rows.rows[key] {
                let taken = self.0.insert((key.clone(), row.channel.clone()), row.clone());
                assert_eq!(taken, None, "a row is inserted once");
            }
        }
        for key in &rows.moved {
            for row in &rows.rows[key] {
                let stands = self.0.get_mut(&(key.clone(), row.channel.clone()));
                let stands = stands.expect("only rows that stand there are updated");
                *stands = Row { step: stands.step, created: stands.created, ..row.clone() };
            }
        }
    }
}

/// A row as it comes back: two of its members are texts in the table.
fn as_read(row: &Row) -> Row {
    let life = Life::parse(row.life.as_str()).unwrap();
    Row { life, status: status_of(row.status.as_str()).unwrap(), ..row.clone() }
}

/// What the rows must say, from each notification's own events alone; without the position of the last change.
fn expected(log: &[Arc<Recorded>]) -> HashMap<(DeliveryKey, String), Row> {
    let mut own: BTreeMap<DeliveryKey, Vec<Arc<Recorded>>> = BTreeMap::new();
    log.iter().for_each(|event| own.entry(item_key(event)).or_default().push(event.clone()));
    let mut rows = HashMap::new();
    for (key, events) in own {
        let overview = Overview::fold(&events).unwrap().unwrap();
        for (step, (channel, status, attempt, error)) in (0..).zip(overview.deliveries()) {
            let row = Row {
                channel: channel.into(),
                step,
                created: events[0].position,
                life: Life::parse(overview.status()).unwrap(),
                status,
                attempt: attempt.try_into().unwrap(),
                error: error.map(str::to_owned),
                position: 0,
            };
            rows.insert((key.clone(), channel.to_owned()), row);
        }
    }
    rows
}

#[test]
fn rows_are_what_the_aggregates_say_however_the_log_is_cut_and_however_often_a_batch_comes() {
    let mut met = HashSet::new();
    for number in 1..=300_u64 {
        let mut random = Xorshift(0x6465_6c69_7665_7279_u64.wrapping_mul(number) | 1);
        let log = history(&mut random);
        let (mut table, mut at) = (Table::default(), 0);
        while at < log.len() {
            let end = (at + 1 + random.below(12)).min(log.len());
            // What was not committed left no trace.
            table.fold(&log[at..=at + random.below(end - at)]);
            let (first, again) = (table.fold(&log[at..end]), table.fold(&log[at..end]));
            assert_eq!(first.rows, again.rows);
            table.commit(&again);
            let rows: HashMap<_, _> =
                table.0.iter().map(|(key, row)| (key.clone(), Row { position: 0, ..row.clone() })).collect();
            assert_eq!(rows, expected(&log[..end]));
            at = end;
        }
        let mut whole = Table::default();
        let rows = whole.fold(&log);
        whole.commit(&rows);
        assert_eq!(table, whole, "in one batch or in many");
        met.extend(table.0.values().map(|row| (row.life.as_str(), row.status.as_str(), row.error.is_some())));
    }
    let failed_again = ("active", DeliveryStatus::Pending.as_str(), true);
    assert!(met.contains(&failed_again) && met.len() >= 10, "the histories meet enough: {met:?}");
}

#[test]
fn what_contradicts_the_log_is_refused_and_changes_nothing() {
    let mut rows = Rows::default();
    let released = recorded(1, ADA, id(1), Event::Released {});
    assert!(matches!(rows.fold(&released), Err(FoldError::NoItem { position: 1, .. })));
    let nobody = Recorded { recipient: None, ..recorded(2, ADA, id(1), created(ADA, false)) };
    assert!(matches!(rows.fold(&nobody), Err(FoldError::NoRecipient { position: 2, .. })));
    let fact = Fact::Unreadable("a broken seal".into());
    let unreadable = Recorded { fact, ..recorded(3, ADA, id(1), created(ADA, false)) };
    assert!(matches!(rows.fold(&unreadable), Err(FoldError::Unreadable(_))));
    // What alters no row needs none.
    rows.fold(&recorded(4, ADA, id(1), Event::Read {})).unwrap();
    let exhausted = Event::DeliveryExhausted { channel: Channel::InApp, attempts: 1 };
    rows.fold(&recorded(5, ADA, id(1), exhausted)).unwrap();
    assert!(rows.rows.is_empty() && rows.made.is_empty() && rows.moved.is_empty());
}
