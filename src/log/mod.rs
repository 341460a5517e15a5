//! The write side of the log: one append path, through which every event of the service passes.
//!
//! Callers hand in jobs; one writer per node gathers what waits and appends it in one round trip, so the cost
//! of a durable commit is shared by all who wait for one.

mod append;
mod follow;
mod group_commit;
mod history;
mod job;
mod writer;

pub use follow::follow;
pub use group_commit::{Call, GroupCommit, with_call};
pub use history::History;
pub use job::{Answer, AppendError, Appended, Job, JobEvent, Lane, Record};
pub use writer::{Log, Writer};

#[cfg(test)]
pub(crate) mod tests;
