//! The service: the real binary with its own data directory, Postgres and Redis, on a free port.
//!
//! A test that drops it asserts, without saying so, that SIGTERM ends it with success and leaves nothing behind.

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use nix::sys::signal::Signal;
use reqwest::StatusCode;
use tempfile::TempDir;

use super::process::{data_dir, is_alive, lines_of, send, tidings, when_free};
use super::{Door, PATIENCE, store};

pub struct Service {
    folder: TempDir,
    settings: Vec<(String, String)>,
    log: Option<PathBuf>,
    running: Option<Running>,
    door: Door,
}

/// What clients do with a service they do at its door.
impl Deref for Service {
    type Target = Door;

    fn deref(&self) -> &Door {
        &self.door
    }
}

struct Running {
    process: Child,
    lines: Receiver<String>,
    /// The embedded services.
    children: Vec<i32>,
}

impl Service {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With these environment variables on top.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_logging(settings, None).await
    }

    /// With its log lines in a file.
    pub async fn start_logging(settings: &[(&str, &str)], log: Option<&Path>) -> Self {
        let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let mut service = Self {
            log: log.map(Path::to_owned),
            folder: tempfile::tempdir().unwrap(),
            settings,
            running: None,
            door: Door::to(String::new(), String::new()),
        };
        service.start_again().await;
        service
    }

    /// Starts a stopped service on the data it left.
    pub async fn start_again(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        let mut command = self.command("serve");
        if let Some(log) = &self.log {
            command.stderr(File::options().create(true).append(true).open(log).unwrap());
        }
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines_of(process.stdout.take().unwrap());
        self.running = Some(Running { process, lines, children: Vec::new() });
        let base = self.line_with("listens on").rsplit(' ').next().unwrap().to_owned();
        // A new client: where it listens at a fixed port, kept connections would be those of the process before.
        let done = self.door.done.lock().unwrap().clone();
        self.door = Door::to(base, self.secret("root_api_key"));
        *self.door.done.lock().unwrap() = done;
        self.become_ready().await;
        let children = store::children(&self.data_dir()).await;
        assert!(children.iter().all(|pid| is_alive(*pid)), "the embedded services run: {children:?}");
        self.running_mut().children = children;
    }

    /// A start that finds much to catch up with is unready at first; then reads say when that is over.
    async fn become_ready(&self) {
        for _ in 0..10 {
            let ready = self.request("GET", "/health/ready").send().await.unwrap();
            if ready.status() == StatusCode::OK {
                return;
            }
            let head = self.get("/v1/events?type=none").await.text("next");
            let counts =
                self.request("GET", "/v1/users/nobody/inbox/counts").header("tidings-min-cursor", head);
            let _ = self.send(counts.header("x-api-key", self.root_key())).await;
        }
        panic!("the service does not become ready");
    }

    /// Another process of the same binary, in the same place and with the same settings.
    pub fn command(&self, word: &str) -> Command {
        tidings(word, self.folder.path(), &self.settings)
    }

    /// The next printed line that contains this; lines before it are passed over.
    pub fn line_with(&mut self, text: &str) -> String {
        self.lines_to(text).pop().unwrap()
    }

    /// The lines printed from here on, up to one that contains this.
    pub fn lines_to(&mut self, text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            match self.running().lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => {
                    seen.push(line);
                    return seen;
                }
                Ok(line) => seen.push(line),
                Err(_) => panic!("it did not print a line with {text:?}, but: {seen:?}"),
            }
        }
    }

    pub fn data_dir(&self) -> PathBuf {
        data_dir(self.folder.path())
    }

    pub fn pid(&self) -> i32 {
        self.running().process.id().cast_signed()
    }

    /// The embedded Postgres and Redis.
    pub fn children(&self) -> &[i32] {
        &self.running().children
    }

    pub fn jwt_secret(&self) -> String {
        self.secret("jwt_secret")
    }

    /// What a test configured, else what the service generated.
    pub fn secret(&self, name: &str) -> String {
        match self.setting(&format!("TIDINGS_{}", name.to_uppercase())) {
            Some(value) => value.to_owned(),
            None => {
                let file = self.data_dir().join("secrets").join(name);
                std::fs::read_to_string(file).unwrap().trim_end().to_owned()
            }
        }
    }

    /// The environment variable as this test set it.
    pub(super) fn setting(&self, variable: &str) -> Option<&str> {
        self.settings.iter().find(|(set, _)| set == variable).map(|(_, value)| value.as_str())
    }

    /// Asks it to end; the connections of the test go on meanwhile.
    pub fn ask_to_end(&self) {
        send(&self.running().process, Signal::SIGTERM);
    }

    /// SIGTERM, and everything is gone.
    pub fn terminate(&mut self) {
        self.ask_to_end();
        self.ended();
    }

    /// Waits for the end that was asked for: a success that leaves nothing behind.
    pub fn ended(&mut self) {
        let code = self.wait();
        assert_eq!(code, Some(0), "SIGTERM ends it with success");
    }

    /// `kill -9`, after which nothing is left either.
    pub fn kill(&mut self) {
        self.send_kill();
        self.killed();
    }

    pub fn send_kill(&self) {
        send(&self.running().process, Signal::SIGKILL);
    }

    /// Waits for the end that a `kill -9` is.
    pub fn killed(&mut self) {
        assert_eq!(self.wait(), None, "a signal ends it");
    }

    /// Waits for an end that nobody asked for; gives its exit code.
    pub fn ended_by_itself(&mut self) -> Option<i32> {
        self.wait()
    }

    fn wait(&mut self) -> Option<i32> {
        let Running { mut process, lines, children, .. } = self.running.take().unwrap();
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    send(&process, Signal::SIGKILL);
                    panic!("the service did not end within {PATIENCE:?}");
                }
            }
        }
        let code = process.wait().unwrap().code();
        when_free(&self.data_dir());
        // A process lets go of its lock a moment before it is gone.
        let deadline = Instant::now() + PATIENCE;
        while children.iter().any(|pid| is_alive(*pid)) {
            assert!(Instant::now() < deadline, "processes are left: {children:?}");
            std::thread::yield_now();
        }
        code
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the service runs")
    }

    fn running_mut(&mut self) -> &mut Running {
        self.running.as_mut().expect("the service runs")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        match &mut self.running {
            None => {}
            Some(running) if std::thread::panicking() => {
                // The test has failed already; what it says is more useful than what could be said here.
                send(&running.process, Signal::SIGTERM);
                while running.lines.recv_timeout(PATIENCE).is_ok() {}
                let _ = running.process.kill();
                let _ = running.process.wait();
            }
            Some(_) => self.terminate(),
        }
    }
}
