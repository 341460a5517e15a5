//! The log as its readers see it: events by position, cursors, and the codec that opens what was sealed.

pub mod codec;
mod cursor;
mod ends;
mod keys;
mod outage;
mod reader;
mod recorded;
mod tail;

/// Stored payload after which a batch of events ends: what it may cost in memory.
const BATCH_BYTES_MAX: usize = 8 << 20;

pub use codec::Codec;
pub use cursor::{Cursor, CursorError, Epoch, Epochs};
pub use keys::{KeyError, KeyRing, MasterKey, RecipientKey};
pub use outage::Outage;
pub use reader::{Filter, Listed, ReadError, Reader, position_at};
pub use recorded::{Fact, Recorded, Unreadable};
pub use tail::{Tail, TailReader, Watermark};
