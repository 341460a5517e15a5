//! The issuer's public keys: kept, looked after in the background, and asked for anew when a token names one that is not
//! there.
//!
//! The invariant: what tokens say costs the issuer at most one question in ten seconds per node, and a request at most two
//! seconds. A look that fails changes nothing, the keys stay; a look that succeeds replaces them, so a key that the issuer has
//! withdrawn is gone.

mod key_set;
mod source;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::Url;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use self::key_set::{KeySet, NoKey};
use self::source::{FileSource, Seen, Source, UrlSource};
pub use self::source::{Location, LookError};
use super::Denied;
use crate::telemetry::Trouble;

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
}

struct Known {
    /// `None`: none have been seen yet.
    keys: Option<KeySet>,
    /// Somebody waits for what the source has now.
    asked: bool,
    ask_again_at: Instant,
    /// The last look failed: there may be keys that are not known here.
    failed: bool,
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
        // Without any, the first look is what the first tokens wait for.
        let known = Known { asked: keys.is_none(), keys, ask_again_at: Instant::now(), failed: false };
        let jwks = Self { known: Arc::new(watch::Sender::new(known)) };
        let run = Box::pin(jwks.clone().refresh(source, location));
        (jwks, Refresher { run })
    }

    /// The key for a token with this header.
    pub async fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<DecodingKey, Denied> {
        let mut known = self.known.subscribe();
        if let Some(decided) = known.borrow().decide(id, algorithm) {
            return decided;
        }
        self.ask();
        let news = known.wait_for(|known| !known.asked || known.decide(id, algorithm).is_some());
        // Whether it came in time or not, what is known now counts.
        let _ = timeout(PATIENCE, news).await;
        let known = self.known.borrow();
        match known.decide(id, algorithm) {
            Some(decided) => decided,
            None if known.asked || known.failed || known.keys.is_none() => {
                Err(Denied::Unavailable("the issuer's keys cannot be fetched"))
            }
            None => Err(Denied::Token("its key is not known")),
        }
    }

    /// Has the source looked at now, unless that was asked a moment ago.
    fn ask(&self) {
        let now = Instant::now();
        self.known.send_if_modified(|known| {
            let asks = !known.asked && known.ask_again_at <= now;
            if asks {
                known.asked = true;
                known.ask_again_at = now + ASKED_EVERY;
            }
            asks
        });
    }

    async fn refresh(self, mut source: impl Source, location: String) {
        let mut known = self.known.subscribe();
        let retry_max = source.retry_max();
        let mut log = Log { location, trouble: Trouble::default(), failures: 0, retry_max, usable: true };
        let mut due = Instant::now();
        loop {
            tokio::select! {
                () = sleep_until(due) => {}
                _ = known.wait_for(|known| known.asked) => {}
            }
            // Who asks from here on may want what this look comes too early for.
            let asked = known.borrow().asked;
            let seen = source.look(asked).await;
            let has_keys = known.borrow().keys.is_some();
            due = Instant::now() + log.next(&seen, has_keys);
            self.known.send_modify(|known| {
                known.asked &= !asked;
                known.failed = seen.is_err();
                if let Ok(Seen { keys: Some(keys), .. }) = seen {
                    known.keys = Some(keys);
                }
            });
        }
    }
}

impl Known {
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
