//! A bounded memory of what was read, by name: the least recently used goes first.
//!
//! Who reads takes a ticket before he does. What was forgotten meanwhile is not put back by him: he may have read what
//! stood before the change.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard};

use lru::LruCache;

/// Counters of what was forgotten; names share them, and a reader who is refused for another's sake reads once more.
const COUNTERS: usize = 256;

pub struct Shelf<K, V> {
    state: Mutex<State<K, V>>,
    weight_max: usize,
}

struct State<K, V> {
    values: LruCache<K, (V, usize)>,
    weight: usize,
    forgotten: [u64; COUNTERS],
    cleared: u64,
}

/// What was forgotten until somebody began to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    forgotten: u64,
    cleared: u64,
}

impl<K: Hash + Eq, V: Clone> Shelf<K, V> {
    /// `weight_max` is in the unit of the weights given to [`Shelf::put`].
    pub fn new(weight_max: usize) -> Self {
        let state = State { values: LruCache::unbounded(), weight: 0, forgotten: [0; COUNTERS], cleared: 0 };
        Self { state: Mutex::new(state), weight_max }
    }

    fn state(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().expect("no code panics while it holds a shelf")
    }

    /// What is known, or a ticket to read it.
    pub fn get(&self, key: &K) -> Result<V, Ticket> {
        let mut state = self.state();
        let ticket = Ticket { forgotten: state.forgotten[counter(key)], cleared: state.cleared };
        state.values.get(key).map(|(value, _)| value.clone()).ok_or(ticket)
    }

    /// Remembers what was read with the ticket, unless it was forgotten meanwhile.
    pub fn put(&self, key: K, ticket: Ticket, value: V, weight: usize) {
        let mut state = self.state();
        if ticket != (Ticket { forgotten: state.forgotten[counter(&key)], cleared: state.cleared }) {
            return;
        }
        state.weight += weight;
        if let Some((_, (_, before))) = state.values.push(key, (value, weight)) {
            state.weight -= before;
        }
        while state.weight > self.weight_max
            && let Some((_, (_, weight))) = state.values.pop_lru()
        {
            state.weight -= weight;
        }
    }

    pub fn forget(&self, key: &K) {
        let mut state = self.state();
        state.forgotten[counter(key)] += 1;
        if let Some((_, weight)) = state.values.pop(key) {
            state.weight -= weight;
        }
    }

    pub fn clear(&self) {
        let mut state = self.state();
        state.cleared += 1;
        state.weight = 0;
        state.values.clear();
    }
}

fn counter(key: &impl Hash) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    (hasher.finish() % COUNTERS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(shelf: &Shelf<String, u32>, key: &str) -> Ticket {
        shelf.get(&key.to_owned()).expect_err("it is not known")
    }

    #[test]
    fn what_was_forgotten_while_somebody_read_is_not_remembered() {
        let shelf = Shelf::new(10);
        let early = ticket(&shelf, "a");
        shelf.forget(&"a".to_owned());
        shelf.put("a".to_owned(), early, 1, 1);
        let late = ticket(&shelf, "a");
        shelf.put("a".to_owned(), late, 2, 1);
        assert_eq!(shelf.get(&"a".to_owned()), Ok(2));
        let early = ticket(&shelf, "b");
        shelf.clear();
        shelf.put("b".to_owned(), early, 1, 1);
        assert!(shelf.get(&"b".to_owned()).is_err());
        assert!(shelf.get(&"a".to_owned()).is_err(), "all of it is forgotten");
    }

    #[test]
    fn the_least_recently_used_goes_first_by_weight() {
        let shelf = Shelf::new(10);
        for (key, weight) in [("a", 4), ("b", 4), ("c", 2)] {
            shelf.put(key.to_owned(), ticket(&shelf, key), 0, weight);
        }
        assert!(shelf.get(&"a".to_owned()).is_ok(), "and is the most recently used now");
        shelf.put("d".to_owned(), ticket(&shelf, "d"), 0, 3);
        let known = ["a", "b", "c", "d"].map(|key| shelf.get(&key.to_owned()).is_ok());
        assert_eq!(known, [true, false, true, true]);
        shelf.forget(&"a".to_owned());
        shelf.put("e".to_owned(), ticket(&shelf, "e"), 0, 5);
        let known = ["c", "d", "e"].map(|key| shelf.get(&key.to_owned()).is_ok());
        assert_eq!(known, [true, true, true], "what is forgotten weighs nothing");
        shelf.put("f".to_owned(), ticket(&shelf, "f"), 0, 11);
        assert!(shelf.get(&"f".to_owned()).is_err(), "what is too large alone is not kept");
    }
}
