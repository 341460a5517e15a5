//! The service under measurement: this binary in a temporary folder, or one that runs already.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::BenchError;
use super::usage::{self, Usage};

const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const OWN_KEY: &str = "the-root-key-of-a-measurement-only";

pub struct Target {
    /// Host and port.
    pub address: String,
    pub key: String,
    own: Option<Own>,
}

struct Own {
    child: Child,
    folder: TempDir,
}

impl Target {
    /// A service that runs already. TLS belongs to what stands in front of it, and is not measured.
    pub fn at(url: &str, key: Option<&str>) -> Result<Self, BenchError> {
        let address = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        match (address, key) {
            (Some(address), Some(key)) if !address.is_empty() && !address.contains('/') => {
                Ok(Self { address: address.to_owned(), key: key.to_owned(), own: None })
            }
            _ => Err(BenchError::Url),
        }
    }

    /// A new one with nothing in it. What the environment says of a service is not for this one.
    pub async fn start(parent: Option<&Path>, sockets_of_one_user: u64) -> Result<Self, BenchError> {
        let folder = match parent {
            Some(parent) => tempfile::tempdir_in(parent),
            None => tempfile::tempdir(),
        };
        let folder = folder.map_err(|error| BenchError::Start(error.to_string()))?;
        let mut command = own_binary(folder.path())?;
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--outgoing-allow-private", "127.0.0.0/8"])
            .arg(format!("--connections-per-user={sockets_of_one_user}"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let Some(stdout) = child.stdout.take() else {
            return Err(BenchError::Start("it says nothing".into()));
        };
        let mut lines = BufReader::new(stdout).lines();
        let address = loop {
            let Some(line) = lines.next_line().await? else {
                return Err(BenchError::Start("it ended; its reason stands above".into()));
            };
            if let Some((_, address)) = line.split_once("listens on http://") {
                break address.to_owned();
            }
        };
        // Whatever else it says must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { address, key: OWN_KEY.into(), own: Some(Own { child, folder }) })
    }

    /// Another word of the binary, beside the service; gives what it says to standard error.
    pub async fn run(&self, arguments: &[&str]) -> Result<String, BenchError> {
        let own = self.own.as_ref().ok_or(BenchError::NeedsOwn)?;
        let done = own_binary(own.folder.path())?
            .args(arguments)
            .env("TIDINGS_LOG_LEVEL", "info")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .await?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        if done.status.success() { Ok(said) } else { Err(BenchError::Start(said)) }
    }

    /// Memory and processor time of a service of ours.
    pub fn usage(&self) -> Result<Usage, BenchError> {
        let own = self.own.as_ref().ok_or(BenchError::NeedsOwn)?;
        own.child.id().and_then(usage::of).ok_or(BenchError::NoUsage)
    }

    /// Lets a service of ours end in its own way, so that nothing of it is left.
    pub async fn stop(self) {
        let Some(mut own) = self.own else { return };
        if let Some(id) = own.child.id() {
            let _ = kill(Pid::from_raw(id.cast_signed()), Signal::SIGTERM);
        }
        let _ = tokio::time::timeout(STOP_TIMEOUT, own.child.wait()).await;
    }
}

fn own_binary(folder: &Path) -> Result<Command, BenchError> {
    let mut command = Command::new(std::env::current_exe()?);
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDINGS_") {
            command.env_remove(name);
        }
    }
    command.env("TIDINGS_ROOT_API_KEY", OWN_KEY).env("TIDINGS_LOG_LEVEL", "error");
    Ok(command)
}
