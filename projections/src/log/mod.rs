//! The log as its readers see it: events by position, cursors, and the codec that opens what was sealed.

pub mod codec;
mod cursor;
mod keys;
mod outage;
mod reader;
mod recorded;
mod tail;

pub use codec::Codec;
pub use cursor::{Cursor, CursorError, Epoch, Epochs};
pub use keys::{KeyError, KeyRing, MasterKey};
pub use outage::Outage;
pub use reader::{Filter, Listed, ReadError, Reader, position_at};
pub use recorded::{Fact, Recorded};
pub use tail::{Tail, Watermark};
