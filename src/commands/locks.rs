//! One task at a time per aggregate on this node: racers queue here instead of conflicting in the database.

use tidings_domain::NotificationId;
use tokio::sync::{Mutex, MutexGuard};

/// More stripes mean fewer strangers waiting for each other; an idle stripe is a few dozen bytes.
const STRIPES: usize = 1_024;

pub struct Locks(Vec<Mutex<()>>);

impl Default for Locks {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| Mutex::new(())).collect())
    }
}

impl Locks {
    pub async fn lock(&self, id: NotificationId) -> MutexGuard<'_, ()> {
        self.0[stripe(id)].lock().await
    }

    /// All at once, in one order for everybody, so that two callers never wait for each other.
    pub async fn lock_all(&self, ids: impl Iterator<Item = NotificationId>) -> Vec<MutexGuard<'_, ()>> {
        let mut stripes: Vec<usize> = ids.map(stripe).collect();
        stripes.sort_unstable();
        stripes.dedup();
        let mut guards = Vec::with_capacity(stripes.len());
        for stripe in stripes {
            guards.push(self.0[stripe].lock().await);
        }
        guards
    }
}

/// The last bytes of a UUIDv7 are random; the first are the time.
fn stripe(id: NotificationId) -> usize {
    let bytes = id.uuid().into_bytes();
    usize::from(u16::from_be_bytes([bytes[14], bytes[15]])) % STRIPES
}
