//! Who listens: the open connections of this node by user, each with a bounded queue.
//!
//! Registering and dispatching share one lock, so a connection knows exactly from which position on the feed
//! fills its queue. Nobody waits under that lock: a queue that is full ends its connection instead.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::frame::{Close, Frame};
use crate::auth::Key;
use crate::clock;
use crate::mirror::Entry;
use tidings_projections::inbox::Unsaid;
use tidings_projections::log::Cursor;
use tidings_projections::read_model::UserKey;

/// Bytes that may wait for one connection before it counts as too slow.
const QUEUE_BYTES_MAX: usize = 1 << 20;
/// A drain sends connections away over this much time each, so that they do not all come back at once, and no
/// longer than this in all. It goes by ticks.
const DRAIN_EACH: Duration = Duration::from_millis(4);
const DRAIN_MAX: Duration = Duration::from_secs(8);
const DRAIN_TICK: Duration = Duration::from_millis(20);

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
    /// A new generation of the inbox: what was shown before may have been wrong.
    GenerationBegan {
        generation: i64,
    },
}

impl Queued {
    fn bytes(&self) -> usize {
        match self {
            Self::Event { frame, .. } => frame.json.len(),
            Self::EpochBegan { .. } | Self::GenerationBegan { .. } => 0,
        }
    }
}

/// Whose inbox a connection shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Owner {
    pub tenant: Box<str>,
    pub user_id: Box<str>,
}

impl Owner {
    pub fn pair(&self) -> (&str, &str) {
        (&self.tenant, &self.user_id)
    }
}

struct Outbox {
    owner: Arc<Owner>,
    connection: Uuid,
    waiting: Mutex<Waiting>,
    filled: Notify,
    /// Of all connections.
    queued_bytes: IntGauge,
}

#[derive(Default)]
struct Waiting {
    queue: VecDeque<Queued>,
    bytes: usize,
    close: Option<Close>,
    /// It ends with this key.
    key: Option<Arc<Key>>,
}

impl Outbox {
    fn new(owner: Arc<Owner>, connection: Uuid, key: Option<Arc<Key>>, queued_bytes: IntGauge) -> Self {
        let waiting = Mutex::new(Waiting { key, ..Waiting::default() });
        Self { owner, connection, waiting, filled: Notify::new(), queued_bytes }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no code panics while it holds a queue")
    }

    /// Nothing is added to what must end, and a queue that would grow too long is given up.
    fn push(&self, queued: Queued) {
        let mut waiting = self.waiting();
        if waiting.close.is_some() {
            return;
        }
        let bytes = queued.bytes();
        if waiting.bytes + bytes > QUEUE_BYTES_MAX {
            self.take(&mut waiting);
            waiting.close = Some(Close::TooSlow);
        } else {
            waiting.bytes += bytes;
            self.queued_bytes.add(bytes as i64);
            waiting.queue.push_back(queued);
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Empties the queue, and gives back what it counted.
    fn take(&self, waiting: &mut Waiting) -> VecDeque<Queued> {
        self.queued_bytes.sub(std::mem::take(&mut waiting.bytes) as i64);
        std::mem::take(&mut waiting.queue)
    }

    fn close(&self, why: Close) {
        self.waiting().close.get_or_insert(why);
        self.filled.notify_one();
    }

    /// What waits is not sent any more.
    fn close_if_revoked(&self) {
        let mut waiting = self.waiting();
        if waiting.key.as_ref().is_some_and(|key| key.has_ended()) {
            self.take(&mut waiting);
            waiting.close = Some(Close::Revoked);
            drop(waiting);
            self.filled.notify_one();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.take(&mut self.waiting());
    }
}

#[derive(Default)]
struct Registry {
    /// By tenant, then by user: a look-up copies neither.
    by_user: HashMap<String, HashMap<String, Vec<Arc<Outbox>>>>,
    /// Who wants to be woken once the feed is at a position.
    awaiting: Vec<(i64, Arc<Outbox>)>,
    /// How far the feed has dispatched.
    position: i64,
}

impl Registry {
    fn of(&self, tenant: &str, user_id: &str) -> Option<&Vec<Arc<Outbox>>> {
        self.by_user.get(tenant)?.get(user_id)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Outbox>> {
        self.by_user.values().flat_map(HashMap::values).flatten()
    }

    fn wake(&mut self) {
        let position = self.position;
        self.awaiting.retain(|(awaited, outbox)| {
            let reached = *awaited <= position;
            if reached {
                outbox.filled.notify_one();
            }
            !reached
        });
    }

    fn remove(&mut self, (tenant, user_id): (&str, &str), outbox: &Arc<Outbox>) {
        self.awaiting.retain(|(_, other)| !Arc::ptr_eq(other, outbox));
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

#[derive(Clone)]
pub struct Hub {
    registry: Arc<Mutex<Registry>>,
    draining: CancellationToken,
    queued_bytes: IntGauge,
}

impl Hub {
    pub fn new(queued_bytes: IntGauge) -> Self {
        Self { registry: Arc::default(), draining: CancellationToken::new(), queued_bytes }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().expect("no code panics while it holds the registry")
    }

    /// Opens a queue for the user. It receives everything the feed dispatches after the tap's position.
    pub fn tap(&self, owner: Arc<Owner>, connection: Uuid, key: Option<Arc<Key>>) -> Tap {
        let outbox = Arc::new(Outbox::new(owner.clone(), connection, key, self.queued_bytes.clone()));
        let mut registry = self.registry();
        let users = registry.by_user.entry(owner.tenant.to_string()).or_default();
        users.entry(owner.user_id.to_string()).or_default().push(outbox.clone());
        if self.draining.is_cancelled() {
            outbox.close(Close::GoingAway);
        }
        outbox.close_if_revoked();
        let position = registry.position;
        drop(registry);
        Tap { hub: self.clone(), outbox, position }
    }

    /// Hands entries to those they concern, in order, and says how many: it stops before one whose item has no words yet,
    /// neither of its own nor in `told`, by position, where somebody is to read it. `cursor` names a position for clients.
    pub fn dispatch(
        &self,
        entries: &[Entry],
        told: &HashMap<i64, String>,
        cursor: impl Fn(i64) -> Cursor,
    ) -> usize {
        let mut registry = self.registry();
        let mut dispatched = 0;
        for entry in entries {
            let concerned = entry.user_id.as_ref().zip(entry.changed.as_ref());
            let listening =
                concerned.and_then(|(user, changed)| Some((registry.of(&entry.tenant, user)?, changed)));
            let Some((outboxes, changed)) = listening else {
                registry.position = entry.position;
                dispatched += 1;
                continue;
            };
            let item = match told.get(&entry.position) {
                Some(told) => told,
                None if Unsaid::is(&changed.item) => break,
                None => &changed.item,
            };
            let mut frame = Frame::event(cursor(entry.position), &entry.event_type, changed.counts, item);
            frame.recorded_at = entry.recorded_at;
            frame.trace = entry.trace.map(|trace| (trace, clock::instant()));
            for outbox in outboxes {
                outbox.push(Queued::Event { position: entry.position, frame: frame.clone() });
            }
            registry.position = entry.position;
            dispatched += 1;
        }
        registry.wake();
        dispatched
    }

    /// Whether somebody reads the inbox here.
    pub fn listens(&self, tenant: &str, user_id: &str) -> bool {
        self.registry().of(tenant, user_id).is_some()
    }

    pub fn begin_epoch(&self, first_position: i64) {
        let mut registry = self.registry();
        registry.position = registry.position.min(first_position - 1);
        for outbox in registry.all() {
            outbox.push(Queued::EpochBegan { first_position });
        }
    }

    /// Tells these users' connections, or everybody's.
    pub fn begin_generation(&self, generation: i64, users: Option<&Vec<UserKey>>) {
        let registry = self.registry();
        let push = |outbox: &Arc<Outbox>| outbox.push(Queued::GenerationBegan { generation });
        match users {
            None => registry.all().for_each(push),
            Some(users) => {
                let of = |(tenant, user_id): &UserKey| registry.of(tenant, user_id);
                users.iter().filter_map(of).flatten().for_each(push);
            }
        }
    }

    pub fn start_at(&self, position: i64) {
        self.registry().position = position;
    }

    pub fn position(&self) -> i64 {
        self.registry().position
    }

    /// Whoever has a connection here.
    pub fn owners(&self) -> Vec<Arc<Owner>> {
        let registry = self.registry();
        let users = registry.by_user.values().flat_map(HashMap::values);
        users.filter_map(|outboxes| outboxes.first().map(|outbox| outbox.owner.clone())).collect()
    }

    /// The connections that these have now.
    pub fn connections_of(&self, owners: &[Arc<Owner>]) -> Vec<(Arc<Owner>, Uuid)> {
        let registry = self.registry();
        let outboxes = owners.iter().filter_map(|owner| registry.of(&owner.tenant, &owner.user_id)).flatten();
        outboxes.map(|outbox| (outbox.owner.clone(), outbox.connection)).collect()
    }

    /// Sends a connection away, if it is here: another one goes on from it.
    pub fn replace(&self, owner: &Owner, connection: Uuid) {
        let registry = self.registry();
        let outboxes = registry.of(&owner.tenant, &owner.user_id).into_iter().flatten();
        outboxes.filter(|outbox| outbox.connection == connection).for_each(|it| it.close(Close::GoingAway));
    }

    /// Closes the connections whose keys have ended.
    pub fn close_revoked(&self) {
        self.registry().all().for_each(|outbox| outbox.close_if_revoked());
    }

    /// Whether connections are sent away.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Returns once they are.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Tells every connection to go elsewhere, one after the other; those that come from now on at once.
    pub async fn drain(&self) {
        let mut outboxes: Vec<Arc<Outbox>> = {
            let registry = self.registry();
            self.draining.cancel();
            registry.all().cloned().collect()
        };
        let count = u32::try_from(outboxes.len()).unwrap_or(u32::MAX);
        let window = DRAIN_EACH.saturating_mul(count).min(DRAIN_MAX);
        let ticks = (window.as_millis() / DRAIN_TICK.as_millis()).max(1) as usize;
        let at_once = outboxes.len().div_ceil(ticks).max(1);
        while !outboxes.is_empty() {
            let left = outboxes.len().saturating_sub(at_once);
            outboxes.drain(left..).for_each(|outbox| outbox.close(Close::GoingAway));
            if left > 0 {
                tokio::time::sleep(DRAIN_TICK).await;
            }
        }
    }
}

/// One connection's place in the hub; dropping it gives the place back.
pub struct Tap {
    hub: Hub,
    outbox: Arc<Outbox>,
    /// The feed's position when the queue was opened.
    pub position: i64,
}

impl Tap {
    /// All that waits, which may be nothing; then why the connection must end, if it must.
    pub fn take(&self) -> Result<VecDeque<Queued>, Close> {
        let mut waiting = self.outbox.waiting();
        match waiting.close {
            Some(close) if waiting.queue.is_empty() => Err(close),
            _ => Ok(self.outbox.take(&mut waiting)),
        }
    }

    /// Fails once the connection may be sent nothing more, whatever waits.
    pub fn check(&self) -> Result<(), Close> {
        match self.outbox.waiting().close {
            Some(Close::Revoked) => Err(Close::Revoked),
            _ => Ok(()),
        }
    }

    /// From now on it ends with this key, or with none.
    pub fn belong_to(&self, key: Option<Arc<Key>>) {
        self.outbox.waiting().key = key;
        self.outbox.close_if_revoked();
    }

    /// Returns when there may be something to take, or an awaited position is reached.
    pub async fn woken(&self) {
        self.outbox.filled.notified().await;
    }

    /// Has this connection woken once the feed is at `position`.
    pub fn wake_at(&self, position: i64) {
        let mut registry = self.hub.registry();
        if registry.position >= position {
            self.outbox.filled.notify_one();
        } else {
            registry.awaiting.push((position, self.outbox.clone()));
        }
    }

    /// Returns once the connection must end, whether everything was taken or not.
    pub async fn ended(&self) -> Close {
        loop {
            if let Some(close) = self.outbox.waiting().close {
                return close;
            }
            self.outbox.filled.notified().await;
        }
    }

    /// The feed's position once everything that waits here is taken.
    pub fn feed_position(&self) -> Option<i64> {
        let registry = self.hub.registry();
        let empty = self.outbox.waiting().queue.is_empty();
        empty.then_some(registry.position)
    }

    pub fn owner(&self) -> &Arc<Owner> {
        &self.outbox.owner
    }

    pub fn connection(&self) -> Uuid {
        self.outbox.connection
    }

    /// Sends another connection of the user away, if it is here.
    pub fn replace(&self, connection: Uuid) {
        self.hub.replace(self.owner(), connection);
    }

    /// How many connections of the user were here before this one, not counting one that it replaces.
    pub fn rank(&self, replaced: Option<Uuid>) -> usize {
        let registry = self.hub.registry();
        let outboxes = registry.of(&self.owner().tenant, &self.owner().user_id).into_iter().flatten();
        let before = outboxes.take_while(|outbox| !Arc::ptr_eq(outbox, &self.outbox));
        before.filter(|outbox| Some(outbox.connection) != replaced).count()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.hub.registry().remove(self.outbox.owner.pair(), &self.outbox);
    }
}
