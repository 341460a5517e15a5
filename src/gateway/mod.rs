//! Live inboxes: every change reaches every open connection of its user, once, in order.
//!
//! One feed per node reads the stream and hands frames to the connections' queues through the hub. A session
//! joins a resumed past to that live present without a gap; sockets and SSE streams are two ways to send it.

mod acks;
mod allowance;
mod expiry;
mod feed;
mod frame;
mod hello;
mod hub;
pub(crate) mod inbound;
mod orders;
mod places;
mod pulse;
mod revoked;
mod session;
mod socket;
mod stream;

pub use feed::Feed;
pub use frame::{Close, Frame, FrameKind};
pub use hello::{Hello, Query, Shown};
pub use hub::{Hub, Owner};
pub use inbound::InboundKind;
pub use places::{Keeper, Places};
pub use pulse::HEARTBEAT;
pub use revoked::close_revoked;
pub use session::Join;
pub use socket::{config, serve};
pub use stream::stream;

use std::sync::Arc;

use sqlx::PgPool;
use tokio_util::task::TaskTracker;

use crate::auth::{Authenticator, Keys, Tickets};
use crate::clock;
use crate::commands::Commands;
use crate::directory::Directory;
use crate::log::History;
use crate::telemetry::{Metrics, Repeated, Tracing};
use session::Session;

/// What connections need of the node.
pub struct Gateway {
    pub pool: PgPool,
    pub history: History,
    pub hub: Hub,
    pub directory: Directory,
    pub commands: Arc<Commands>,
    pub authenticator: Arc<Authenticator>,
    pub keys: Keys,
    pub tickets: Tickets,
    pub places: Places,
    pub metrics: Metrics,
    pub tracing: Tracing,
    /// What connections cannot do now.
    pub trouble: Repeated,
    /// Every open socket and what it leaves behind: a node that ends waits for them.
    pub sockets: TaskTracker,
}

impl Gateway {
    /// Keeps account of frames that were just handed to the network.
    fn sent(&self, frames: &[Frame]) {
        self.metrics.live.sent(frames, clock::instant());
        for frame in frames {
            if let (Some((trace, queued_at)), Some(cursor)) = (frame.trace, frame.cursor) {
                self.tracing.followed(trace, "frame", queued_at, cursor.position);
            }
        }
    }
}
