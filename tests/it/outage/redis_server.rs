//! A Redis that the service does not look after.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use crate::support::{PATIENCE, lines_of};

pub struct Redis {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Redis {
    pub fn start() -> Self {
        // Free a moment ago; each test has a process of its own, and few want a port.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut redis = Self { folder: tempfile::tempdir().unwrap(), port, process: None };
        redis.start_again();
        redis
    }

    /// Empty, as it keeps nothing on disk.
    pub fn start_again(&mut self) {
        let port = self.port.to_string();
        let arguments = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let start = |program| {
            let mut command = Command::new(program);
            command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
            command.stdout(Stdio::piped()).spawn().ok()
        };
        let mut process = ["redis-server", "valkey-server"].into_iter().find_map(start).unwrap();
        let lines = lines_of(process.stdout.take().unwrap());
        self.process = Some(process);
        let ready = |line: String| line.to_lowercase().contains("ready to accept connections");
        while !ready(lines.recv_timeout(PATIENCE).expect("it starts")) {}
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// It answers nothing, and its connections stay open.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.process.as_ref().expect("it runs").id().cast_signed();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        url(self.port)
    }

    pub async fn connect(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}
