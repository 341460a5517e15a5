//! Live inboxes: every change reaches every open connection of its user, once, in order.
//!
//! One feed per node reads the stream and hands frames to the connections' queues through the hub. A session
//! joins a resumed past to that live present without a gap; sockets and SSE streams are two ways to send it.

mod feed;
mod frame;
mod hub;
mod session;
mod socket;
mod stream;

pub use feed::Feed;
pub use frame::Close;
pub use hub::Hub;
pub use session::{Gateway, HEARTBEAT};
pub use socket::{Hello, config, socket};
pub use stream::stream;
