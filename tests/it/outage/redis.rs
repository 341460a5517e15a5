//! Redis dies and comes back empty, or was never there.

use std::cell::Cell;
use std::process::{Child, Command, Stdio};

use futures_util::future::join_all;
use serde_json::Value;
use sqlx::PgConnection;
use tempfile::TempDir;

use super::{Count, USERS, becomes, check_followers, create_last, follow};
use crate::support::{PATIENCE, Seen, Service, Socket, lines_of};

/// A Redis that the service does not look after.
struct Redis {
    folder: TempDir,
    process: Option<Child>,
}

impl Redis {
    fn start() -> Self {
        let mut redis = Self { folder: tempfile::tempdir().unwrap(), process: None };
        redis.start_again();
        redis
    }

    /// Empty, as it keeps nothing on disk.
    fn start_again(&mut self) {
        let arguments = ["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "no"];
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

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.path().join("redis.sock").display())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The whole log as the API lists it.
async fn whole_log(service: &Service) -> Vec<Value> {
    let (mut log, mut query) = (Vec::new(), "limit=1000".to_owned());
    loop {
        let page = service.get(&format!("/v1/events?{query}")).await.expect(200).json();
        let events = page["events"].as_array().unwrap();
        if events.is_empty() {
            return log;
        }
        log.extend(events.iter().cloned());
        query = format!("limit=1000&after={}", page["next"].as_str().unwrap());
    }
}

/// The stream holds every event of the log at its position, with the change it made.
async fn check_stream(service: &Service, sql: &mut PgConnection) {
    let log = whole_log(service).await;
    let entries = service.mirrored_after("0", log.len()).await;
    let ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    let positions: Vec<String> = (1..=log.len()).map(|position| format!("{position}-0")).collect();
    assert_eq!(ids, positions, "no hole and nothing twice");
    for (entry, event) in entries.iter().zip(&log) {
        let mirrored: Value = serde_json::from_str(&entry.get::<String>("event").unwrap()).unwrap();
        assert_eq!(mirrored, *event);
    }
    for user in USERS {
        let of_user = entries.iter().filter(|entry| entry.get::<String>("user_id").unwrap() == user);
        let told = of_user.map(|entry| Seen {
            position: entry.id.strip_suffix("-0").unwrap().parse().unwrap(),
            event: entry.get("type").unwrap(),
            notification: serde_json::from_str::<Value>(&entry.get::<String>("item").unwrap()).unwrap()["id"]
                .as_str()
                .unwrap()
                .to_owned(),
            unread: entry.get("unread").unwrap(),
            unseen: entry.get("unseen").unwrap(),
        });
        assert_eq!(told.collect::<Vec<_>>(), Seen::all_of(sql, user).await);
    }
}

#[tokio::test]
async fn a_redis_that_dies_under_load_and_comes_back_empty_costs_no_frame() {
    let mut redis = Redis::start();
    let first = Service::start_with(&[("TIDINGS_REDIS_URL", &redis.url())]).await;
    let second = first.another_node().await;
    let (frames, enough) = (Count::new(), Cell::new(false));
    let mut sockets = Vec::new();
    for node in [&first, &second] {
        sockets.extend(join_all(USERS.map(|user| Socket::of(node, user))).await);
    }
    let following = join_all(sockets.into_iter().map(|(socket, _)| follow(socket, &frames)));
    let create = async |node: &Service, user| {
        while !enough.get() {
            node.create(user).await;
        }
    };
    let working = async {
        let nodes = [&first, &second];
        join_all((0..4).map(|task| create(nodes[task % 2], USERS[task / 2]))).await;
        create_last(&first).await;
    };
    let failing = async {
        frames.reaches(100).await;
        redis.kill();
        frames.grows_by(100).await;
        tokio::join!(becomes(&first, "degraded"), becomes(&second, "degraded"));
        frames.grows_by(100).await;
        redis.start_again();
        tokio::join!(becomes(&first, "ready"), becomes(&second, "ready"));
        frames.grows_by(100).await;
        enough.set(true);
    };
    let (followed, (), ()) = tokio::join!(following, working, failing);
    let mut sql = first.sql().await;
    first.audit(&mut sql, &USERS).await;
    check_stream(&first, &mut sql).await;
    check_followers(&first, &mut sql, followed).await;
}

#[tokio::test]
async fn nodes_that_never_had_a_redis_are_degraded_and_serve_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = format!("redis+unix://{}", folder.path().join("nobody.sock").display());
    let first = Service::start_with(&[("TIDINGS_REDIS_URL", &nobody)]).await;
    let second = first.another_node().await;
    tokio::join!(becomes(&first, "degraded"), becomes(&second, "degraded"));
    let (mut at_first, welcome) = Socket::of(&first, "alice").await;
    let (mut at_second, _) = Socket::of(&second, "alice").await;
    for round in 0..5 {
        let id = [&first, &second][round % 2].create("alice").await;
        let created = at_second.event("notification.created").await;
        assert_eq!(created["notification"]["id"], id);
        assert_eq!(created, at_first.event("notification.created").await);
        first.mark(&id, "read").await;
        assert_eq!(at_first.event("notification.read").await, at_second.event("notification.read").await);
    }
    assert_eq!(first.counts("alice").await, (0, 0));
    let cursor = welcome["cursor"].as_str().unwrap();
    let (mut resumed, _) = Socket::resumed(&second, "alice", cursor).await;
    let frames = resumed.frames_to_sync().await;
    assert_eq!(frames.len(), 5 * 2 + 1);
    tokio::join!(becomes(&first, "degraded"), becomes(&second, "degraded"));
}
