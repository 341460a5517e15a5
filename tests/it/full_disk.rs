//! A disk that is full: what does not fit is refused and leaves nothing behind, and room is all that it takes to go on.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::json;

use crate::support::{PATIENCE, Service, note, skipped};

/// Beside what an empty database has.
const ROOM_KIB: u64 = 6 << 10;
const ENOUGH_KIB: u64 = 512 << 10;

/// The tables of a stopped service, on a file system of their own. The log that Postgres writes ahead stays where it was.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` without the right to mount.
    fn under(service: &Service) -> Option<Self> {
        let tables = service.data_dir().join("postgres/base");
        let (aside, was) = (tables.with_extension("aside"), fs::metadata(&tables).unwrap());
        fs::rename(&tables, &aside).unwrap();
        fs::create_dir(&tables).unwrap();
        let size = format!("size={}k", kib(&aside) + ROOM_KIB);
        let mounted = run("mount", &["-t", "tmpfs", "-o", &size, "none"], &tables);
        if !mounted {
            fs::remove_dir(&tables).unwrap();
            fs::rename(&aside, &tables).unwrap();
            return None;
        }
        let disk = Self(tables);
        assert!(run("cp", &["-a", aside.join(".").to_str().unwrap()], &disk.0));
        own_as(&disk.0, &was);
        Some(disk)
    }

    fn enlarge(&self) {
        assert!(run("mount", &["-o", &format!("remount,size={ENOUGH_KIB}k")], &self.0));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["--lazy"], &self.0);
    }
}

fn own_as(path: &Path, was: &Metadata) {
    chown(path, Some(was.uid()), Some(was.gid())).unwrap();
    fs::set_permissions(path, was.permissions()).unwrap();
}

fn kib(folder: &Path) -> u64 {
    let output = Command::new("du").arg("-sk").arg(folder).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

fn run(word: &str, arguments: &[&str], path: &Path) -> bool {
    Command::new(word).args(arguments).arg(path).output().is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn what_does_not_fit_is_refused_whole_and_room_is_all_it_takes() {
    let mut service = Service::start().await;
    service.create("alice").await;
    service.terminate();
    let Some(disk) = SmallDisk::under(&service) else {
        return skipped("there is no right to mount a disk that is small");
    };
    service.start_again().await;
    let mut body = note("alice");
    body["content"]["body"] = json!("x".repeat(4_000));
    let mut accepted = 1;
    let key = |number: usize| format!("number {number}");
    let refusal = loop {
        let answer = service.post_keyed("/v1/notifications", &body, &key(accepted)).await;
        if answer.status != 201 {
            break answer;
        }
        accepted += 1;
        assert!(accepted < 5_000, "the disk is never full");
    };
    let refused = |problem: String| {
        assert!(["unavailable", "outcome-unknown"].contains(&problem.as_str()), "{problem}");
    };
    refused(refusal.problem(503));
    assert!(refusal.header("retry-after").is_some());
    let batch = json!({"notifications": vec![body.clone(); 100]});
    let parts = service.post_keyed("/v1/notifications/batch", &batch, "all").await.expect(200).json();
    for part in parts["results"].as_array().unwrap() {
        assert_eq!(part["status"], 503, "{part}");
        refused(part["problem"]["type"].as_str().unwrap().to_owned());
    }
    // What is there is shown, as far as the inbox has room for it.
    let shown = accepted as i64;
    let counts = service.get("/v1/users/alice/inbox/counts").await.expect(200).json();
    assert!((1..=shown).contains(&counts["unread"].as_i64().unwrap()), "{counts} of {shown}");
    let ready = service.send(service.request("GET", "/health/ready")).await.expect(200);
    assert_eq!(ready.text("status"), "ready");

    disk.enlarge();
    // What was refused is repeated, and is there once, whether it was carried out meanwhile or not.
    let deadline = Instant::now() + PATIENCE;
    while service.post_keyed("/v1/notifications", &body, &key(accepted)).await.status != 201 {
        assert!(Instant::now() < deadline, "it does not go on");
    }
    let parts = service.post_keyed("/v1/notifications/batch", &batch, "all").await.expect(200).json();
    let parts = parts["results"].as_array().unwrap();
    assert!(parts.len() == 100 && parts.iter().all(|part| part["status"] == 201), "{parts:?}");
    let expected = shown + 1 + 100;
    assert_eq!(service.counts("alice").await, (expected, expected));
    let mut sql = service.sql().await;
    service.audit(&mut sql, &["alice"]).await;
    drop(sql);
    service.terminate();
    drop(disk);
}
