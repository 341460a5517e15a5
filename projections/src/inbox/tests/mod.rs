//! The fold, without a database: its rules as a table, and random histories held against a model that takes no
//! shortcut.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod model;
mod random_histories;
mod rules;
mod store;
