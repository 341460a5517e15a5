//! Clients that read more slowly than is written or not at all, and storms of those that come back.

use futures_util::future::join_all;

use super::{Drill, USERS, rounds, users};
use crate::histories::front_end::Manner;
use crate::support::{Count, Door, Seed, Service, Socket};

const STORM: usize = 60;

/// Many come at once, hear where they are, and are gone.
async fn storm(door: &Door, cursor: &str) {
    let coming = (0..STORM).map(async |n| {
        let user = USERS[n % USERS.len()];
        let query = format!("user_id={user}&cursor={cursor}");
        let (_, frame) = Socket::reached(door, &query).await.unwrap_or_else(|code| panic!("{code:?}"));
        // A service that is behind may send them away, and must say so.
        assert!(["welcome", "closing"].contains(&frame["type"].as_str().unwrap()), "{frame}");
    });
    join_all(coming).await;
}

#[tokio::test]
async fn slow_clients_lose_their_place_and_nothing_else_and_hold_up_nobody() {
    let (seed, users, frames) = (Seed::draw(), users(), Count::new());
    let mut random = seed.random(1);
    let service = Service::start().await;
    let narrow = service.another().narrow();
    let mut drill = Drill::new("slow-clients", &seed, &users, &frames);
    for (n, user) in users.iter().enumerate() {
        // One is written to in plenty and reads slowly; the others, at the same service, must not notice.
        let is_slow = n == 0;
        drill.add(&seed, user, &[&service], is_slow);
        if is_slow {
            drill.watch(&seed, user, &[&narrow], &[Manner::Slow]);
        }
        let manner = if is_slow { Manner::Slow } else { Manner::Restless };
        drill.watch(&seed, user, &[&service], &[manner]);
    }
    let began = service.head().await;
    for _ in 0..rounds() {
        let storms = 1 + random.below(3);
        let coming = async {
            for _ in 0..storms {
                frames.grows_by(random.below(200) as i64).await;
                storm(&service, &began).await;
            }
            frames.grows_by(100).await;
        };
        drill.go_through(coming).await;
        drill.compare(&service, &service, &format!("{storms} storms of {STORM}")).await;
    }
    let cuts = drill.verdict().cuts;
    // It takes a pause of one at a moment when much is written to her.
    assert!(cuts > 0 || rounds() < 10, "nobody was too slow");
}
