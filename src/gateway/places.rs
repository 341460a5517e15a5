//! The limit of connections per user, over all nodes: each connection takes one of its user's places in Redis.
//!
//! A place names its node and counts for as long as the node's own key lives, so the places of a dead node come back
//! by themselves. Open connections renew theirs and are never refused, so a Redis that lost everything learns of them
//! again. While Redis does not serve the limit holds per node, and what leaves meanwhile has left when it serves again.
//! Nothing waits for Redis but the joining of a connection, and that not long.

use std::sync::Arc;
use std::time::Duration;

use redis::{Client, RedisError, Script};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use super::frame::Close;
use super::hub::{Hub, Owner, Tap};
use super::pulse::HEARTBEAT;
use crate::redis_link::{Link, Session, in_time};

/// How long a joining connection waits for Redis.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long a node's key lives, and how often it is renewed.
const NODE_TTL_SECONDS: u64 = 20;
const NODE_RENEWED_EVERY: Duration = Duration::from_secs(6);
/// Places that nobody has renewed for three heartbeats are forgotten with their user's key.
const PLACES_TTL_SECONDS: u64 = 3 * HEARTBEAT.as_secs();
/// Places in one call.
const AT_ONCE: usize = 500;
/// The braces keep all keys in one slot of a cluster.
const NODES: &str = "tidings:{0}:node:";
const PLACES: &str = "tidings:{0}:places:";

/// The places of this node's connections.
#[derive(Clone)]
pub struct Places {
    shared: Arc<Shared>,
}

struct Shared {
    limit: usize,
    admit: Script,
    link: Link,
    left: mpsc::UnboundedSender<(Arc<Owner>, Uuid)>,
}

/// The upkeep of the places: one task per node.
pub struct Keeper {
    hub: Hub,
    places: Places,
    left: mpsc::UnboundedReceiver<(Arc<Owner>, Uuid)>,
    keep: Script,
}

/// One connection's place; dropping it gives it back.
pub struct Place {
    places: Places,
    owner: Arc<Owner>,
    connection: Uuid,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Without a keeper the node is at its end, and its places with it.
        let _ = self.places.shared.left.send((self.owner.clone(), self.connection));
    }
}

impl Places {
    /// `limit` is how many connections a user may have.
    pub fn new(client: Client, hub: Hub, limit: usize) -> (Self, Keeper) {
        let (sender, left) = mpsc::unbounded_channel();
        let places = Self {
            shared: Arc::new(Shared {
                limit,
                admit: Script::new(include_str!("admit.lua")),
                link: Link::new(client, "limits of connections"),
                left: sender,
            }),
        };
        let keep = Script::new(include_str!("keep.lua"));
        (places.clone(), Keeper { hub, places, left, keep })
    }

    /// A place for the connection of the tap; `goes_on_from` is one that it replaces.
    pub async fn take(&self, tap: &Tap, goes_on_from: Option<Uuid>) -> Result<Place, Close> {
        // Made first: a call that was given up may still take a place, which is given back behind it.
        let place = Place { places: self.clone(), owner: tap.owner().clone(), connection: tap.connection() };
        let admitted = self.admit(&place, goes_on_from).await;
        if !admitted.unwrap_or_else(|| tap.rank(goes_on_from) < self.shared.limit) {
            return Err(Close::TooManyConnections);
        }
        if let Some(replaced) = goes_on_from {
            tap.replace(replaced);
        }
        Ok(place)
    }

    /// What Redis says; `None` if it says nothing.
    async fn admit(&self, place: &Place, goes_on_from: Option<Uuid>) -> Option<bool> {
        let Shared { limit, admit, link, .. } = &*self.shared;
        let mut call = admit.key(key(&place.owner));
        let task = async |session: &mut Session| {
            call.arg(NODES).arg(name_of_node(session.id)).arg(NODE_TTL_SECONDS).arg(name(place.connection));
            call.arg(goes_on_from.map_or_else(String::new, name)).arg(*limit).arg(PLACES_TTL_SECONDS);
            in_time(PATIENCE, call.invoke_async(&mut session.connection)).await
        };
        link.with(task).await
    }

    /// Gives back whatever places the node still has. Nothing may join or be renewed any more.
    pub async fn leave(&self) {
        // Where that fails they are left to expire.
        let gone = async |session: &mut Session| forget(session, session.id).await;
        self.shared.link.with(gone).await;
    }
}

impl Keeper {
    /// Runs until the task is aborted.
    pub async fn run(mut self) {
        let mut renewal = tokio::time::interval(NODE_RENEWED_EVERY);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heartbeat = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut left = Vec::new();
        loop {
            let connected = self.link().session().is_some();
            // What has left is taken out in the order in which it came in: a renewal that began before is over.
            tokio::select! {
                _ = self.left.recv_many(&mut left, AT_ONCE) => self.remove(&mut left).await,
                _ = renewal.tick(), if connected => self.link().with(renew).await.unwrap_or_default(),
                _ = heartbeat.tick(), if connected => self.keep_all().await,
                () = self.places.shared.link.due() => self.connect().await,
            }
        }
    }

    fn link(&self) -> &Link {
        &self.places.shared.link
    }

    async fn connect(&self) {
        if self.link().connect(async |session| self.begin(session).await).await {
            // Those who joined meanwhile counted for this node alone.
            self.keep_all().await;
        }
    }

    /// Does on a new connection all that is done with one: it may be one to a Redis that knows nothing, or allows less.
    async fn begin(&self, session: &mut Session) -> Result<(), RedisError> {
        in_time(PATIENCE, renew(session)).await?;
        self.keep_all_in(session).await?;
        // All that are open have moved. What is still there has left.
        match session.before {
            Some(before) => forget(session, before).await,
            None => Ok(()),
        }
    }

    /// Renews the place of every connection there is, some at a time.
    async fn keep_all(&self) {
        self.link().with(async |session| self.keep_all_in(session).await).await;
    }

    async fn keep_all_in(&self, session: &mut Session) -> Result<(), RedisError> {
        let node = name_of_node(session.id);
        self.keep.load_async(&mut session.connection).await?;
        for owners in self.hub.owners().chunks(AT_ONCE) {
            let open = self.hub.connections_of(owners);
            let mut pipeline = redis::pipe();
            for (owner, one) in &open {
                let call = pipeline.cmd("EVALSHA").arg(self.keep.get_hash()).arg(1).arg(key(owner));
                call.arg(name(*one)).arg(&node).arg(PLACES_TTL_SECONDS);
            }
            let kept: Vec<bool> = pipeline.query_async(&mut session.connection).await?;
            for ((owner, one), _) in open.iter().zip(kept).filter(|(_, kept)| !kept) {
                self.hub.replace(owner, *one);
            }
        }
        Ok(())
    }

    async fn remove(&self, left: &mut Vec<(Arc<Owner>, Uuid)>) {
        let mut pipeline = redis::pipe();
        for (owner, connection) in left.drain(..) {
            pipeline.hdel(key(&owner), name(connection)).ignore();
        }
        self.link().with(async |session| pipeline.exec_async(&mut session.connection).await).await;
    }
}

/// Writes the node's key anew.
async fn renew(session: &mut Session) -> Result<(), RedisError> {
    let mut set = redis::cmd("SET");
    set.arg(key_of_node(session.id)).arg("").arg("EX").arg(NODE_TTL_SECONDS);
    set.exec_async(&mut session.connection).await
}

/// Gives back all the places that the node has taken by that session.
async fn forget(session: &mut Session, id: Uuid) -> Result<(), RedisError> {
    redis::cmd("DEL").arg(key_of_node(id)).exec_async(&mut session.connection).await
}

/// As `welcome` names a connection.
pub fn name(connection: Uuid) -> String {
    format!("con_{}", connection.simple())
}

/// How the node is known in Redis. It is a new name for each connection: what could not be given back while Redis did not
/// serve is then forgotten with the old.
fn name_of_node(session: Uuid) -> String {
    format!("nod_{}", session.simple())
}

fn key_of_node(session: Uuid) -> String {
    format!("{NODES}{}", name_of_node(session))
}

/// Lengths go first, so that no two users share a key whatever their names contain.
fn key(owner: &Owner) -> String {
    let (tenant, user_id) = owner.pair();
    format!("{PLACES}{}:{tenant}{}:{user_id}", tenant.len(), user_id.len())
}
