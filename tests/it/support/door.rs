//! How clients reach a service: an address and a key. Behind a door of a fixed address the service may be killed and started
//! again, and behind a load balancer there is more than one.

use std::sync::Mutex;

use super::PATIENCE;

pub struct Door {
    base: String,
    root_key: String,
    pub(super) client: reqwest::Client,
    /// Everything done so far is at or before this cursor: what the reads of a test wait for.
    pub done: Mutex<Option<String>>,
}

impl Door {
    /// `base` is a URL without a path.
    pub fn to(base: String, root_key: String) -> Self {
        let client = tidings::outgoing::client(PATIENCE).build().unwrap();
        Self { base, root_key, client, done: Mutex::default() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub fn root_key(&self) -> String {
        self.root_key.clone()
    }
}
