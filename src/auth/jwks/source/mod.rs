//! Where a key set comes from: a file, or an issuer's URL.
//!
//! The invariant: whatever is behind it, a look takes at most five seconds and 1 MiB, and gives a whole key set or an
//! error.

#[cfg(test)]
mod tests;

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::fcntl::OFlag;
use reqwest::header::{ACCEPT, CACHE_CONTROL, HeaderMap};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::fs::OpenOptions;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::key_set::{KeySet, KeySetError};
use crate::outgoing;

const BYTES_MAX: usize = 1 << 20;
const TIME_LIMIT: Duration = Duration::from_secs(5);
const REDIRECTS_MAX: usize = 3;
/// How often a file is looked at.
const FILE_EVERY: Duration = Duration::from_secs(2);
/// How often an issuer is asked that does not say how long its answer holds, and the bounds for one that does.
const URL_EVERY: Duration = Duration::from_secs(300);
const URL_EVERY_MIN: Duration = Duration::from_secs(30);
const URL_EVERY_MAX: Duration = Duration::from_secs(3_600);

/// As configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    File(PathBuf),
    /// `http` or `https`, without credentials.
    Url(Url),
}

#[derive(Debug, thiserror::Error)]
pub enum LookError {
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("it is no regular file")]
    Irregular,
    #[error("it could not be read in {} seconds", TIME_LIMIT.as_secs())]
    TooSlow,
    #[error("it cannot be fetched: {0}")]
    Unreachable(String),
    #[error("it was answered {0}")]
    Status(StatusCode),
    #[error("it is larger than {BYTES_MAX} bytes")]
    TooLarge,
    #[error(transparent)]
    NoKeySet(#[from] KeySetError),
}

impl From<reqwest::Error> for LookError {
    fn from(error: reqwest::Error) -> Self {
        Self::Unreachable(outgoing::reason(error))
    }
}

/// What a look found.
pub struct Seen {
    /// `None`: what it was before.
    pub keys: Option<KeySet>,
    /// When to look again.
    pub again_in: Duration,
}

/// Something to look at for keys.
pub trait Source: Send {
    /// `anew` where it must not be concluded from anything but the content that nothing has changed.
    fn look(&mut self, anew: bool) -> impl Future<Output = Result<Seen, LookError>> + Send;

    /// After a look that failed: one second, then twice as long each time, up to this.
    fn retry_max(&self) -> Duration;
}

pub struct FileSource {
    path: PathBuf,
    seen: Option<Version>,
}

/// What changes with a file's content, also where the path is a link to another file by now.
type Version = (u64, u64, u64, i64, i64);

fn version(metadata: &Metadata) -> Version {
    (metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

impl FileSource {
    pub fn new(path: PathBuf) -> Self {
        Self { path, seen: None }
    }

    async fn read(&mut self, anew: bool) -> Result<Seen, LookError> {
        // Asked before it is opened, as opening does something to a device, and after, as it may be another one by then.
        require_regular(&tokio::fs::metadata(&self.path).await?)?;
        // Otherwise opening a FIFO waits for somebody who writes.
        let flags = OFlag::O_NONBLOCK.bits();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&self.path).await?;
        let metadata = file.metadata().await?;
        require_regular(&metadata)?;
        let version = version(&metadata);
        if !anew && self.seen == Some(version) {
            return Ok(Seen { keys: None, again_in: FILE_EVERY });
        }
        let mut text = Vec::new();
        file.take(BYTES_MAX as u64 + 1).read_to_end(&mut text).await?;
        if text.len() > BYTES_MAX {
            return Err(LookError::TooLarge);
        }
        let keys = KeySet::parse(&text)?;
        self.seen = Some(version);
        Ok(Seen { keys: Some(keys), again_in: FILE_EVERY })
    }
}

fn require_regular(metadata: &Metadata) -> Result<(), LookError> {
    if metadata.is_file() { Ok(()) } else { Err(LookError::Irregular) }
}

impl Source for FileSource {
    async fn look(&mut self, anew: bool) -> Result<Seen, LookError> {
        // A server of files that is away lets its clients wait.
        timeout(TIME_LIMIT, self.read(anew)).await.unwrap_or(Err(LookError::TooSlow))
    }

    fn retry_max(&self) -> Duration {
        FILE_EVERY
    }
}

pub struct UrlSource {
    url: Url,
    client: Client,
}

impl UrlSource {
    pub fn new(url: Url) -> Result<Self, LookError> {
        let client = outgoing::client(TIME_LIMIT).redirect(Policy::custom(redirected)).build()?;
        Ok(Self { url, client })
    }
}

fn redirected(attempt: Attempt<'_>) -> Action {
    match may_follow(attempt.previous(), attempt.url()) {
        Ok(()) => attempt.follow(),
        Err(reason) => attempt.error(reason),
    }
}

/// Whoever can change what comes over plain http can sign tokens, so no redirect leads there from https.
fn may_follow(before: &[Url], next: &Url) -> Result<(), &'static str> {
    if before.len() > REDIRECTS_MAX {
        return Err("it is redirected too often");
    }
    match next.scheme() {
        "https" => Ok(()),
        "http" if before.iter().all(|url| url.scheme() == "http") => Ok(()),
        _ => Err("it is redirected to plain http"),
    }
}

impl Source for UrlSource {
    async fn look(&mut self, _anew: bool) -> Result<Seen, LookError> {
        let request =
            self.client.get(self.url.clone()).header(ACCEPT, "application/jwk-set+json, application/json");
        let response = request.send().await?;
        if response.status() != StatusCode::OK {
            return Err(LookError::Status(response.status()));
        }
        let again_in = again_in(response.headers());
        let keys = KeySet::parse(&body(response).await?)?;
        Ok(Seen { keys: Some(keys), again_in })
    }

    fn retry_max(&self) -> Duration {
        URL_EVERY_MIN
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, LookError> {
    // Not begun where it says itself that it will not do.
    if response.content_length().is_some_and(|length| length > BYTES_MAX as u64) {
        return Err(LookError::TooLarge);
    }
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if text.len() + chunk.len() > BYTES_MAX {
            return Err(LookError::TooLarge);
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

/// RFC 9111, section 5.2.2.
fn again_in(headers: &HeaderMap) -> Duration {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut directives =
        values.flat_map(|value| value.split(',')).filter_map(|one| one.trim().split_once('='));
    let max_age = directives.find(|(name, _)| name.eq_ignore_ascii_case("max-age"));
    match max_age.and_then(|(_, seconds)| seconds.trim_matches('"').parse().ok()) {
        Some(seconds) => Duration::from_secs(seconds).clamp(URL_EVERY_MIN, URL_EVERY_MAX),
        None => URL_EVERY,
    }
}
