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
use crate::clock;
use crate::log::History;
use crate::telemetry::Tracing;
use crate::telemetry::traces::Trace;

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
    /// `traced` as for an [`Entry`].
    pub fn new(generation: i64, folded: Vec<Folded>, epochs: &Epochs, traced: bool) -> Self {
        let entries = folded.iter().map(|folded| Entry::new(folded, epochs, traced)).collect();
        Self { generation, folded, entries }
    }

    /// The entries that are part of a trace, by position.
    fn traced(&self) -> impl Iterator<Item = (i64, Trace)> {
        self.entries.iter().filter_map(|entry| Some((entry.position, entry.trace?)))
    }

    pub fn outgoing(&self) -> impl Iterator<Item = Outgoing<'_>> {
        self.folded.iter().zip(&self.entries)
    }
}

/// Runs until the projector is gone.
pub async fn relay(
    mut committed: mpsc::Receiver<Committed<Vec<Folded>>>,
    history: History,
    tracing: Tracing,
    mirror: mpsc::Sender<Arc<Batch>>,
    feed: mpsc::Sender<Arc<Batch>>,
) {
    while let Some(Committed { generation, took, output }) = committed.recv().await {
        let batch = Batch::new(generation, output, &history.epochs(), tracing.is_on());
        for (position, trace) in batch.traced() {
            tracing.followed(trace, "project", clock::instant() - took, position);
        }
        let batch = Arc::new(batch);
        let _ = feed.try_send(batch.clone());
        if mirror.try_send(batch).is_err() {
            // What keeps the mirror it says itself.
            tracing::debug!("the mirror is behind; it will refill from the log");
        }
    }
}
