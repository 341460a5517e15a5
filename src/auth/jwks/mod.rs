//! The issuer's public keys: kept, looked after in the background, and asked for anew when a token names one that is not
//! there.
//!
//! The invariant: what tokens say costs the issuer at most one question in ten seconds per node, and a request at most two
//! seconds. A token whose key is not known is refused by a look that began after it was first shown, and put off until then:
//! others may have used up the question that it would have asked. A look that fails changes nothing, the keys stay; a look
//! that succeeds replaces them, so a key that the issuer has withdrawn is gone.

mod key_set;
mod source;
#[cfg(test)]
mod tests;
mod unknown;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::Url;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use self::key_set::{KeySet, NoKey};
use self::source::{FileSource, Seen, Source, UrlSource};
pub use self::source::{Location, LookError};
use self::unknown::Unknown;
use super::Denied;
use crate::telemetry::Trouble;
use crate::telemetry::metrics::LastRead;

/// How often tokens may make the node look before it is time.
const ASKED_EVERY: Duration = Duration::from_secs(10);
/// How long a token waits for a key that may be new.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    #[error("TIDINGS_JWKS is {location}: {source}")]
    Unusable { location: String, source: LookError },
    #[error("TIDINGS_JWKS is {location}: none of its keys can check a token")]
    NoKey { location: String },
}

/// The keys as they are known at the moment.
#[derive(Clone)]
pub struct Jwks {
    known: Arc<watch::Sender<Known>>,
    last_read: LastRead,
}

struct Known {
    /// `None`: none have been seen yet.
    keys: Option<KeySet>,
    /// Tokens want a look that begins later than they came.
    asked: bool,
    /// When they may have it, and when there is one in any case.
    ask_again_at: Instant,
    due: Instant,
    /// A look is under way.
    looking: bool,
    /// Looks that have ended.
    looks: u64,
    /// The last look failed: there may be keys that are not known here.
    failed: bool,
    unknown: Unknown,
}

/// Looks after the keys: one task per node, which runs until it is aborted.
pub struct Refresher {
    run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Refresher {
    pub async fn run(self) {
        self.run.await;
    }
}

impl Jwks {
    /// A file must be there and hold a key; a URL may come up later than the service.
    pub async fn open(location: Location) -> Result<(Self, Refresher), JwksError> {
        match location {
            Location::File(path) => {
                let location = path.display().to_string();
                let mut source = FileSource::new(path);
                let keys = match source.look(true).await {
                    Ok(Seen { keys, .. }) => keys.unwrap_or_default(),
                    Err(source) => return Err(JwksError::Unusable { location, source }),
                };
                if keys.is_empty() {
                    return Err(JwksError::NoKey { location });
                }
                Ok(Self::of(Some(keys), source, location))
            }
            Location::Url(url) => {
                let location = shown(&url);
                if url.scheme() == "http" && !is_here(&url) {
                    tracing::warn!(
                        location,
                        "the JWKS comes over plain http: who can change it on its way can sign tokens"
                    );
                }
                let source = UrlSource::new(url);
                let source =
                    source.map_err(|source| JwksError::Unusable { location: location.clone(), source })?;
                Ok(Self::of(None, source, location))
            }
        }
    }

    fn of(keys: Option<KeySet>, source: impl Source + 'static, location: String) -> (Self, Refresher) {
        // The refresher begins with a look: without any keys that is what the first tokens wait for.
        let known = Known { looking: true, ..Known::new(keys) };
        let jwks = Self { known: Arc::new(watch::Sender::new(known)), last_read: LastRead::default() };
        let run = Box::pin(jwks.clone().refresh(source, location));
        (jwks, Refresher { run })
    }

    /// When the source was last looked at and there.
    pub fn last_read(&self) -> LastRead {
        self.last_read.clone()
    }

    /// The key for a token with this header.
    pub async fn find(
        &self,
        token: &str,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<DecodingKey, Denied> {
        let is_decided = |known: &Known| known.decide(id, algorithm).is_some();
        let mut known = self.known.subscribe();
        let mut looked = false;
        if !is_decided(&known.borrow()) {
            let wait = self.look_for(&mut known, token, is_decided);
            // Whether it came in time or not, what is known now counts.
            looked = timeout_at(Instant::now() + PATIENCE, wait).await.unwrap_or(false);
        }
        let known = self.known.borrow();
        match known.decide(id, algorithm) {
            Some(decided) => decided,
            None if known.failed || known.keys.is_none() => {
                Err(Denied::Unavailable("the issuer's keys cannot be fetched"))
            }
            None if looked || known.unknown.is_refused(token) => Err(Denied::Token("its key is not known")),
            None => Err(Denied::Unavailable("the issuer was not asked for its key yet")),
        }
    }

    /// Waits until it is decided, or nothing more can come in time. True if a look has ended that began after the call.
    async fn look_for(
        &self,
        known: &mut watch::Receiver<Known>,
        token: &str,
        is_decided: impl Fn(&Known) -> bool,
    ) -> bool {
        let deadline = Instant::now() + PATIENCE;
        if known.borrow().looking {
            // That one began before: what it finds is as good, what it does not find says nothing.
            let _ = known.wait_for(|known| !known.looking || is_decided(known)).await;
            if is_decided(&known.borrow()) || known.borrow().failed {
                return false;
            }
        }
        let Some(wanted) = self.ask(token) else { return false };
        let ended =
            |known: &Known| is_decided(known) || known.looks >= wanted || !known.may_look_by(deadline);
        known.wait_for(ended).await.is_ok_and(|known| known.looks >= wanted)
    }

    /// Has the source looked at as soon as tokens may make it so, and gives the number of that look. `None`: that is not yet,
    /// and an earlier one has refused this token.
    fn ask(&self, token: &str) -> Option<u64> {
        let mut wanted = None;
        self.known.send_if_modified(|known| {
            if known.ask_again_at > Instant::now() && known.unknown.is_refused(token) {
                return false;
            }
            known.unknown.show(token);
            wanted = Some(known.looks + 1);
            !std::mem::replace(&mut known.asked, true)
        });
        wanted
    }

    async fn refresh(self, mut source: impl Source, location: String) {
        let mut known = self.known.subscribe();
        let retry_max = source.retry_max();
        let mut log = Log { location, trouble: Trouble::default(), failures: 0, retry_max, usable: true };
        loop {
            let asked = self.begin_look();
            let began = Instant::now();
            let seen = source.look(asked).await;
            if seen.is_ok() {
                self.last_read.set(began);
            }
            let has_keys = known.borrow().keys.is_some();
            let due = Instant::now() + log.next(&seen, has_keys);
            self.known.send_modify(|known| known.end_look(seen, due));
            let asked = async {
                // No look has begun since, so what it says there stays.
                let asked = known.wait_for(|known| known.asked).await.map(|known| known.ask_again_at);
                sleep_until(asked.unwrap_or(due)).await;
            };
            tokio::select! {
                () = sleep_until(due) => {}
                () = asked => {}
            }
        }
    }

    /// True if tokens asked for it.
    fn begin_look(&self) -> bool {
        let mut asked = false;
        self.known.send_modify(|known| {
            asked = std::mem::take(&mut known.asked);
            let now = Instant::now();
            if asked && known.ask_again_at <= now {
                known.ask_again_at = now + ASKED_EVERY;
            }
            known.looking = true;
            known.unknown.begin_look();
        });
        asked
    }
}

impl Known {
    fn new(keys: Option<KeySet>) -> Self {
        let now = Instant::now();
        Self {
            keys,
            asked: false,
            ask_again_at: now,
            due: now,
            looking: false,
            looks: 0,
            failed: false,
            unknown: Unknown::default(),
        }
    }

    fn end_look(&mut self, seen: Result<Seen, LookError>, due: Instant) {
        (self.looking, self.looks, self.due, self.failed) = (false, self.looks + 1, due, seen.is_err());
        if let Ok(Seen { keys, .. }) = seen {
            self.unknown.end_look();
            self.keys = keys.or(self.keys.take());
        }
    }

    /// Whether a look that tokens have asked for begins by then, or is under way.
    fn may_look_by(&self, deadline: Instant) -> bool {
        self.looking || self.due.min(self.ask_again_at) <= deadline
    }

    /// `None` where newer keys may change the answer.
    fn decide(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Result<DecodingKey, Denied>> {
        match self.keys.as_ref()?.find(id, algorithm) {
            Ok(key) => Some(Ok(key.clone())),
            Err(NoKey::UnknownId) => None,
            Err(NoKey::OtherAlgorithm) => Some(Err(Denied::Token("its algorithm is not that of its key"))),
            Err(NoKey::Unnamed) => Some(Err(Denied::Token("it names no key, and not exactly one fits"))),
        }
    }
}

/// Says what changes about the looks, and when the next one is due.
struct Log {
    location: String,
    trouble: Trouble,
    /// In a row.
    failures: u32,
    retry_max: Duration,
    usable: bool,
}

impl Log {
    fn next(&mut self, seen: &Result<Seen, LookError>, has_keys: bool) -> Duration {
        let location = &self.location;
        match seen {
            Ok(Seen { keys, again_in }) => {
                self.failures = 0;
                if self.trouble.ends() {
                    tracing::info!(location, "the JWKS is there again");
                }
                if let Some(keys) = keys {
                    let was_usable = std::mem::replace(&mut self.usable, !keys.is_empty());
                    if was_usable && !self.usable {
                        tracing::warn!(
                            location,
                            "the JWKS has no key that can check a token; none is accepted"
                        );
                    }
                }
                *again_in
            }
            Err(error) => {
                match (self.trouble.begins(), has_keys) {
                    (true, true) => {
                        tracing::warn!(location, %error, "the JWKS cannot be renewed; the keys known so far count");
                    }
                    (true, false) => {
                        tracing::warn!(location, %error, "there is no JWKS yet; tokens that need it are answered 503");
                    }
                    (false, _) => {}
                }
                let wait = Duration::from_secs(1 << self.failures.min(5)).min(self.retry_max);
                self.failures += 1;
                wait
            }
        }
    }
}

/// Without the query, which may hold a secret.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

/// On this machine.
fn is_here(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}
