//! Tidings: a command becomes events, events become an inbox, an inbox becomes frames on sockets.
//!
//! `cli` and `config` start it, `app` wires it, `api` is the way in, `auth` says who, `commands` decide through
//! the domain, `timers` asks for what is due, `cron` knows when that is, `dispatch` delivers outside, `log` appends; `mirror` copies the log to Redis, and `gateway` sends it to whoever listens; `directory` remembers who reads
//! what.

pub mod admissions;
pub mod api;
pub mod app;
pub mod auth;
mod batch_size;
pub mod bench;
pub mod channels;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
mod cron;
pub mod directory;
pub mod dispatch;
pub mod embedded;
pub mod fan_out;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod gateway;
pub mod hooks;
pub mod instant;
pub mod json;
pub mod log;
pub mod mirror;
pub mod outgoing;
pub mod rate_limit;
pub mod read_models;
pub mod redis_link;
pub mod render;
pub mod replay;
pub mod telemetry;
pub mod timers;
