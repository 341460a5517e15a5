//! Who listens: the open connections of this node by user, each with a bounded queue.
//!
//! Registering and dispatching share one lock, so a connection knows exactly from which position on the feed
//! fills its queue. Nobody waits under that lock: a queue that is full ends its connection instead.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use super::frame::{Close, Frame};
use crate::mirror::Entry;
use tidings_projections::log::Cursor;

/// Bytes that may wait for one connection before it counts as too slow.
const QUEUE_BYTES_MAX: usize = 1 << 20;

/// What waits in a queue.
#[derive(Clone, Debug)]
pub enum Queued {
    Event {
        position: i64,
        frame: Frame,
    },
    /// A new epoch: whoever is at or past its first position has seen a history that is gone.
    EpochBegan {
        first_position: i64,
    },
}

impl Queued {
    fn bytes(&self) -> usize {
        match self {
            Self::Event { frame, .. } => frame.json.len(),
            Self::EpochBegan { .. } => 0,
        }
    }
}

#[derive(Default)]
struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    queue: VecDeque<Queued>,
    bytes: usize,
    close: Option<Close>,
}

impl Outbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no code panics while it holds a queue")
    }

    fn push(&self, queued: Queued) {
        let mut waiting = self.waiting();
        waiting.bytes += queued.bytes();
        if waiting.bytes > QUEUE_BYTES_MAX {
            waiting.queue = VecDeque::new();
            waiting.close.get_or_insert(Close::TooSlow);
        } else if waiting.close.is_none() {
            waiting.queue.push_back(queued);
        }
        drop(waiting);
        self.filled.notify_one();
    }

    fn close(&self, why: Close) {
        self.waiting().close.get_or_insert(why);
        self.filled.notify_one();
    }
}

#[derive(Default)]
struct Registry {
    /// By tenant, then by user: a look-up copies neither.
    by_user: HashMap<String, HashMap<String, Vec<Arc<Outbox>>>>,
    /// How far the feed has dispatched.
    position: i64,
    connections: usize,
    draining: bool,
}

impl Registry {
    fn of(&self, tenant: &str, user_id: &str) -> Option<&Vec<Arc<Outbox>>> {
        self.by_user.get(tenant)?.get(user_id)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Outbox>> {
        self.by_user.values().flat_map(HashMap::values).flatten()
    }

    fn remove(&mut self, tenant: &str, user_id: &str, outbox: &Arc<Outbox>) {
        self.connections -= 1;
        let Some(users) = self.by_user.get_mut(tenant) else { return };
        if let Some(outboxes) = users.get_mut(user_id) {
            outboxes.retain(|other| !Arc::ptr_eq(other, outbox));
            if outboxes.is_empty() {
                users.remove(user_id);
            }
        }
        if users.is_empty() {
            self.by_user.remove(tenant);
        }
    }
}

#[derive(Clone, Default)]
pub struct Hub(Arc<Mutex<Registry>>);

impl Hub {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().expect("no code panics while it holds the registry")
    }

    /// Opens a queue for the user. It receives everything the feed dispatches after the tap's position.
    pub fn tap(&self, tenant: &str, user_id: &str) -> Tap {
        let outbox = Arc::new(Outbox::default());
        let mut registry = self.registry();
        let users = registry.by_user.entry(tenant.to_owned()).or_default();
        users.entry(user_id.to_owned()).or_default().push(outbox.clone());
        registry.connections += 1;
        if registry.draining {
            outbox.close(Close::GoingAway);
        }
        let position = registry.position;
        drop(registry);
        Tap { hub: self.clone(), tenant: tenant.to_owned(), user_id: user_id.to_owned(), outbox, position }
    }

    /// Hands entries to those they concern, in order. `cursor` names a position for clients.
    pub fn dispatch(&self, entries: &[Entry], cursor: impl Fn(i64) -> Cursor) {
        let mut registry = self.registry();
        for entry in entries {
            registry.position = entry.position;
            let (Some(user_id), Some(changed)) = (&entry.user_id, &entry.changed) else { continue };
            let Some(outboxes) = registry.of(&entry.tenant, user_id) else { continue };
            let frame =
                Frame::event(cursor(entry.position), &entry.event_type, changed.counts, &changed.item);
            for outbox in outboxes {
                outbox.push(Queued::Event { position: entry.position, frame: frame.clone() });
            }
        }
    }

    pub fn begin_epoch(&self, first_position: i64) {
        let mut registry = self.registry();
        registry.position = registry.position.min(first_position - 1);
        for outbox in registry.all() {
            outbox.push(Queued::EpochBegan { first_position });
        }
    }

    pub fn start_at(&self, position: i64) {
        self.registry().position = position;
    }

    pub fn position(&self) -> i64 {
        self.registry().position
    }

    pub fn connections(&self) -> usize {
        self.registry().connections
    }

    /// Tells every connection, present and future, to go elsewhere.
    pub fn drain(&self) {
        let mut registry = self.registry();
        registry.draining = true;
        registry.all().for_each(|outbox| outbox.close(Close::GoingAway));
    }
}

/// One connection's place in the hub; dropping it gives the place back.
pub struct Tap {
    hub: Hub,
    tenant: String,
    user_id: String,
    outbox: Arc<Outbox>,
    /// The feed's position when the queue was opened.
    pub position: i64,
}

impl Tap {
    /// All that waits, as soon as something does; then why the connection must end, if it must.
    pub async fn take(&self) -> Result<VecDeque<Queued>, Close> {
        loop {
            {
                let mut waiting = self.outbox.waiting();
                if !waiting.queue.is_empty() {
                    waiting.bytes = 0;
                    return Ok(std::mem::take(&mut waiting.queue));
                }
                if let Some(close) = waiting.close {
                    return Err(close);
                }
            }
            self.outbox.filled.notified().await;
        }
    }

    /// Returns once the queue has overflowed: the peer reads too slowly.
    pub async fn overflowed(&self) {
        while self.outbox.waiting().close != Some(Close::TooSlow) {
            self.outbox.filled.notified().await;
        }
    }

    /// The feed's position once everything that waits here is taken.
    pub fn feed_position(&self) -> Option<i64> {
        let registry = self.hub.registry();
        let empty = self.outbox.waiting().queue.is_empty();
        empty.then_some(registry.position)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.hub.registry().remove(&self.tenant, &self.user_id, &self.outbox);
    }
}
