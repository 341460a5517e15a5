//! Postgres and Redis as child processes, for whoever starts Tidings without naming a database.
//!
//! The invariant: the children never outlive us and never share a data directory. Every child inherits the locked
//! `lock` file, so the lock is free only when the last of them is gone; every child gets a parent-death signal, so kill -9
//! takes them along (Linux). That signal belongs to the thread that forked, hence one thread that spawns both, watches both,
//! and ends only after both. Postgres keeps its durability here exactly as in production; Redis is a mirror and keeps nothing.

mod child;
mod folder;
mod postgres;
mod programs;
mod redis;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{oneshot, watch};

use self::child::Child;
use self::folder::Folder;
use self::programs::Search;

/// How long a service may take until it answers. Postgres replays at most `max_wal_size` after a crash.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a starting service is asked. It is our own child on a local socket: asking costs microseconds.
const READY_POLL: Duration = Duration::from_millis(5);

/// Which services have no URL and are to be replaced by a child.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub postgres: bool,
    pub redis: bool,
}

/// Why the embedded services did not start. Each prints as one line for the operator.
#[derive(Debug, Error)]
pub enum EmbeddedError {
    #[error(
        "the embedded {service} needs {programs}, found neither on PATH nor in the usual folders: install with {install}, or set {variable}"
    )]
    Missing { service: &'static str, programs: &'static str, install: &'static str, variable: &'static str },
    #[error(
        "the data directory {path} was made by PostgreSQL {cluster}, which is not installed{}: install that version, or set TIDINGS_DATA_DIR to an empty directory",
        if found.is_empty() { String::new() } else { format!(" (found: {})", found.join(", ")) }
    )]
    Version { path: PathBuf, cluster: String, found: Vec<String> },
    #[error("the data directory {path} is in use by another process{}: stop it, or set TIDINGS_DATA_DIR to another directory", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse { path: PathBuf, pid: Option<i32> },
    #[error("the data directory cannot be used: {path}: {source}")]
    DataDir { path: PathBuf, source: io::Error },
    #[error(
        "the data directory {path} has a path too long for a unix socket (107 bytes): set TIDINGS_DATA_DIR to a shorter one"
    )]
    PathTooLong { path: PathBuf },
    #[error(
        "Postgres and Redis do not run as root, and there is neither a user `postgres` nor `nobody` to run them as"
    )]
    NoAccount,
    #[error("{program} could not be started: {source}")]
    Spawn { program: PathBuf, source: io::Error },
    #[error("{name} ended while starting ({status}), see {log}: {last_lines}")]
    Exited { name: &'static str, status: String, log: PathBuf, last_lines: String },
    #[error("{name} did not answer within {} s, see {log}: {last_lines}", READY_TIMEOUT.as_secs())]
    NotReady { name: &'static str, log: PathBuf, last_lines: String },
    #[error("the embedded Postgres refused us ({code}): {message}")]
    Refused { code: String, message: String },
    #[error("the thread that supervises the embedded services failed")]
    Supervisor,
}

/// The running children. Dropping it stops them too, but blocks meanwhile: prefer [`Embedded::stop`].
#[derive(Debug)]
pub struct Embedded {
    urls: Urls,
    exited: watch::Receiver<Option<String>>,
    stop: Option<oneshot::Sender<()>>,
    supervisor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Urls {
    database: Option<String>,
    redis: Option<String>,
}

/// Starts what is wanted inside `data_dir` (created when missing, mode 0700) and returns when it answers.
///
/// Dropping the future stops what had started.
pub async fn start(data_dir: &Path, wanted: Wanted) -> Result<Embedded, EmbeddedError> {
    start_with(data_dir, wanted, Search::of_this_machine()).await
}

/// The URL of the Postgres that a service which is running keeps in this data directory: for those who only want to
/// look.
pub fn database_url_beside(data_dir: &Path) -> Result<String, EmbeddedError> {
    postgres::url_beside(data_dir)
}

async fn start_with(data_dir: &Path, wanted: Wanted, search: Search) -> Result<Embedded, EmbeddedError> {
    let (started_sender, started) = oneshot::channel();
    let (stop, stopping) = oneshot::channel();
    let (exited_sender, exited) = watch::channel(None);
    let data_dir = data_dir.to_owned();
    let supervisor = std::thread::Builder::new()
        .name("embedded".into())
        .spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
                return; // drops `started_sender`, which the caller sees as `Supervisor`
            };
            runtime.block_on(supervise(&data_dir, wanted, &search, started_sender, stopping, exited_sender));
        })
        .map_err(|_| EmbeddedError::Supervisor)?;

    // Built before the wait, so that a caller who gives up stops the thread by dropping it.
    let mut embedded =
        Embedded { urls: Urls::default(), exited, stop: Some(stop), supervisor: Some(supervisor) };
    embedded.urls = started.await.map_err(|_| EmbeddedError::Supervisor)??;
    Ok(embedded)
}

impl Embedded {
    pub fn database_url(&self) -> Option<&str> {
        self.urls.database.as_deref()
    }

    pub fn redis_url(&self) -> Option<&str> {
        self.urls.redis.as_deref()
    }

    /// Resolves when a child ended by itself, with its name, its status and the last lines of its log. Safe to cancel.
    pub async fn child_exited(&mut self) -> String {
        match self.exited.wait_for(Option::is_some).await {
            Ok(story) => story.clone().unwrap_or_default(),
            Err(_) => EmbeddedError::Supervisor.to_string(),
        }
    }

    /// Stops Redis, then Postgres, and returns when both are gone.
    pub async fn stop(mut self) {
        self.stop.take();
        if let Some(supervisor) = self.supervisor.take() {
            // On a blocking thread, so that it goes on even when nobody waits for us any more.
            let _ = tokio::task::spawn_blocking(move || supervisor.join()).await;
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.stop.take(); // dropping the sender is the order to stop
        if let Some(supervisor) = self.supervisor.take() {
            let _ = supervisor.join();
        }
    }
}

async fn supervise(
    data_dir: &Path,
    wanted: Wanted,
    search: &Search,
    started: oneshot::Sender<Result<Urls, EmbeddedError>>,
    mut stopping: oneshot::Receiver<()>,
    exited: watch::Sender<Option<String>>,
) {
    let mut folder = None;
    let mut children = Children::default();
    let outcome = tokio::select! {
        outcome = children.start(data_dir, wanted, search, &mut folder) => Some(outcome),
        _ = &mut stopping => None,
    };
    let running = matches!(outcome, Some(Ok(_)));
    if running {
        if let Some(outcome) = outcome {
            let _ = started.send(outcome);
        }
        tokio::select! {
            story = children.first_exit() => {
                tracing::error!(child = story, "an embedded service ended by itself");
                let _ = exited.send(Some(story));
                let _ = stopping.await;
            }
            _ = &mut stopping => {}
        }
        children.stop().await;
    } else {
        children.stop().await;
        drop(folder); // whoever hears of the failure may try again at once
        if let Some(outcome) = outcome {
            let _ = started.send(outcome);
        }
    }
}

/// Filled as soon as a process exists, so that it is stopped however far the start came.
#[derive(Default)]
struct Children {
    postgres: Option<Child>,
    redis: Option<Child>,
}

impl Children {
    async fn start(
        &mut self,
        data_dir: &Path,
        wanted: Wanted,
        search: &Search,
        folder: &mut Option<Folder>,
    ) -> Result<Urls, EmbeddedError> {
        // All that can be refused is refused before anything runs.
        let redis_server = if wanted.redis { Some(search.redis()?) } else { None };
        let postgres_folders = if wanted.postgres { search.postgres()? } else { Vec::new() };
        let folder = folder.insert(Folder::claim(data_dir).await?);

        let postgres = async {
            match wanted.postgres {
                true => postgres::start(folder, &postgres_folders, &mut self.postgres).await.map(Some),
                false => Ok(None),
            }
        };
        let redis = async {
            match &redis_server {
                Some(program) => redis::start(folder, program, &mut self.redis).await.map(Some),
                None => Ok(None),
            }
        };
        let (database, redis) = tokio::try_join!(postgres, redis)?;
        Ok(Urls { database, redis })
    }

    async fn first_exit(&mut self) -> String {
        tokio::select! {
            story = Child::exit_of(&mut self.postgres) => story,
            story = Child::exit_of(&mut self.redis) => story,
        }
    }

    async fn stop(&mut self) {
        if let Some(redis) = self.redis.take() {
            redis.stop(redis::STOP).await;
        }
        if let Some(postgres) = self.postgres.take() {
            postgres.stop(postgres::STOP).await;
        }
    }
}
