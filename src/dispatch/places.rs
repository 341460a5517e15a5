//! The calls that a node makes at once, and who may have how many of them. A quarter is kept for what is loud, and no channel
//! of a tenant has more than half, or that quarter beside it for what is loud: endpoints that hang hold up neither the urgent
//! nor anybody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tidings_domain::notification::{Channel, Priority};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Whose work it is: a tenant's on a channel.
pub type Queue = (String, Channel);

/// Cheap to clone.
#[derive(Clone)]
pub struct Places {
    all: usize,
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Default)]
struct State {
    taken: usize,
    /// Of them, by what is low or normal.
    quiet: usize,
    by_queue: HashMap<Queue, usize>,
    /// Nobody calls for these before then.
    held: HashMap<Queue, Instant>,
}

/// What may be taken now.
#[derive(Debug, PartialEq)]
pub struct Room {
    pub all: usize,
    /// Of them, for what is low or normal.
    pub quiet: usize,
    /// Of them, for one queue that is not among `queues`.
    pub each: i64,
    /// What a queue has beside that for the loud.
    pub loud: i64,
    /// The queues of which something is under way, or that are held. Below zero is what they have of the room for the loud.
    pub queues: Vec<(Queue, i64)>,
    /// When the next of the held is not any more.
    pub held_until: Option<Instant>,
}

/// A place that is taken, until this is dropped.
pub struct Place {
    queue: Queue,
    quiet: bool,
    inner: Arc<Inner>,
}

/// As Postgres counts.
pub fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Whether it waits behind what is loud.
pub fn is_quiet(lane: i16) -> bool {
    lane < Priority::High as i16
}

impl Places {
    pub fn new(all: usize) -> Self {
        let inner = Inner { state: Mutex::default(), freed: Notify::new() };
        Self { all, inner: Arc::new(inner) }
    }

    pub fn room(&self, now: Instant) -> Room {
        let mut state = self.inner.lock();
        state.held.retain(|_, until| *until > now);
        let (each, loud) = (number(self.all / 2).max(1), number(self.all / 4));
        let busy = state.by_queue.iter().map(|(queue, taken)| (queue.clone(), each - number(*taken)));
        let mut queues: HashMap<Queue, i64> = busy.collect();
        queues.extend(state.held.keys().map(|queue| (queue.clone(), -loud)));
        let all = self.all.saturating_sub(state.taken);
        let for_quiet = self.all - self.all / 4;
        Room {
            all,
            quiet: all.min(for_quiet.saturating_sub(state.quiet)),
            each,
            loud,
            queues: queues.into_iter().collect(),
            held_until: state.held.values().min().copied(),
        }
    }

    pub fn take(&self, queue: Queue, lane: i16) -> Place {
        let quiet = is_quiet(lane);
        let mut state = self.inner.lock();
        state.taken += 1;
        state.quiet += usize::from(quiet);
        *state.by_queue.entry(queue.clone()).or_default() += 1;
        drop(state);
        Place { queue, quiet, inner: self.inner.clone() }
    }

    /// Leaves the queue alone for a while.
    pub fn hold(&self, queue: Queue, pause: Duration) {
        self.inner.lock().held.insert(queue, Instant::now() + pause);
    }

    /// Returns when a place is free again, also one that became free since this returned last.
    pub async fn freed(&self) {
        self.inner.freed.notified().await;
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the places")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        state.taken -= 1;
        state.quiet -= usize::from(self.quiet);
        if let Some(taken) = state.by_queue.get_mut(&self.queue) {
            *taken -= 1;
            if *taken == 0 {
                state.by_queue.remove(&self.queue);
            }
        }
        drop(state);
        self.inner.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    //! What is left for whom.

    use super::*;

    const LOW: i16 = Priority::Low as i16;
    const URGENT: i16 = Priority::Urgent as i16;

    fn queue(tenant: &str) -> Queue {
        (tenant.into(), Channel::Webhook)
    }

    fn take(places: &Places, tenant: &str, lane: i16, count: usize) -> Vec<Place> {
        (0..count).map(|_| places.take(queue(tenant), lane)).collect()
    }

    #[test]
    fn half_is_for_one_queue_and_a_quarter_for_the_loud() {
        let (places, now) = (Places::new(64), Instant::now());
        let acme = take(&places, "acme", LOW, 32);
        let room = places.room(now);
        assert_eq!((room.all, room.quiet, room.each, room.loud), (32, 16, 32, 16));
        assert_eq!(room.queues, [(queue("acme"), 0)]);
        let others = take(&places, "other", LOW, 16);
        assert_eq!((places.room(now).all, places.room(now).quiet), (16, 0), "the rest is for the loud");
        let urgents = take(&places, "other", URGENT, 16);
        assert_eq!((places.room(now).all, places.room(now).quiet), (0, 0));
        drop((acme, others, urgents));
        let fresh = Room { all: 64, quiet: 48, each: 32, loud: 16, queues: vec![], held_until: None };
        assert_eq!(places.room(now), fresh);
    }

    #[test]
    fn a_single_place_is_anybody_s() {
        let (places, now) = (Places::new(1), Instant::now());
        let room = places.room(now);
        assert_eq!((room.quiet, room.each, room.loud), (1, 1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_has_no_room_until_then() {
        let places = Places::new(8);
        places.hold(queue("acme"), Duration::from_secs(5));
        let now = Instant::now();
        let room = places.room(now);
        assert_eq!(
            (room.queues, room.held_until),
            (vec![(queue("acme"), -2)], Some(now + Duration::from_secs(5)))
        );
        assert_eq!(places.room(now + Duration::from_secs(5)).queues, []);
    }
}
