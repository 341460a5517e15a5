//! The inbox: what each user has, how many of it are unread, and every change of it.
//!
//! `fold` decides in memory, `write` and `store` move the tables, `page`, `changes` and `bulk` answer queries; `replay`
//! answers from the log alone; `unsaid` is what
//! is shown of an item before its words are made.

mod bulk;
mod changes;
mod fold;
mod item;
mod page;
mod replay;
mod store;
#[cfg(test)]
mod tests;
mod unsaid;
mod write;

pub use bulk::{BulkKind, to_mark};
pub use changes::{
    FoldedPage, Invalidated, changes_of, checkpoint, counts_at, folded_after, invalidated_since,
};
pub use fold::Folded;
pub use item::{Change, Counts, Fixed, Item, ItemState, Shelf, rfc3339};
pub use page::{Page, PageQuery, QueryError, Shown, Standing, page, standing};
pub use replay::{ReplayError, Replayed, inbox_at};
pub use unsaid::Unsaid;
pub use write::Inbox;
