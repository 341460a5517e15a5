//! Measures the whole service from outside: `cargo bench --bench service`, or one of its parts with
//! `cargo bench --bench service -- post` (`e2e`, `batch`, `idle`, `rebuild`, `pages`).
//!
//! It starts the release binary with its own Postgres and Redis in a temporary folder. Generator, service and
//! databases share the machine, so compare numbers of one sitting only.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

mod client;
mod large;
mod measure;
mod service;

use service::Service;

const USERS: u64 = 10_000;

#[tokio::main]
async fn main() {
    raise_open_files_limit();
    // Cargo adds `--bench`; whatever else is there names the parts to run.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let runs = |part: &str| wanted.is_empty() || wanted.iter().any(|name| name == part);
    if runs("post") {
        let service = Service::start().await;
        measure::post(&service, 128, 3).await;
        println!("post, 128 at a time:  {}", measure::post(&service, 128, 10).await);
    }
    if runs("e2e") {
        let service = Service::start().await;
        measure::end_to_end(&service, 1_000, 200, 3).await;
        println!("e2e, 1,000 sockets, 1,000/s:  {}", measure::end_to_end(&service, 1_000, 1_000, 30).await);
    }
    if runs("batch") {
        let service = Service::start().await;
        measure::batch(&service, 20, 4).await;
        println!("batch, 4 at a time:  {}", measure::batch(&service, 100, 4).await);
    }
    if runs("idle") {
        let service = Service::start().await;
        println!("10,000 idle sockets:  {}", large::idle(&service, 10_000).await);
    }
    if runs("rebuild") {
        let service = Service::start().await;
        large::fill(&service, 300_000, USERS).await;
        println!("rebuild:  {}", large::rebuild(&service, &["inbox", "delivery"]));
    }
    if runs("pages") {
        let service = Service::start().await;
        for items in [100, 1_000_000] {
            // The same user, who has more and more.
            large::fill(&service, items, 1).await;
            println!("a page of {items} items:  {}", large::pages(&service).await);
        }
    }
}

/// Each socket is an open file.
fn raise_open_files_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}
