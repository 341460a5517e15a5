//! What the tests of several read models stand on.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

pub mod histories;
