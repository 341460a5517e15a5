//! The end of the log as this node knows it: how far it reaches, and the newest events in memory.
//!
//! Both are shortcuts. Whoever reads the tail checks that it continues without a hole where he stands and
//! otherwise asks Postgres; a watermark that stands still is overtaken by a poll.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::{BATCH_BYTES_MAX, Recorded};

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
pub struct Tail(Arc<Mutex<Recent>>);

#[derive(Default)]
struct Recent {
    events: VecDeque<Arc<Recorded>>,
    bytes: usize,
    /// How far each reader is.
    done: Vec<i64>,
}

/// One follower of the tail. What all of them have taken is let go: memory that is freed soon is still in the cache.
pub struct TailReader {
    tail: Tail,
    number: usize,
}

impl Tail {
    /// Enough for a reader that is a few batches behind; beyond that it reads from Postgres.
    const EVENTS_MAX: usize = 4_096;
    const BYTES_MAX: usize = 32 << 20;

    /// A reader that has taken nothing yet.
    pub fn reader(&self) -> TailReader {
        let mut recent = self.lock();
        recent.done.push(0);
        TailReader { number: recent.done.len() - 1, tail: self.clone() }
    }

    pub fn push(&self, added: impl IntoIterator<Item = Arc<Recorded>>) {
        let Recent { events, bytes, done } = &mut *self.lock();
        // With no reader nothing is worth keeping.
        if done.is_empty() {
            return;
        }
        for event in added {
            if events.back().is_some_and(|last| last.position + 1 != event.position) {
                events.clear();
                *bytes = 0;
            }
            *bytes += event.stored_bytes;
            events.push_back(event);
            while events.len() > Self::EVENTS_MAX || *bytes > Self::BYTES_MAX {
                let Some(oldest) = events.pop_front() else { break };
                *bytes -= oldest.stored_bytes;
            }
        }
    }

    pub fn clear(&self) {
        let mut recent = self.lock();
        recent.events.clear();
        recent.bytes = 0;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.0.lock().expect("no code panics while it holds the tail")
    }
}

impl TailReader {
    /// At most `limit` events that follow `position` directly, fewer where they are large; none where the tail does
    /// not reach back so far.
    pub fn after(&self, position: i64, limit: usize) -> Vec<Arc<Recorded>> {
        let events = &self.tail.lock().events;
        let Some(first) = events.front().map(|e| e.position) else { return Vec::new() };
        match usize::try_from(position + 1 - first) {
            Ok(skip) => {
                let mut room = BATCH_BYTES_MAX;
                let fits = |event: &&Arc<Recorded>| {
                    let fits = room > 0;
                    room = room.saturating_sub(event.stored_bytes);
                    fits
                };
                events.iter().skip(skip).take(limit).take_while(fits).cloned().collect()
            }
            Err(_) => Vec::new(),
        }
    }

    pub fn done_up_to(&self, position: i64) {
        let Recent { events, bytes, done } = &mut *self.tail.lock();
        done[self.number] = position;
        let everywhere = done.iter().copied().min().unwrap_or_default();
        let taken = events.partition_point(|event| event.position <= everywhere);
        *bytes -= events.drain(..taken).map(|event| event.stored_bytes).sum::<usize>();
    }
}
