//! Hands what this node's projector committed to the stream's mirror and to the node's own feed.
//!
//! Both ways are shortcuts: a full channel drops a batch, and whoever misses it reads it where everybody else
//! does, the mirror in Postgres and the feed in the stream.

use std::sync::Arc;

use tidings_projections::inbox::Folded;
use tidings_projections::log::Epochs;
use tidings_projections::processor::Committed;
use tokio::sync::mpsc;

use super::Entry;
use crate::log::History;

/// A committed batch with its entries, which are made once for both.
pub struct Batch {
    /// Of the inbox that made the changes.
    pub generation: i64,
    pub folded: Vec<Folded>,
    pub entries: Vec<Entry>,
}

/// An event with its entry.
pub type Outgoing<'a> = (&'a Folded, &'a Entry);

impl Batch {
    pub fn new(generation: i64, folded: Vec<Folded>, epochs: &Epochs) -> Self {
        let entries = folded.iter().map(|folded| Entry::new(folded, epochs)).collect();
        Self { generation, folded, entries }
    }

    pub fn outgoing(&self) -> impl Iterator<Item = Outgoing<'_>> {
        self.folded.iter().zip(&self.entries)
    }
}

/// Runs until the projector is gone.
pub async fn relay(
    mut committed: mpsc::Receiver<Committed<Vec<Folded>>>,
    history: History,
    mirror: mpsc::Sender<Arc<Batch>>,
    feed: mpsc::Sender<Arc<Batch>>,
) {
    while let Some(Committed { generation, output }) = committed.recv().await {
        let batch = Arc::new(Batch::new(generation, output, &history.epochs()));
        let _ = feed.try_send(batch.clone());
        if mirror.try_send(batch).is_err() {
            // What keeps the mirror it says itself.
            tracing::debug!("the mirror is behind; it will refill from the log");
        }
    }
}
