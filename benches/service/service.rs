//! The service under measurement: the release binary, by itself in a temporary folder.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

pub const KEY: &str = "a-root-key-for-measurements-only";

pub struct Service {
    child: Child,
    pub address: String,
    folder: tempfile::TempDir,
}

impl Service {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidings"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .current_dir(folder.path())
            .env("TIDINGS_ROOT_API_KEY", KEY)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.filter_map(|l| Some(l.split_once("http://")?.1.to_owned())).next().unwrap();
        Self { child, address, folder }
    }
}

impl Service {
    /// Another word of the binary, beside the service; gives what it says to standard error.
    pub fn run(&self, arguments: &[&str]) -> String {
        let command = Command::new(env!("CARGO_BIN_EXE_tidings"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env("TIDINGS_ROOT_API_KEY", KEY)
            .output()
            .unwrap();
        assert!(command.status.success(), "{command:?}");
        String::from_utf8(command.stderr).unwrap().trim_end().to_owned()
    }

    /// Memory of the service itself, without its databases, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
