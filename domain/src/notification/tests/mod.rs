//! Every rule and every refusal of a notification, told as given/when/then; one file per subject.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod attempting;
mod content;
mod creating;
mod decoding;
mod deferring;
mod delivering;
mod digesting;
mod ending;
mod falling_back;
mod framework;
mod golden;
mod harness;
mod marking;
mod ownership;
mod planning;
mod random_walk;
mod samples;
mod scheduling;
mod snoozing;
mod stopping;
mod waits;
