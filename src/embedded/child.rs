//! One child process: how it is born, heard and ended.
//!
//! The invariant: between fork and exec a child leaves our session (Ctrl-C on the terminal is ours to handle), keeps the
//! descriptors it needs, and asks for the death signal LAST, because a change of user clears it. It sees none of our environment:
//! secrets live there.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getppid, setsid};
use tokio::process::Command;

use super::EmbeddedError;
use super::folder::{Folder, Home};

/// What a child may know of our environment.
const ENVIRONMENT: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "TMPDIR"];
const LAST_LINES: usize = 5;
const LAST_BYTES: u64 = 4096;
/// A log larger than this is put aside at the next start; one old log is kept.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// A signal and how long it may take. After the last step comes SIGKILL.
pub(super) type StopSteps = &'static [(Signal, Duration)];

/// What to run.
pub(super) struct Program<'a> {
    /// As people call it.
    pub name: &'static str,
    pub path: PathBuf,
    pub arguments: Vec<OsString>,
    pub home: &'a Home,
    pub log: Log,
    /// What it receives when we die.
    pub death_signal: Signal,
}

impl Program<'_> {
    /// Starts it as a service, which lives until [`Child::stop`].
    pub fn spawn(self, folder: &Folder) -> Result<Child, EmbeddedError> {
        let process = self
            .command(folder)?
            .spawn()
            .map_err(|source| EmbeddedError::Spawn { program: self.path, source })?;
        Ok(Child { name: self.name, process, log: self.log, _home: self.home.descriptor.clone() })
    }

    /// Runs it to its end, which must be a success. Dropping the future kills it.
    pub async fn run(self, folder: &Folder) -> Result<(), EmbeddedError> {
        let mut process = self
            .command(folder)?
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| EmbeddedError::Spawn { program: self.path.clone(), source })?;
        match process.wait().await {
            Ok(status) if status.success() => Ok(()),
            status => Err(self.log.explain_exit(self.name, status)),
        }
    }

    fn command(&self, folder: &Folder) -> Result<Command, EmbeddedError> {
        let log = |source| EmbeddedError::DataDir { path: self.log.path.clone(), source };
        let output = self.log.open().map_err(log)?;
        let errors = output.try_clone().map_err(log)?;
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .current_dir("/") // ours may be closed to the account it drops to
            .env_clear()
            .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        if let Some(account) = self.home.account {
            // Clears the supplementary groups as well, and comes before `prepare_child`.
            command.gid(account.gid.as_raw()).uid(account.uid.as_raw());
        }
        prepare_child(&mut command, [folder.lock(), self.home.descriptor.clone()], self.death_signal);
        Ok(command)
    }
}

/// Arranges what happens in the child between fork and exec.
#[expect(
    unsafe_code,
    reason = "session, inherited descriptors and death signal can be set only between fork and exec"
)]
fn prepare_child(command: &mut Command, inherited: [Arc<OwnedFd>; 2], death_signal: Signal) {
    let parent = getpid();
    let prepare = move || {
        setsid()?;
        for descriptor in &inherited {
            fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?; // not closed by exec
        }
        #[cfg(target_os = "linux")]
        nix::sys::prctl::set_pdeathsig(death_signal)?;
        #[cfg(not(target_os = "linux"))]
        let _ = death_signal;
        // A parent that died before the line above sends no signal any more.
        match getppid() == parent {
            true => Ok(()),
            false => Err(io::Error::from(nix::errno::Errno::ESRCH)),
        }
    };
    // SAFETY: the closure makes system calls only (setsid, fcntl, prctl, getppid), all async-signal-safe. It neither allocates nor
    // locks: what it captures was allocated before the fork, and errors are made from bare errno values.
    unsafe { command.pre_exec(prepare) };
}

/// A running service.
pub(super) struct Child {
    name: &'static str,
    process: tokio::process::Child,
    log: Log,
    /// Its URL may go through this descriptor, so it stays open as long as the child is ours.
    _home: Arc<OwnedFd>,
}

impl Child {
    /// Resolves when the child in `slot` ended, with its story; never when there is none. Safe to cancel.
    pub async fn exit_of(slot: &mut Option<Child>) -> String {
        match slot {
            Some(child) => {
                let status = child.process.wait().await;
                format!(
                    "{} ({}), see {}: {}",
                    child.name,
                    in_words(status),
                    child.log.path.display(),
                    child.log.last_lines()
                )
            }
            None => std::future::pending().await,
        }
    }

    /// Resolves, with an error, when the service ends although it should be starting. Safe to cancel.
    pub async fn unexpected_exit(&mut self) -> EmbeddedError {
        let status = self.process.wait().await;
        self.log.explain_exit(self.name, status)
    }

    pub fn not_ready(&self) -> EmbeddedError {
        EmbeddedError::NotReady {
            name: self.name,
            log: self.log.path.clone(),
            last_lines: self.log.last_lines(),
        }
    }

    /// Ends it, politely first, and returns when it is gone.
    pub async fn stop(mut self, steps: StopSteps) {
        for (signal, patience) in steps {
            // Without an id it was waited for already, and the number may belong to somebody else.
            let Some(pid) = self.process.id() else { return };
            let _ = kill(Pid::from_raw(pid.cast_signed()), *signal);
            if tokio::time::timeout(*patience, self.process.wait()).await.is_ok() {
                return;
            }
            tracing::warn!(service = self.name, %signal, "the embedded service did not stop in time");
        }
        let _ = self.process.kill().await;
    }
}

/// Where a child's output goes, and from which byte on it is this child's.
#[derive(Clone)]
pub(super) struct Log {
    path: PathBuf,
    start: u64,
}

impl Log {
    pub fn new(path: &Path) -> Self {
        let bytes = path.metadata().map_or(0, |file| file.len());
        if bytes > LOG_BYTES_MAX && std::fs::rename(path, path.with_extension("log.old")).is_ok() {
            return Self { path: path.to_owned(), start: 0 };
        }
        Self { path: path.to_owned(), start: bytes }
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)
    }

    fn explain_exit(&self, name: &'static str, status: io::Result<ExitStatus>) -> EmbeddedError {
        EmbeddedError::Exited {
            name,
            status: in_words(status),
            log: self.path.clone(),
            last_lines: self.last_lines(),
        }
    }

    /// The last lines since the start, on one line.
    fn last_lines(&self) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            let end = file.metadata()?.len();
            file.seek(SeekFrom::Start(self.start.max(end.saturating_sub(LAST_BYTES))))?;
            file.take(LAST_BYTES).read_to_end(&mut bytes)
        });
        if read.is_err() || bytes.is_empty() {
            return "(it wrote nothing)".into();
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join(" | ")
    }
}

fn in_words(status: io::Result<ExitStatus>) -> String {
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}
