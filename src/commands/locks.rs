//! One task at a time per aggregate on this node: racers queue here instead of conflicting in the database.

use std::hash::{BuildHasher, Hash, RandomState};

use tokio::sync::{Mutex, MutexGuard};

/// More stripes mean fewer strangers waiting for each other; an idle stripe is a few dozen bytes.
const STRIPES: usize = 1_024;

pub struct Locks {
    stripes: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl Default for Locks {
    fn default() -> Self {
        Self { stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(), hasher: RandomState::new() }
    }
}

impl Locks {
    pub async fn lock(&self, id: &impl Hash) -> MutexGuard<'_, ()> {
        self.stripes[self.stripe(id)].lock().await
    }

    /// All at once, in one order for everybody, so that two callers never wait for each other.
    pub async fn lock_all(&self, ids: impl Iterator<Item = impl Hash>) -> Vec<MutexGuard<'_, ()>> {
        let mut stripes: Vec<usize> = ids.map(|id| self.stripe(&id)).collect();
        stripes.sort_unstable();
        stripes.dedup();
        let mut guards = Vec::with_capacity(stripes.len());
        for stripe in stripes {
            guards.push(self.stripes[stripe].lock().await);
        }
        guards
    }

    fn stripe(&self, id: &impl Hash) -> usize {
        self.hasher.hash_one(id) as usize % STRIPES
    }
}
