//! `kill -9` of a service with all its children, again and again.

use super::{Drill, apart, rounds, users};
use crate::histories::front_end::Manner;
use crate::support::{Count, Seed, Service, lasting_address};

#[tokio::test]
async fn a_service_killed_again_and_again_loses_nothing_and_doubles_nothing() {
    let (seed, users, frames) = (Seed::draw(), users(), Count::new());
    let mut random = seed.random(1);
    let mut service = Service::start_with(&[("TIDINGS_LISTEN", &lasting_address())]).await;
    let door = service.another();
    let drill = Drill::new("kill", &seed, &users, &frames);
    let mut drill = drill.people(&seed, &[&door], &[Manner::Shaken, Manner::Staying]);
    for _ in 0..rounds() {
        let kills = 1 + random.below(3);
        let dying = async {
            for _ in 0..kills {
                // Now and then right after the start.
                frames.grows_by(random.below(4) as i64 * random.below(60) as i64).await;
                service = apart(service, async |service| {
                    service.kill();
                    service.start_again().await;
                })
                .await;
            }
            service
        };
        service = drill.go_through(dying).await;
        drill.compare(&service, &door, &format!("{kills} times kill -9")).await;
    }
    assert!(drill.verdict().cuts > 0);
}
