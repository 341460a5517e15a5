//! Against the real programs: what survives, what is refused, and that nothing is left behind.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};

use super::wire::Session;
use super::*;

const BOTH: Wanted = Wanted { postgres: true, redis: true };

/// Root's own 0700 directory, as `mktemp -d` makes it: the account that Postgres runs as cannot enter it.
fn data_dir() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nested");
    std::fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
    let path = path.join("data");
    (folder, path)
}

/// The socket named by a URL, through whichever path it names.
fn postgres_socket(embedded: &Embedded) -> PathBuf {
    let url = embedded.database_url().unwrap();
    let host = url.strip_prefix("postgres:///tidings?host=").unwrap().split('&').next().unwrap();
    assert!(!host.contains('%'), "{url}");
    Path::new(host).join(".s.PGSQL.5432")
}

async fn sql(embedded: &Embedded, sql: &str) -> Result<(), String> {
    let mut session = Session::open(&postgres_socket(embedded), "tidings", "tidings").await.unwrap().unwrap();
    session.execute(sql).await.unwrap().map_err(|refusal| refusal.code)
}

/// Every child inherits the lock, so a free lock means that all are gone. A fork of another test may hold a copy until its exec.
fn wait_until_free(data_dir: &Path) {
    let lock = data_dir.join("lock");
    wait_until("a child is left", || !lock.exists() || File::open(&lock).unwrap().try_lock().is_ok());
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The processes that work inside a folder, whatever they call themselves.
#[cfg(target_os = "linux")]
fn processes_in(folder: &Path) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder)))
        .collect()
}

fn postmaster(data_dir: &Path) -> Pid {
    let file = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid")).unwrap();
    Pid::from_raw(file.lines().next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_restart_keeps_what_was_written_and_a_stop_leaves_no_process() {
    let (_guard, data_dir) = data_dir();
    let embedded = start(&data_dir, BOTH).await.unwrap();
    sql(&embedded, "CREATE TABLE kept (n int)").await.unwrap();
    assert!(embedded.redis_url().unwrap().starts_with("redis+unix:///"));
    let mode = data_dir.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    embedded.stop().await;
    wait_until_free(&data_dir);
    #[cfg(target_os = "linux")]
    assert_eq!(processes_in(&data_dir), [0; 0]);

    let embedded = start(&data_dir, BOTH).await.unwrap();
    sql(&embedded, "INSERT INTO kept VALUES (1)").await.unwrap();
    embedded.stop().await;
}

#[tokio::test]
async fn durability_cannot_be_lowered_by_a_configuration_file() {
    let (_guard, data_dir) = data_dir();
    let embedded = start(&data_dir, Wanted { redis: false, ..BOTH }).await.unwrap();
    sql(&embedded, "ALTER SYSTEM SET fsync = off").await.unwrap();
    embedded.stop().await;
    let embedded = start(&data_dir, Wanted { redis: false, ..BOTH }).await.unwrap();
    let check = "SELECT 1 / (current_setting(name) = 'on')::int FROM unnest('{fsync,full_page_writes,synchronous_commit,data_checksums}'::text[]) name";
    sql(&embedded, check).await.unwrap();
    assert_eq!(
        sql(&embedded, "SELECT 1 / (current_setting('jit') = 'on')::int").await,
        Err("22012".into()),
        "the check can fail"
    );
    embedded.stop().await;
}

#[tokio::test]
async fn only_what_is_wanted_is_started() {
    let (_guard, data_dir) = data_dir();
    let embedded = start(&data_dir, Wanted { postgres: false, ..BOTH }).await.unwrap();
    assert_eq!(embedded.database_url(), None);
    assert!(embedded.redis_url().is_some());
    assert!(!data_dir.join("postgres").exists());
    embedded.stop().await;
}

#[tokio::test]
async fn a_second_start_on_the_same_directory_is_refused_at_once_and_names_the_holder() {
    let (_guard, data_dir) = data_dir();
    let redis_only = Wanted { postgres: false, ..BOTH };
    let embedded = start(&data_dir, redis_only).await.unwrap();
    let asked = Instant::now();
    let error = start(&data_dir, redis_only).await.unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(5));
    let expected = format!(
        "the data directory {} is in use by another process (pid {}): stop it, or set TIDINGS_DATA_DIR to another directory",
        data_dir.canonicalize().unwrap().display(),
        std::process::id()
    );
    assert_eq!(error.to_string(), expected);
    embedded.stop().await;
}

#[tokio::test]
async fn an_unfinished_initdb_is_started_over() {
    let (_guard, data_dir) = data_dir();
    std::fs::create_dir_all(data_dir.join("postgres.new/base")).unwrap();
    std::fs::write(data_dir.join("postgres.new/PG_VERSION"), "8\n").unwrap();
    start(&data_dir, Wanted { redis: false, ..BOTH }).await.unwrap().stop().await;
    assert!(!data_dir.join("postgres.new").exists());
}

#[tokio::test]
async fn a_socket_path_that_is_too_long_is_reached_through_a_descriptor() {
    let (_guard, data_dir) = data_dir();
    let deep = data_dir.join("d".repeat(100)).join("e".repeat(100));
    let embedded = start(&deep, BOTH).await.unwrap();
    assert!(embedded.database_url().unwrap().contains("/proc/self/fd/"));
    sql(&embedded, "SELECT 1").await.unwrap();
    let socket = embedded.redis_url().unwrap().strip_prefix("redis+unix://").unwrap().to_owned();
    std::os::unix::net::UnixStream::connect(socket).unwrap();
    embedded.stop().await;
}

#[tokio::test]
async fn a_child_that_ends_by_itself_is_named() {
    let (_guard, data_dir) = data_dir();
    let mut embedded = start(&data_dir, BOTH).await.unwrap();
    let pending = tokio::time::timeout(Duration::from_millis(50), embedded.child_exited()).await;
    assert!(pending.is_err(), "nothing has ended yet");
    kill(postmaster(&data_dir), Signal::SIGINT).unwrap();
    let story = embedded.child_exited().await;
    assert!(story.starts_with("Postgres (exit status: 0), see "), "{story}");
    assert!(story.contains("database system is shut down"), "{story}");
    assert_eq!(embedded.child_exited().await, story, "asking again gives the same answer");
    embedded.stop().await;
    wait_until_free(&data_dir);
}

#[tokio::test]
async fn a_cluster_that_does_not_start_is_explained_with_its_log_and_frees_the_directory() {
    let (_guard, data_dir) = data_dir();
    start(&data_dir, BOTH).await.unwrap().stop().await;
    std::fs::remove_file(data_dir.join("postgres/global/pg_control")).unwrap();
    let error = start(&data_dir, BOTH).await.unwrap_err().to_string();
    assert!(error.starts_with("Postgres ended while starting (exit status: "), "{error}");
    assert!(error.contains("could not find the database system"), "{error}");
    #[cfg(target_os = "linux")]
    assert_eq!(processes_in(&data_dir), [0; 0], "Redis was stopped, too");
    wait_until_free(&data_dir);
}

#[tokio::test]
async fn a_missing_program_is_reported_before_anything_is_made() {
    let (_guard, data_dir) = data_dir();
    let nothing = Search::new(OsStr::new(""), data_dir.parent().unwrap());
    let error = start_with(&data_dir, BOTH, nothing).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::Missing { .. }), "{error}");
    assert!(!data_dir.exists());
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_nothing() {
    let (_guard, data_dir) = data_dir();
    for patience_ms in [0, 20, 150, 400] {
        let given_up = tokio::time::timeout(Duration::from_millis(patience_ms), start(&data_dir, BOTH)).await;
        drop(given_up);
        wait_until_free(&data_dir);
    }
    start(&data_dir, BOTH).await.unwrap().stop().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_stale_pid_file_that_names_another_program_does_not_stop_the_start() {
    let (_guard, data_dir) = data_dir();
    let (only_postgres, only_redis) = (Wanted { redis: false, ..BOTH }, Wanted { postgres: false, ..BOTH });
    start(&data_dir, only_postgres).await.unwrap().stop().await;

    // Postgres minds a process of its own account only: another Redis is one.
    let (_other_guard, other_data_dir) = self::data_dir();
    let other = start(&other_data_dir, only_redis).await.unwrap();
    let pid = processes_in(&other_data_dir)[0];
    let stale = format!("{pid}\n/data\n1\n5432\n\n*\n");
    std::fs::write(data_dir.join("postgres/postmaster.pid"), stale).unwrap();
    start(&data_dir, only_postgres).await.unwrap().stop().await;
    other.stop().await;
}

/// The parent that the tests below kill: this very program, run again with the variable set.
const PARENT: &str = "TIDINGS_EMBEDDED_TEST_PARENT";
const PARENT_PANICS: &str = "TIDINGS_EMBEDDED_TEST_PANIC";

#[tokio::test]
async fn the_parent() {
    let Some(data_dir) = std::env::var_os(PARENT) else { return };
    let embedded = start(Path::new(&data_dir), BOTH).await.unwrap();
    sql(&embedded, "CREATE TABLE IF NOT EXISTS kept (n int); INSERT INTO kept VALUES (1)").await.unwrap();
    assert!(std::env::var_os(PARENT_PANICS).is_none(), "a panic while they run");
    println!("ready");
    std::future::pending::<()>().await;
}

fn parent(data_dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "embedded::tests::the_parent", "--nocapture"])
        .env(PARENT, data_dir)
        .stdin(Stdio::null());
    command
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn kill_minus_9_of_the_parent_takes_the_children_along_and_loses_nothing() {
    use std::io::BufRead;

    let (_guard, data_dir) = data_dir();
    for _ in 0..2 {
        let mut process = parent(&data_dir).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("ready")));
        let pids = processes_in(&data_dir);
        assert!(pids.len() >= 3, "Postgres, its helpers and Redis");
        for pid in pids {
            // The backend of the parent's own query may be gone by now.
            let Ok(session) = getsid(Some(Pid::from_raw(pid))) else { continue };
            let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { continue };
            assert_ne!(session, getsid(None).unwrap(), "Ctrl-C would reach it");
            assert!(
                !String::from_utf8_lossy(&environment).contains(PARENT),
                "our secrets are in its environment"
            );
        }
        process.kill().unwrap();
        // Not waited for yet: a dead parent that nobody has reaped must not look like a holder. And at once, while they shut down.
        let embedded = start(&data_dir, BOTH).await.unwrap();
        sql(&embedded, "SELECT 1 / count(*) FROM kept").await.unwrap();
        embedded.stop().await;
        process.wait().unwrap();
        wait_until("a process is left", || processes_in(&data_dir).is_empty());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn kill_minus_9_during_the_first_start_leaves_nothing() {
    let (_guard, data_dir) = data_dir();
    for delay_ms in [30, 100, 200, 300, 500, 700] {
        let mut process = parent(&data_dir).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay_ms));
        process.kill().unwrap();
        process.wait().unwrap();
        wait_until_free(&data_dir);
        assert_eq!(processes_in(&data_dir), [0; 0]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_panic_of_the_parent_stops_the_children_in_order() {
    let (_guard, data_dir) = data_dir();
    let output = parent(&data_dir).env(PARENT_PANICS, "1").output().unwrap();
    assert!(!output.status.success());
    assert_eq!(processes_in(&data_dir), [0; 0], "the panic unwound through the drop, which waits");
    assert!(!data_dir.join("postgres/postmaster.pid").exists(), "Postgres shut down properly");
}
