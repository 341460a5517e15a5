//! Black box: the service is started as production starts it, and seen through HTTP, sockets, SQL and signals.
//!
//! Nothing here sleeps or tries again. A test waits for a frame, a cursor, a line or an end, and a service that is
//! dropped must end with success and leave no process behind.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod access;
mod asyncapi;
mod audit;
mod auth;
mod bad_input;
mod batches;
mod bench;
mod bulk_marks;
mod client;
mod commands;
mod dashboards;
mod deploy;
mod directory;
mod document;
mod drills;
mod embedded;
mod first_minute;
mod full_disk;
mod generated_clients;
mod histories;
mod idempotency;
mod inbox;
mod jwks;
mod key_words;
mod keys;
mod load_balancer;
mod logs;
mod metrics;
mod mirror;
mod nodes;
mod notification_list;
mod openapi;
mod outage;
mod plans;
mod rate_limits;
mod rebuild;
mod recipients;
mod recovery;
mod replay;
mod request_id;
mod revocation;
mod scheduling;
mod schemathesis;
mod sealed;
mod settings;
mod socket;
mod socket_acks;
mod socket_auth;
mod socket_drain;
mod socket_end;
mod socket_limit;
mod socket_moves;
mod socket_orders;
mod socket_slow;
mod stream;
mod support;
mod template_words;
mod templates;
mod timers;
mod traces;
mod upcasting;
mod wrong_stores;
