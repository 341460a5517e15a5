//! Redis fails over, or was never there. How it dies, freezes and is emptied is a drill.

use std::cell::Cell;
use std::time::Instant;

use futures_util::future::join_all;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use redis::streams::StreamRangeReply;
use serde_json::Value;
use sqlx::PgConnection;

use super::redis_server::{Redis, url};
use super::wire::Wire;
use super::{USERS, becomes, check_followers, create_last, follow};
use crate::support::{Count, PATIENCE, Seen, Service, Socket};

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
        // What alters nothing that the user sees comes without an item.
        let told = of_user.filter_map(|entry| {
            let item: Value = serde_json::from_str(&entry.get::<String>("item")?).unwrap();
            let position = entry.id.strip_suffix("-0").unwrap().parse().unwrap();
            assert_eq!(crate::support::position(item["cursor"].as_str().unwrap()), position, "{item}");
            Some(Seen {
                position,
                event: entry.get("type").unwrap(),
                notification: item["id"].as_str().unwrap().to_owned(),
                unread: entry.get("unread").unwrap(),
                unseen: entry.get("unseen").unwrap(),
            })
        });
        assert_eq!(told.collect::<Vec<_>>(), Seen::all_of(sql, user).await);
    }
}

/// Two nodes over a Redis to which something is done while both are written to and watched. Afterwards every socket
/// was told everything once, and the stream is the log.
async fn under_load(redis_url: &str, fail: impl AsyncFnOnce(&[Service; 2], &Count)) {
    let first = Service::start_with(&[("TIDINGS_REDIS_URL", redis_url)]).await;
    let second = first.another_node().await;
    let nodes = [first, second];
    let (frames, enough) = (Count::new(), Cell::new(false));
    let mut sockets = Vec::new();
    for node in &nodes {
        sockets.extend(join_all(USERS.map(|user| Socket::of(node, user))).await);
    }
    let following = join_all(sockets.into_iter().map(|(socket, _)| follow(socket, &frames)));
    let write = async |task: usize| {
        while !enough.get() {
            let id = nodes[task % 2].create(USERS[task / 2]).await;
            nodes[(task + 1) % 2].mark(&id, "read").await;
        }
    };
    let working = async {
        join_all((0..4).map(write)).await;
        create_last(&nodes[0]).await;
    };
    let failing = async {
        frames.reaches(100).await;
        fail(&nodes, &frames).await;
        join_all(nodes.iter().map(|node| becomes(node, "ready"))).await;
        frames.grows_by(100).await;
        enough.set(true);
    };
    let (followed, (), ()) = tokio::join!(following, working, failing);
    let mut sql = nodes[0].sql().await;
    nodes[0].audit(&mut sql, &USERS).await;
    check_stream(&nodes[0], &mut sql).await;
    check_followers(&nodes[0], &mut sql, followed).await;
    let [first, second] = nodes;
    // Before its database.
    drop(second);
    drop(first);
}

#[tokio::test]
async fn a_replica_that_lost_the_tail_and_takes_over_costs_no_frame() {
    let (primary, replica) = (Redis::start(), Redis::start());
    let mut at_primary = primary.connect().await;
    let mut at_replica = replica.connect().await;
    let follow = |port: u16| {
        let mut command = redis::cmd("REPLICAOF");
        command.arg("127.0.0.1").arg(port);
        command
    };
    follow(primary.port()).exec_async(&mut at_replica).await.unwrap();
    let wire = Wire::to(primary.port()).await;
    under_load(&url(wire.port()), async |_, frames| {
        has(&mut at_replica, "master_link_status:up").await;
        while last_id(&mut at_replica).await == 0 {}
        redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut at_replica).await.unwrap();
        frames.grows_by(200).await;
        let (left_behind, lost) = (last_id(&mut at_replica).await, last_id(&mut at_primary).await);
        assert!(left_behind < lost, "{left_behind} and {lost}");
        wire.lead_to(replica.port());
        frames.grows_by(200).await;
        // Back again, to one that has an older tail and not what came between.
        wire.lead_to(primary.port());
        frames.grows_by(200).await;
    })
    .await;
}

/// Asks until the server says this about its replication.
async fn has(connection: &mut MultiplexedConnection, line: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let info: String = redis::cmd("INFO").arg("replication").query_async(connection).await.unwrap();
        if info.contains(line) {
            return;
        }
        assert!(Instant::now() < deadline, "{line} is not in {info}");
    }
}

/// The position of the last entry; 0 without any.
async fn last_id(connection: &mut MultiplexedConnection) -> i64 {
    let last: StreamRangeReply = connection.xrevrange_count("tidings:{0}:events", "+", "-", 1).await.unwrap();
    last.ids.first().map_or(0, |entry| entry.id.strip_suffix("-0").unwrap().parse().unwrap())
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
