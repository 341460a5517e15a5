//! The tables of the inbox in memory, with the constraints of the schema: loaded, folded and stored batch by
//! batch, as `apply` does it in SQL.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::inbox::fold::{ItemKey, Rows, altered_item};
use crate::inbox::item::{Change, Counts, Ended, ItemState};
use crate::log::Recorded;
use crate::read_model::{FoldError, UserKey};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Store {
    pub items: HashMap<ItemKey, ItemState>,
    pub counters: HashMap<UserKey, Counts>,
    pub changes: BTreeMap<(UserKey, i64), Change>,
    pub checkpoint: i64,
}

/// A folded batch that is not stored yet.
#[derive(Debug, PartialEq)]
pub struct Batch {
    pub items: HashMap<ItemKey, ItemState>,
    pub counters: HashMap<UserKey, Counts>,
    pub made: HashSet<ItemKey>,
    pub moved: HashSet<ItemKey>,
    pub reworded: HashSet<ItemKey>,
    /// One per event.
    pub changes: Vec<Option<Change>>,
    last: i64,
}

impl Store {
    /// Folds the events that follow the checkpoint and leaves the store as it is.
    pub fn fold(&self, events: &[Arc<Recorded>]) -> Result<Batch, FoldError> {
        assert_eq!(events.first().map(|event| event.position), Some(self.checkpoint + 1));
        let mut rows = self.load(events);
        let changes: Result<Vec<_>, _> = events.iter().map(|event| rows.fold(event)).collect();
        let last = self.checkpoint + events.len() as i64;
        let Rows { items, counters, made, moved, reworded } = rows;
        let counters = counters.into_iter().map(|(user, (counts, _))| (user, counts)).collect();
        Ok(Batch { items, counters, made, moved, reworded, changes: changes?, last })
    }

    /// Only what `write::load` reads: what the batch does not name is not there.
    fn load(&self, events: &[Arc<Recorded>]) -> Rows {
        let users = events.iter().filter_map(|e| Some((e.tenant.clone(), e.recipient.clone()?)));
        let counters =
            users.filter_map(|user| Some((user.clone(), (*self.counters.get(&user)?, None)))).collect();
        let keys = events.iter().filter_map(|event| altered_item(event));
        let items = keys.filter_map(|key| Some((key.clone(), as_read(self.items.get(&key)?)))).collect();
        Rows { items, counters, ..Rows::default() }
    }

    /// Rows and checkpoint together. What the schema refuses fails here.
    pub fn commit(&mut self, batch: &Batch) {
        for key in &batch.made {
            let taken = self.items.insert(key.clone(), batch.items[key].clone());
            assert_eq!(taken, None, "an item is inserted once");
        }
        for key in &batch.moved {
            let row = self.items.get_mut(key).expect("only rows that stand there are updated");
            let item = batch.items[key].clone();
            // The statement touches the content of nothing else.
            let content = if batch.reworded.contains(key) { &item.content } else { &row.content };
            *row = ItemState { content: content.clone(), ..item };
        }
        for change in batch.changes.iter().flatten() {
            let key = ((change.tenant.clone(), change.user_id.clone()), change.item.state.position);
            assert_eq!(self.changes.insert(key, change.clone()), None, "a position changes a user once");
        }
        let negative = batch.counters.values().find(|counts| counts.unread < 0 || counts.unseen < 0);
        assert_eq!(negative, None, "counters are never negative");
        self.counters.extend(batch.counters.clone());
        self.checkpoint = batch.last;
    }
}

/// A row as it comes back: how an item ended is a text in the table.
fn as_read(row: &ItemState) -> ItemState {
    ItemState { ended: row.ended.map(|ended| Ended::parse(ended.as_str())), ..row.clone() }
}
