//! The read side: reads the log by position, folds it into read models, and answers queries on them.
//!
//! Nothing here issues a command, speaks HTTP or touches Redis. A read model is moved by one thing only: the
//! events of the log, each once, in order.

pub mod broadcast;
pub mod delivery;
pub mod inbox;
pub mod log;
pub mod notification;
pub mod parking;
pub mod processor;
pub mod read_model;
pub mod rebuild;
pub mod recipient;
pub mod redrive;
pub mod schedule;
pub mod settings;
pub mod source;
pub mod status;
pub mod subscribers;
pub mod template;
#[cfg(test)]
mod tests;
pub mod timers;
