//! How clients reach a service: an address and a key. Behind a door of a fixed address the service may be killed and started
//! again, and behind a load balancer there is more than one.

use std::net::TcpListener;
use std::sync::Mutex;

use super::{PATIENCE, Seed};

pub struct Door {
    base: String,
    root_key: String,
    pub(super) client: reqwest::Client,
    /// What the kernel takes for a socket that is not read, in bytes; its own choice without.
    pub(super) receive_bytes: Option<u32>,
    /// Everything done so far is at or before this cursor: what the reads of a test wait for.
    pub done: Mutex<Option<String>>,
}

impl Door {
    /// `base` is a URL without a path.
    pub fn to(base: String, root_key: String) -> Self {
        let client = tidings::outgoing::client(PATIENCE).build().unwrap();
        Self { base, root_key, client, receive_bytes: None, done: Mutex::default() }
    }

    /// The same door for somebody else.
    pub fn another(&self) -> Self {
        Self::to(self.base.clone(), self.root_key())
    }

    /// Where sockets are soon full if they are not read.
    pub fn narrow(self) -> Self {
        Self { receive_bytes: Some(4 << 10), ..self }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub fn root_key(&self) -> String {
        self.root_key.clone()
    }
}

/// Where a service can be found again. Not one of the ports that the kernel hands out: a client that asks for such a
/// port while nobody listens may get it for its own end, and be answered by itself.
pub fn lasting_address() -> String {
    let mut random = Seed::draw().random(std::process::id() as usize);
    loop {
        let address = format!("127.0.0.1:{}", 20_000 + random.below(12_000));
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}
