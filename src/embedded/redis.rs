//! The embedded Redis: a mirror in memory, empty at every start, rebuilt from the log.
//!
//! The invariant: it writes no data to disk and evicts nothing. It answers on a unix socket only.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::child::{Child, Log, Program, StopSteps};
use super::folder::{Folder, percent_encoded};
use super::{EmbeddedError, READY_POLL, READY_TIMEOUT};

pub(super) const STOP: StopSteps = &[(Signal::SIGTERM, Duration::from_secs(5))];

const SOCKET: &str = "redis.sock";

/// Starts it and returns its URL as soon as it answers. The child is in `slot` from its first moment.
pub(super) async fn start(
    folder: &Folder,
    program: &Path,
    slot: &mut Option<Child>,
) -> Result<String, EmbeddedError> {
    let home = folder.home("redis")?;
    let mut arguments: Vec<OsString> = vec!["--dir".into(), home.as_argument().into()]; // first: the rest is relative to it
    let rest = [
        ["--port", "0"],
        ["--unixsocket", SOCKET],
        ["--unixsocketperm", "700"],
        ["--appendonly", "no"],
        ["--save", ""],
        ["--maxmemory-policy", "noeviction"],
        ["--daemonize", "no"],
        ["--logfile", ""], // its output is our log file
    ];
    arguments.extend(rest.as_flattened().iter().map(OsString::from));
    let program = Program {
        name: "Redis",
        path: program.to_owned(),
        arguments,
        home: &home,
        log: Log::new(&folder.path().join("redis.log")),
        death_signal: Signal::SIGTERM,
    };
    let child = slot.insert(program.spawn(folder)?);

    let socket = home.for_sockets(SOCKET)?.join(SOCKET);
    let ready = async {
        tokio::select! {
            biased;
            () = answering(&socket) => Ok(()),
            error = child.unexpected_exit() => Err(error),
        }
    };
    let outcome = tokio::time::timeout(READY_TIMEOUT, ready).await;
    outcome.unwrap_or_else(|_| Err(child.not_ready()))?;
    Ok(format!("redis+unix://{}", percent_encoded(socket)))
}

async fn answering(socket: &Path) {
    while !pong(socket).await.unwrap_or(false) {
        tokio::time::sleep(READY_POLL).await;
    }
}

async fn pong(socket: &Path) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    Ok(&answer == b"+PONG")
}
