//! Requests that Tidings sends: one way to build a client, so that each has a time limit, follows no redirect that it was
//! not told to, and never goes through a proxy that only the environment names.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, Error};

/// A client whose requests end after `time_limit`, body included.
pub fn client(time_limit: Duration) -> ClientBuilder {
    // The first one of a process counts; another would be the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("tidings/", env!("CARGO_PKG_VERSION")))
        .timeout(time_limit)
        .redirect(Policy::none())
        .no_proxy()
}

/// The same for a thread of its own, which waits for answers; built outside of any runtime.
pub fn blocking_client(time_limit: Duration) -> reqwest::blocking::ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::blocking::Client::builder()
        .user_agent(concat!("tidings/", env!("CARGO_PKG_VERSION")))
        .timeout(time_limit)
        .redirect(Policy::none())
        .no_proxy()
}

/// What went wrong, down to its cause and without the URL: its query may hold a secret.
pub fn reason(error: Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
