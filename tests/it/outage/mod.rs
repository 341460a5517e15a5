//! What others need goes away under load and comes back: Postgres crashes; Redis dies, freezes, fails over or was
//! never there.
//! Clients are told to wait or notice nothing, and nothing is lost, doubled or out of order.

mod epochs;
mod postgres;
mod redis;
pub mod redis_server;
mod wire;

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::PgConnection;

use crate::support::{Count, Door, PATIENCE, Seen, Service, Socket};

const USERS: [&str; 2] = ["alice", "bob"];
/// The title of the notification after which a follower leaves.
const LAST: &str = "the last one";

/// How long something is away: as long as the test wants, unless `OUTAGE_SECONDS` says otherwise.
pub fn outage(usual: Duration) -> Duration {
    std::env::var("OUTAGE_SECONDS").map_or(usual, |it| Duration::from_secs(it.parse().unwrap()))
}

/// A user's front end, which must live through everything: takes frames up to the last notification.
async fn follow(mut socket: Socket, frames: &Count) -> (Socket, Vec<Seen>) {
    let mut seen = Vec::new();
    loop {
        let frame = socket.next_frame().await;
        if frame["type"] == "sync" {
            continue; // the heartbeat of a long test
        }
        seen.push(Seen::of_frame(&frame));
        frames.add(1);
        if frame["notification"]["title"] == LAST {
            return (socket, seen);
        }
    }
}

async fn create_last(service: &Service) {
    for user in USERS {
        let body = json!({"user_id": user, "content": {"title": LAST, "body": "Bye."}});
        service.create_with(&body).await;
    }
}

/// Each socket was told every change of its user, once and in order, and has nothing more to say.
async fn check_followers(service: &Service, sql: &mut PgConnection, followed: Vec<(Socket, Vec<Seen>)>) {
    let head = service.head().await;
    for ((mut socket, seen), user) in followed.into_iter().zip(USERS.iter().cycle()) {
        let changes = Seen::all_of(sql, user).await;
        assert_eq!(seen.len(), changes.len(), "frames and changes of {user}");
        assert_eq!(seen, changes, "each change once and in order for {user}");
        let (unread, unseen) = service.counts(user).await;
        let sync = json!({"type": "sync", "cursor": head, "unread": unread, "unseen": unseen});
        assert_eq!(socket.sync().await, sync);
    }
}

/// Asks until readiness says it, always with 200.
pub async fn becomes(service: &Door, word: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let readiness = service.get("/health/ready").await.expect(200).json();
        if readiness["status"] == word {
            return;
        }
        assert!(Instant::now() < deadline, "readiness stays at {readiness}");
    }
}
