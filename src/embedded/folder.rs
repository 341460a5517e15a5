//! The data directory: who may use it, and where each service lives in it.
//!
//! ```text
//! data/            0700, ours
//!   lock           held by us and by every child; contains our pid
//!   postgres/      0700, of the account that Postgres runs as; its socket is in it
//!   postgres.log   what Postgres and initdb say
//!   redis/         the same for Redis
//! ```
//! The invariant: as root we can always reach a service's folder, but the account it drops to often cannot (`mktemp -d` is 0700).
//! So on Linux a child of root reaches its folder by an inherited descriptor, never by its path.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::signal::kill;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Pid, Uid, User};
use tokio::time::Instant;

use super::EmbeddedError;

/// How long the children of a killed predecessor may take to shut down.
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a holder must be seen alive: a process that was just killed still looks so for a moment.
const HOLDER_GRACE: Duration = Duration::from_millis(500);
const PREDECESSOR_POLL: Duration = Duration::from_millis(20);
/// `sun_path` holds 108 bytes on Linux and 104 on macOS, with the final zero.
const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "macos") { 103 } else { 107 };

/// The user and group a child of root runs as.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    pub uid: Uid,
    pub gid: Gid,
}

/// A data directory that is ours alone for as long as this value, or a child started in it, lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    lock: Arc<OwnedFd>,
}

impl Folder {
    /// Creates the directory when missing and locks it.
    pub async fn claim(path: &Path) -> Result<Self, EmbeddedError> {
        let failed = |source| EmbeddedError::DataDir { path: path.to_owned(), source };
        if !path.is_dir() {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(failed)?;
            }
            create_private(path).map_err(failed)?;
        }
        let path = path.canonicalize().map_err(failed)?;
        let lock_path = path.join("lock");
        let failed = |source| EmbeddedError::DataDir { path: lock_path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed)?;

        let asked = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(failed(source)),
                Err(TryLockError::WouldBlock) => {}
            }
            // The holder's children hold the lock with it. While it lives, it is in use; when it is dead, they are on their way out.
            let pid = holder(&mut file);
            let patience = if pid.is_some_and(is_alive) { HOLDER_GRACE } else { PREDECESSOR_TIMEOUT };
            if asked.elapsed() >= patience {
                return Err(EmbeddedError::InUse { path, pid });
            }
            tokio::time::sleep(PREDECESSOR_POLL).await;
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Self { path, lock: Arc::new(file.into()) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The lock as a child inherits it.
    pub fn lock(&self) -> Arc<OwnedFd> {
        self.lock.clone()
    }

    /// The folder of a service, made when missing and owned by the account that the service will run as.
    pub fn home(&self, name: &str) -> Result<Home, EmbeddedError> {
        let path = self.path.join(name);
        let failed = |source| EmbeddedError::DataDir { path: path.clone(), source };
        if !path.exists() {
            let account = self.account()?;
            create_private(&path).map_err(failed)?;
            if let Some(account) = account {
                std::os::unix::fs::chown(&path, Some(account.uid.as_raw()), Some(account.gid.as_raw()))
                    .map_err(failed)?;
            }
        }
        let owner = std::fs::metadata(&path).map_err(failed)?;
        let account = match Uid::effective().is_root() {
            false => None,
            // Whoever owns it runs it: a directory first used without root goes on working, as root and without.
            true if owner.uid() != 0 => Some(Account { uid: owner.uid().into(), gid: owner.gid().into() }),
            true => self.account()?,
        };
        #[cfg(target_os = "linux")]
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        #[cfg(not(target_os = "linux"))]
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let descriptor =
            nix::fcntl::open(&path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        Ok(Home { path, account, descriptor: Arc::new(descriptor) })
    }

    fn account(&self) -> Result<Option<Account>, EmbeddedError> {
        if !Uid::effective().is_root() {
            return Ok(None);
        }
        let user = ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten());
        user.map(|user| Some(Account { uid: user.uid, gid: user.gid })).ok_or(EmbeddedError::NoAccount)
    }
}

/// Where one service lives. Its URLs are good for as long as this value.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub path: PathBuf,
    pub account: Option<Account>,
    pub descriptor: Arc<OwnedFd>,
}

impl Home {
    /// The folder as the service is told. A magic link needs no right to pass the folders above it.
    pub fn as_argument(&self) -> PathBuf {
        match self.account {
            Some(_) if cfg!(target_os = "linux") => self.magic_link(),
            _ => self.path.clone(),
        }
    }

    /// The folder as this process names it in a socket path: its own path, unless `/name` behind it would not fit.
    pub fn for_sockets(&self, name: &str) -> Result<PathBuf, EmbeddedError> {
        if fits_socket(&self.path, name) {
            return Ok(self.path.clone());
        }
        match cfg!(target_os = "linux") {
            true => Ok(self.magic_link()),
            false => Err(EmbeddedError::PathTooLong { path: self.path.clone() }),
        }
    }

    fn magic_link(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.descriptor.as_raw_fd()).into()
    }
}

/// Whether the socket of this name can be reached by the folder's own path.
pub(super) fn fits_socket(folder: &Path, name: &str) -> bool {
    let bytes = folder.as_os_str().len() + 1 + name.len();
    bytes <= SOCKET_PATH_BYTES_MAX && folder.to_str().is_some()
}

/// A path inside a URL: all but `/` and the unreserved characters of RFC 3986 escaped.
pub(super) fn percent_encoded(path: impl AsRef<OsStr>) -> String {
    let mut encoded = String::new();
    for &byte in path.as_ref().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => encoded.push(byte.into()),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn create_private(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

fn holder(lock: &mut File) -> Option<i32> {
    let mut pid = String::new();
    lock.rewind().ok()?;
    lock.take(20).read_to_string(&mut pid).ok()?;
    pid.trim().parse().ok().filter(|pid| *pid > 0)
}

/// Whether a process runs. A zombie does not: a container without an init keeps those for ever.
fn is_alive(pid: i32) -> bool {
    if let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        // The name is in parentheses and may contain anything; the state follows the last one.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        return !matches!(state, Some('Z' | 'X'));
    }
    !matches!(kill(Pid::from_raw(pid), None), Err(nix::errno::Errno::ESRCH))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use super::*;

    #[test]
    fn only_a_running_process_is_alive() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = child.id().cast_signed();
        assert!(is_alive(pid) && is_alive(std::process::id().cast_signed()));
        child.kill().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while cfg!(target_os = "linux") && is_alive(pid) {
            assert!(Instant::now() < deadline, "a zombie is dead");
        }
        child.wait().unwrap();
        assert!(!is_alive(pid));
    }

    #[test]
    fn a_path_in_a_url_keeps_its_slashes_and_escapes_the_rest() {
        assert_eq!(percent_encoded("/a b/c%d?e#é+~"), "/a%20b/c%25d%3Fe%23%C3%A9%2B~");
    }
}
