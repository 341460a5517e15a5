//! The end of the log as this node knows it: how far it reaches, and the newest events in memory.
//!
//! Both are shortcuts. Whoever reads the tail checks that it continues without a hole where he stands and
//! otherwise asks Postgres; a watermark that stands still is overtaken by a poll.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::Recorded;

/// A position that only grows within an epoch, and that others can wait for.
#[derive(Clone)]
pub struct Watermark(Arc<watch::Sender<i64>>);

impl Default for Watermark {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Watermark {
    pub fn get(&self) -> i64 {
        *self.0.borrow()
    }

    pub fn advance_to(&self, position: i64) {
        self.0.send_if_modified(|known| {
            let grows = position > *known;
            *known = position.max(*known);
            grows
        });
    }

    /// After a change of epoch the log may end earlier than it did.
    pub fn reset_to(&self, position: i64) {
        self.0.send_replace(position);
    }

    /// Returns once the mark is at `position` or beyond.
    pub async fn reached(&self, position: i64) {
        // The sender lives in self, so the wait cannot fail.
        let _ = self.0.subscribe().wait_for(|known| *known >= position).await;
    }

    /// Returns once the mark differs from `position`.
    pub async fn left(&self, position: i64) {
        let _ = self.0.subscribe().wait_for(|known| *known != position).await;
    }
}

/// Events just appended by this node, newest last, without a hole among them.
#[derive(Clone, Default)]
pub struct Tail(Arc<Mutex<VecDeque<Arc<Recorded>>>>);

impl Tail {
    /// Enough for a projector that is a few batches behind; beyond that it reads from Postgres.
    const EVENTS_MAX: usize = 4_096;

    pub fn push(&self, events: impl IntoIterator<Item = Arc<Recorded>>) {
        let mut tail = self.lock();
        for event in events {
            if tail.back().is_some_and(|last| last.position + 1 != event.position) {
                tail.clear();
            }
            if tail.len() == Self::EVENTS_MAX {
                tail.pop_front();
            }
            tail.push_back(event);
        }
    }

    /// At most `limit` events that follow `position` directly; none where the tail does not reach back so far.
    pub fn after(&self, position: i64, limit: usize) -> Vec<Arc<Recorded>> {
        let tail = self.lock();
        let Some(first) = tail.front().map(|e| e.position) else { return Vec::new() };
        match usize::try_from(position + 1 - first) {
            Ok(skip) => tail.iter().skip(skip).take(limit).cloned().collect(),
            Err(_) => Vec::new(),
        }
    }

    /// Lets go of what every reader of this node has folded: memory that is freed soon is still in the cache.
    pub fn forget_up_to(&self, position: i64) {
        let mut tail = self.lock();
        let folded = tail.partition_point(|event| event.position <= position);
        tail.drain(..folded);
    }

    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Recorded>>> {
        self.0.lock().expect("no code panics while it holds the tail")
    }
}
