//! Redis dies, freezes or is emptied under two nodes.

use std::time::{Duration, Instant};

use super::{Drill, rounds, users};
use crate::histories::front_end::Manner;
use crate::histories::user::User;
use crate::outage::redis_server::Redis;
use crate::outage::{becomes, outage};
use crate::support::{Count, Door, Seed, Service, Socket};

/// A frame comes within this time, whatever Redis does and however busy the machine is.
const PROMPT: Duration = Duration::from_secs(4);

/// Whoever opens a socket is welcomed, and told at one node what happened at the other.
async fn is_prompt(here: &Door, there: &Door, user: &User) {
    let (mut socket, _) = Socket::of(here, &user.name).await;
    let id = there.create(&user.name).await;
    user.ids.borrow_mut().push(id.clone());
    let telling = async { while socket.next_frame().await["notification"]["id"] != id {} };
    tokio::time::timeout(PROMPT, telling).await.expect("a frame comes soon");
}

#[tokio::test]
async fn a_redis_that_dies_freezes_or_is_emptied_costs_no_frame() {
    let (seed, users, frames) = (Seed::draw(), users(), Count::new());
    let mut random = seed.random(1);
    let mut redis = Redis::start();
    let first = Service::start_with(&[("TIDINGS_REDIS_URL", &redis.url())]).await;
    let second = first.another_node().await;
    let drill = Drill::new("redis", &seed, &users, &frames);
    // Sockets do not notice, so they may not end.
    let mut drill = drill.people(&seed, &[&first, &second], &[Manner::Restless, Manner::Restless]);
    for round in 0..rounds() {
        let before = random.below(200) as i64;
        let what = match (round + random.below(2)) % 3 {
            0 => "killed",
            1 => "frozen",
            _ => "emptied",
        };
        let flushes = 1 + random.below(4);
        let failing = async {
            frames.grows_by(before).await;
            match what {
                "killed" => redis.kill(),
                "frozen" => redis.freeze(),
                _ => {
                    for _ in 0..flushes {
                        let mut connection = redis.connect().await;
                        ::redis::cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
                        frames.grows_by(random.below(100) as i64).await;
                    }
                }
            }
            if what != "emptied" {
                tokio::join!(becomes(&first, "degraded"), becomes(&second, "degraded"));
                let (since, lasts) =
                    (Instant::now(), outage(Duration::from_millis(random.below(3_000) as u64)));
                while since.elapsed() < lasts {
                    is_prompt(&first, &second, &users[0]).await;
                    is_prompt(&second, &first, &users[1]).await;
                }
                frames.grows_by(random.below(200) as i64).await;
            }
            match what {
                "killed" => redis.start_again(),
                "frozen" => redis.thaw(),
                _ => {}
            }
            tokio::join!(becomes(&first, "ready"), becomes(&second, "ready"));
        };
        drill.go_through(failing).await;
        drill.compare(&first, &second, what).await;
    }
    assert_eq!(drill.verdict().sent_again, 0, "nobody is refused for want of Redis");
    // Before its database.
    drop(second);
}
