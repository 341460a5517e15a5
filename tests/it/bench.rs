//! `tidings bench` measures a service of its own, or one that runs, and loses nothing on the way.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{Ended, PATIENCE, Service, lines_of, run_to_end, tidings};

fn bench(arguments: &[&str]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tidings("bench", folder.path(), &[]);
    command.args(arguments).args(["--runs", "1"]);
    run_to_end(command)
}

/// The figures of the only measurement, by name.
#[track_caller]
fn figures(arguments: &[&str]) -> Value {
    let ended = bench(&[arguments, &["--json"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let report: Value = serde_json::from_str(&ended.output).unwrap();
    let measured = report["results"][0].clone();
    assert_eq!(measured["bench"], arguments[0]);
    measured["median"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["name"].as_str().unwrap(), it["value"].clone()))
        .collect()
}

fn positive(figures: &Value, name: &str) -> bool {
    figures[name].as_f64().unwrap() > 0.0
}

#[test]
fn frames_are_timed_and_none_is_missing() {
    let seen = figures(&["e2e", "--sockets", "20", "--rate", "50", "--seconds", "1"]);
    assert!(positive(&seen, "POST to frame, p50"), "{seen}");
    let seen = figures(&["fan-out", "--sockets", "50", "--notifications", "2"]);
    assert!(positive(&seen, "frames") && positive(&seen, "POST to last frame, p50"), "{seen}");
}

#[test]
fn creates_are_counted() {
    let seen = figures(&["post", "--concurrency", "4", "--seconds", "1"]);
    assert!(positive(&seen, "durable creates") && positive(&seen, "p99"), "{seen}");
}

#[test]
fn a_broadcast_is_measured_until_it_has_reached_everybody() {
    let seen = figures(&["broadcast", "--subscribers", "1500"]);
    assert!(positive(&seen, "notifications into inboxes"), "{seen}");
    assert!(positive(&seen, "urgent single, POST to frame, p99"), "{seen}");
}

#[test]
fn urgent_e_mails_are_timed_beside_those_that_are_due() {
    let seen = figures(&["emails", "--due", "300", "--urgent", "3"]);
    assert!(positive(&seen, "creates, 1,000 at once"), "{seen}");
    assert!(positive(&seen, "urgent single, POST to e-mail, p99"), "{seen}");
}

#[test]
fn words_are_timed_without_a_service() {
    let seen = figures(&["words", "--times", "100"]);
    assert!(positive(&seen, "a plural with its number") && positive(&seen, "a date"), "{seen}");
}

#[test]
fn what_there_is_much_of_is_measured() {
    let seen = figures(&["inbox", "--items", "10,30", "--reads", "20"]);
    assert!(
        positive(&seen, "10 items, first page, p50") && positive(&seen, "30 items, counts, p50"),
        "{seen}"
    );
    let seen = figures(&["rebuild", "--events", "100"]);
    assert!(positive(&seen, "events"), "{seen}");
    let seen = figures(&["idle", "--sockets", "50", "--seconds", "1"]);
    assert!(seen["service"].as_f64().is_some(), "{seen}");
}

#[tokio::test]
async fn a_service_that_runs_is_measured_where_it_is() {
    let service = Service::start().await;
    let url = service.url("");
    let key = service.root_key();
    let asked = ["post", "--concurrency", "2", "--seconds", "1", "--url", &url, "--api-key", &key];
    let seen = figures(&asked);
    assert!(positive(&seen, "durable creates"), "{seen}");
    let inbox = service.inbox("bench-0", "").await;
    assert_ne!(inbox["items"][0], Value::Null, "it was another service that was measured");
}

#[test]
fn an_interrupted_measurement_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tidings("bench", folder.path(), &[]);
    command.args(["post", "--seconds", "600", "--folder"]).arg(folder.path());
    let mut bench = command.stderr(Stdio::piped()).spawn().unwrap();
    let errors = lines_of(bench.stderr.take().unwrap());
    let data = when_listening(folder.path());
    kill(Pid::from_raw(bench.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(1));
    assert!(errors.iter().any(|line| line.contains("interrupted")));
    assert!(!data.exists(), "its folder is still there");
}

/// The folder of its service, once that serves: the names of the generated secrets are the last it writes.
fn when_listening(folder: &Path) -> PathBuf {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut folders = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        if let Some(found) = folders.find(|path| path.join("data/secrets/master_key").exists()) {
            return found;
        }
        assert!(Instant::now() < deadline, "its service did not start");
        std::thread::yield_now();
    }
}

#[test]
fn what_cannot_be_measured_is_said_in_one_line() {
    for (arguments, expected) in [
        (&["post", "--url", "https://example.com"][..], "--url must be http://host:port"),
        (&["post", "--url", "http://127.0.0.1:1", "--api-key", "x"], "cannot be reached"),
        (&["rebuild", "--url", "http://127.0.0.1:1", "--api-key", "x"], "leave out --url"),
        (&["idle", "--folder", "/nowhere"], "could not be started"),
    ] {
        let ended = bench(arguments);
        assert_eq!(ended.code, Some(1), "{arguments:?}: {}", ended.output);
        assert!(ended.errors.contains(expected) && ended.errors.lines().count() == 1, "{}", ended.errors);
    }
}
