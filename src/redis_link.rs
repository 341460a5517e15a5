//! The way to what nodes count together in Redis: one connection that all share, which is there for as long as Redis serves.
//!
//! The invariant: whoever waits for it says how long, and the first who waits in vain gives the connection up for all. They
//! count for their node alone until a new one has shown that it can do what it is for, and as fast: a Redis that is full
//! answers, and still takes nothing. What is wrong is said once when it begins or becomes something else, and once that it
//! is over.

use std::time::Duration;
use std::{fmt, io};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use crate::clock;

/// For a connection, and for each answer that nobody waits for.
const TIMEOUT: Duration = Duration::from_secs(2);
/// From one try to the next.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// A connection. Cheap to clone: all clones are the same one.
#[derive(Clone)]
pub struct Session {
    pub connection: MultiplexedConnection,
    /// No two have the same.
    pub id: Uuid,
    /// The last one that was everybody's, which this one takes the place of.
    pub before: Option<Uuid>,
}

/// Why Redis does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It cannot be reached, or says nothing.
    Away,
    /// Its memory is at its limit, and its policy is to evict nothing.
    Full,
    /// It is there, and does not do what it is asked: it may be a replica, or still be loading.
    Refusing,
}

impl Fault {
    fn of(error: &RedisError) -> Self {
        // Before Redis 7 the error of a command that a script has called stands inside of another.
        if error.code() == Some("OOM") || error.to_string().contains("OOM command not allowed") {
            Self::Full
        } else if error.code().is_some() {
            Self::Refusing
        } else {
            Self::Away
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Away => "Redis is away",
            Self::Full => "Redis is full",
            Self::Refusing => "Redis refuses",
        })
    }
}

/// Cheap to clone: all clones share the connection.
#[derive(Clone)]
pub struct Link {
    client: Client,
    /// What is counted.
    limits: &'static str,
    state: watch::Sender<State>,
}

struct State {
    session: Option<Session>,
    /// Of the last session, lost or not.
    last: Option<Uuid>,
    try_at: Instant,
    /// The one that was told.
    fault: Option<Fault>,
}

impl Link {
    /// There is no connection yet. `limits` is what is counted with it, as the log is to name it.
    pub fn new(client: Client, limits: &'static str) -> Self {
        let state = State { session: None, last: None, try_at: Instant::now(), fault: None };
        Self { client, limits, state: watch::Sender::new(state) }
    }

    /// `None` while Redis does not serve.
    pub fn session(&self) -> Option<Session> {
        self.state.borrow().session.clone()
    }

    /// Gives a connection up. What is wrong is found by whoever makes the next: one slow answer is no news yet.
    fn lose(&self, session: &Session, error: &dyn fmt::Display) {
        let lost = self.state.send_if_modified(|state| {
            let is_current = state.session.as_ref().is_some_and(|current| current.id == session.id);
            state.session.take_if(|_| is_current).is_some()
        });
        if lost {
            tracing::debug!(%error, limits = self.limits, "a connection to Redis is given up");
        }
    }

    /// Does something with the connection, and gives that up if it fails. `None` if there is none, or it did.
    pub async fn with<T>(&self, task: impl AsyncFnOnce(&mut Session) -> Result<T, RedisError>) -> Option<T> {
        let mut session = self.session()?;
        task(&mut session).await.inspect_err(|error| self.lose(&session, error)).ok()
    }

    /// Returns when it is time to connect: there is no connection, and the last try is a second ago.
    pub async fn due(&self) {
        let mut state = self.state.subscribe();
        let lost = state.wait_for(|state| state.session.is_none()).await;
        // The sender is here, so it is not closed.
        let try_at = lost.map_or_else(|_| Instant::now(), |state| state.try_at);
        sleep_until(try_at).await;
    }

    /// Makes a connection that everybody has from here on, if the probe succeeds: something that writes as they will.
    pub async fn connect(&self, probe: impl AsyncFnOnce(&mut Session) -> Result<(), RedisError>) -> bool {
        let tried = self.try_to_connect(probe).await;
        let fault = tried.as_ref().err().map(Fault::of);
        let mut told = None;
        self.state.send_modify(|state| {
            state.try_at = Instant::now() + TRY_EVERY;
            told = std::mem::replace(&mut state.fault, fault);
            state.session = tried.as_ref().ok().cloned();
            state.last = state.session.as_ref().map(|session| session.id).or(state.last);
        });
        let limits = self.limits;
        match (&tried, fault) {
            (Err(error), Some(fault)) if told != Some(fault) => {
                tracing::warn!(%error, "{fault}: {limits} hold per node");
            }
            (Ok(_), _) if told.is_some() => tracing::info!("{limits} hold over all nodes again"),
            _ => {}
        }
        tried.is_ok()
    }

    async fn try_to_connect(
        &self,
        probe: impl AsyncFnOnce(&mut Session) -> Result<(), RedisError>,
    ) -> Result<Session, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let before = self.state.borrow().last;
        let mut session = Session { connection, id: clock::new_uuid(), before };
        probe(&mut session).await?;
        Ok(session)
    }
}

/// Waits for an answer, and no longer than that. A Redis that needs more counts as away.
pub async fn in_time<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    let too_slow = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer in time").into());
    timeout(patience, answer).await.unwrap_or_else(too_slow)
}
