//! The embedded Postgres: made once by `initdb`, then started, and recovered by Postgres itself after a crash.
//!
//! The invariant: a folder `postgres/` is a complete cluster. It is initialised as `postgres.new/` and renamed when initdb has
//! synced it to disk. What the log promises (fsync, full_page_writes, synchronous_commit) is set on the command line, which no
//! configuration file overrides.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::child::{Child, Log, Program, StopSteps};
use super::folder::{Folder, Home, fits_socket, percent_encoded};
use super::wire::{Refusal, Session};
use super::{EmbeddedError, READY_POLL, READY_TIMEOUT, programs};

/// Fast shutdown (disconnects clients, writes a checkpoint), then immediate (recovers at the next start).
pub(super) const STOP: StopSteps =
    &[(Signal::SIGINT, Duration::from_secs(10)), (Signal::SIGQUIT, Duration::from_secs(5))];

const USER: &str = "tidings";
const DATABASE: &str = "tidings";
const SOCKET: &str = ".s.PGSQL.5432";

/// A commit that fills a segment waits until the next one is written with zeros and synced: 1 MB takes a few
/// milliseconds, the default of 16 MB took fifty and more, every few seconds of a young database.
const WAL_SEGMENT: &str = "--wal-segsize=1";

const SETTINGS: [&str; 19] = [
    "fsync=on",
    "full_page_writes=on",
    "synchronous_commit=on",
    "listen_addresses=",
    "port=5432",                 // only names the socket
    "unix_socket_directories=.", // the cluster itself: 0700, and short however deep it lies
    "unix_socket_permissions=0700",
    "max_connections=100",
    "shared_buffers=128MB",
    "max_wal_size=1GB",
    "wal_buffers=4MB",
    "huge_pages=off", // where a container counts them against a limit, `try` ends in SIGBUS
    "jit=off",        // costs more than it saves on short queries
    "timezone=UTC",
    "log_timezone=UTC",
    "logging_collector=off",
    "log_destination=stderr",
    "log_error_verbosity=terse", // DETAIL quotes rows
    "cluster_name=tidings",
];

const RECOVERY_POLL_MAX: Duration = Duration::from_millis(500);

const SQLSTATE_STARTING: &str = "57P03";
const SQLSTATE_NO_SUCH_DATABASE: &str = "3D000";
const SQLSTATE_DATABASE_EXISTS: &str = "42P04";

/// Starts it and returns its URL as soon as it answers. The child is in `slot` from its first moment.
pub(super) async fn start(
    folder: &Folder,
    installed: &[PathBuf],
    slot: &mut Option<Child>,
) -> Result<String, EmbeddedError> {
    let log = Log::new(&folder.path().join("postgres.log"));
    let cluster = folder.path().join("postgres");
    let programs = programs::postgres_for(&cluster, installed).await?;
    if !cluster.exists() {
        initialise(folder, &programs, &cluster, log.clone()).await?;
    }
    let home = folder.home("postgres")?;
    remove_stale_pid_file(&home);

    let mut arguments: Vec<OsString> = vec!["-D".into(), home.as_argument().into()];
    arguments.extend(SETTINGS.iter().flat_map(|setting| ["-c".into(), setting.into()]));
    let program = Program {
        name: "Postgres",
        path: programs.join("postgres"),
        arguments,
        home: &home,
        log,
        death_signal: Signal::SIGINT,
    };
    let child = slot.insert(program.spawn(folder)?);

    let sockets = home.for_sockets(SOCKET)?;
    let socket = sockets.join(SOCKET);
    let ready = async {
        tokio::select! {
            biased;
            answer = answering(&socket) => answer,
            error = child.unexpected_exit() => Err(error),
        }
    };
    let outcome = tokio::time::timeout(READY_TIMEOUT, ready).await;
    outcome.unwrap_or_else(|_| Err(child.not_ready()))?;
    Ok(url(&sockets))
}

/// The URL of the Postgres whose socket is in this folder. Everything is said, because the client takes what is not
/// from PGPORT, PGSSLMODE and their like.
fn url(sockets: &Path) -> String {
    format!("postgres:///{DATABASE}?host={}&port=5432&user={USER}&sslmode=disable", percent_encoded(sockets))
}

/// The URL of the Postgres that another process runs in this data directory.
pub(super) fn url_beside(data_dir: &Path) -> Result<String, EmbeddedError> {
    let failed = |source| EmbeddedError::DataDir { path: data_dir.to_owned(), source };
    let cluster = data_dir.join("postgres").canonicalize().map_err(failed)?;
    if !fits_socket(&cluster, SOCKET) {
        return Err(EmbeddedError::PathTooLong { path: cluster });
    }
    Ok(url(&cluster))
}

async fn initialise(folder: &Folder, programs: &Path, cluster: &Path, log: Log) -> Result<(), EmbeddedError> {
    let started = Instant::now();
    let unfinished = folder.path().join("postgres.new");
    let failed = |source| EmbeddedError::DataDir { path: unfinished.clone(), source };
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(failed)?;
    }
    let home = folder.home("postgres.new")?;
    let mut arguments: Vec<OsString> = vec!["-D".into(), home.as_argument().into()];
    let rest = [
        "--encoding=UTF8",
        "--locale=C",
        "--auth=trust",
        "--username",
        USER,
        "--data-checksums",
        WAL_SEGMENT,
    ];
    arguments.extend(rest.map(OsString::from));
    // SIGTERM lets it remove what it has made so far.
    let program = Program {
        name: "initdb",
        path: programs.join("initdb"),
        arguments,
        home: &home,
        log,
        death_signal: Signal::SIGTERM,
    };
    program.run(folder).await?;
    std::fs::rename(&unfinished, cluster).map_err(failed)?;
    File::open(folder.path()).and_then(|directory| directory.sync_all()).map_err(failed)?;
    tracing::info!(path = %cluster.display(), elapsed_ms = started.elapsed().as_millis(), "made a new Postgres cluster");
    Ok(())
}

/// Returns when the database exists and takes queries.
async fn answering(socket: &Path) -> Result<(), EmbeddedError> {
    let mut recovery_poll = READY_POLL;
    loop {
        match Session::open(socket, USER, DATABASE).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(refusal)) if refusal.code == SQLSTATE_NO_SUCH_DATABASE => create_database(socket).await?,
            Ok(Err(refusal)) if refusal.code != SQLSTATE_STARTING => return Err(refusal.into()),
            Ok(Err(_)) => {
                // It logs each refusal, so a long recovery is asked less and less often.
                tokio::time::sleep(recovery_poll).await;
                recovery_poll = (recovery_poll * 2).min(RECOVERY_POLL_MAX);
            }
            Err(_) => tokio::time::sleep(READY_POLL).await,
        }
    }
}

async fn create_database(socket: &Path) -> Result<(), EmbeddedError> {
    let Ok(Ok(mut session)) = Session::open(socket, USER, "postgres").await else { return Ok(()) };
    match session.execute("CREATE DATABASE tidings").await {
        Ok(Err(refusal)) if refusal.code != SQLSTATE_DATABASE_EXISTS => Err(refusal.into()),
        _ => Ok(()), // the caller looks again
    }
}

impl From<Refusal> for EmbeddedError {
    fn from(Refusal { code, message }: Refusal) -> Self {
        EmbeddedError::Refused { code, message }
    }
}

/// Removes a `postmaster.pid` whose number now belongs to another program, which Postgres would take for its living twin
/// (in a container the same small numbers come back after a crash). Our own children are all gone, for we hold the lock; a
/// Postgres that somebody runs by hand in our folder is left for Postgres to find.
fn remove_stale_pid_file(home: &Home) {
    let file = home.path.join("postmaster.pid");
    let Ok(text) = std::fs::read_to_string(&file) else { return };
    let Some(Ok(pid)) = text.lines().next().map(str::parse::<u32>) else { return };
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    if name.is_ok_and(|name| !name.starts_with("postgres") && !name.starts_with("postmaster")) {
        tracing::info!(pid, "removed a stale postmaster.pid: its process is another program now");
        let _ = std::fs::remove_file(file);
    }
}
