//! What every test stands on: the service as production runs it, and the ways its clients reach it.

mod api;
mod audit;
mod collector;
mod contract;
mod count;
mod door;
mod endpoint;
pub mod issuer;
mod keys;
mod process;
mod random;
mod service;
mod socket;
mod store;
mod stream;
mod token;

pub use api::{Answer, note, position};
pub use audit::Seen;
pub use collector::Collector;
pub use contract::Contract;
pub use count::Count;
pub use door::{Door, lasting_address};
pub use endpoint::{Call, Endpoint, Says};
pub use keys::ApiKey;
pub use process::{Ended, is_alive, lines_of, run_to_end, tidings, when_free};
pub use random::{Seed, Xorshift};
pub use service::Service;
pub use socket::Socket;
pub use store::Stored;
pub use stream::Sse;
pub use token::{LONG_AGO, NEVER, signed, unsigned};

use std::time::Duration;

/// Says that a test does not do all it does. `.config/nextest.toml` has the tests of which that is shown.
pub fn skipped(why: &str) {
    println!("SKIPPED: {why}");
}

/// Longer than anything a test waits for may take. Reaching it is a failure, never a step of a test.
pub const PATIENCE: Duration = Duration::from_secs(20);
