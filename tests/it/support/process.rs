//! Processes as seen from outside: their lines, their end, and whether anything of them is left.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PATIENCE;

/// The binary under test, with nothing of our own settings in its environment.
pub fn tidings(word: &str, folder: &Path, settings: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDINGS_") {
            command.env_remove(name);
        }
    }
    command
        .arg(word)
        .current_dir(folder)
        .env("TIDINGS_LISTEN", "127.0.0.1:0")
        .env("TIDINGS_DATA_DIR", data_dir(folder))
        // The database library warns of connections that end with their server.
        .env("TIDINGS_LOG_LEVEL", "warn,sqlx=error")
        // Tests of something else than the limit open as many as they like.
        .env("TIDINGS_CONNECTIONS_PER_USER", "1000")
        .envs(settings.iter().cloned())
        .stdin(Stdio::null());
    command
}

pub fn data_dir(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// The lines of a pipe, as they come. The channel ends with the pipe: when the process has ended.
pub fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        BufReader::new(pipe).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    lines
}

pub fn send(child: &Child, signal: Signal) {
    let _ = kill(Pid::from_raw(child.id().cast_signed()), signal);
}

/// How a process ended.
pub struct Ended {
    pub code: Option<i32>,
    pub output: String,
    pub errors: String,
}

/// Runs a command that ends by itself.
pub fn run_to_end(mut command: Command) -> Ended {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = lines_of(child.stdout.take().unwrap());
    let errors = lines_of(child.stderr.take().unwrap());
    let (output, errors) = (rest_of(&mut child, &output), rest_of(&mut child, &errors));
    Ended { code: child.wait().unwrap().code(), output, errors }
}

fn rest_of(child: &mut Child, lines: &Receiver<String>) -> String {
    let mut text = String::new();
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => text += &(line + "\n"),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return text,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                send(child, Signal::SIGTERM);
                panic!("the process should have ended by itself; it had said:\n{text}");
            }
        }
    }
}

/// Whether a process runs. A zombie does not: a container without an init keeps those for ever.
pub fn is_alive(pid: i32) -> bool {
    if let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        // The name is in parentheses and may contain anything; the state follows the last one.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        return !matches!(state, Some('Z' | 'X'));
    }
    !matches!(kill(Pid::from_raw(pid), None), Err(nix::errno::Errno::ESRCH))
}

/// Returns once nobody holds the lock of a data directory any more. The service and each of its children hold it,
/// down to the last backend of Postgres, so a free lock means that all of them are gone.
pub fn when_free(data_dir: &Path) {
    let Ok(lock) = File::open(data_dir.join("lock")) else { return };
    let (sender, free) = channel();
    std::thread::spawn(move || sender.send(lock.lock().is_ok()));
    let free = free.recv_timeout(PATIENCE);
    assert_eq!(free, Ok(true), "something of the service is still alive in its data directory");
}
