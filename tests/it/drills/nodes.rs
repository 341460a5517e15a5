//! Two nodes over one database, one of which is killed while clients use both; they go on at the other.

use super::{Drill, apart, rounds, users};
use crate::histories::front_end::Manner;
use crate::support::{Count, Seed, Service, lasting_address};

#[tokio::test]
async fn of_two_nodes_one_is_killed_and_the_other_goes_on_where_it_was() {
    let (seed, users, frames) = (Seed::draw(), users(), Count::new());
    let mut random = seed.random(1);
    let host = Service::start().await;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        nodes.push(host.another_node_with(&[("TIDINGS_LISTEN", &lasting_address())]).await);
    }
    let doors = [nodes[0].another(), nodes[1].another()];
    let drill = Drill::new("nodes", &seed, &users, &frames);
    let mut drill = drill.people(&seed, &[&doors[0], &doors[1]], &[Manner::Shaken, Manner::Staying]);
    for _ in 0..rounds() {
        let (before, alone) = (random.below(200) as i64, random.below(200) as i64);
        let victim = nodes.remove(random.below(2));
        let dying = async {
            frames.grows_by(before).await;
            let dead = apart(victim, async |node| node.kill()).await;
            // The other one serves everybody meanwhile.
            frames.grows_by(alone).await;
            apart(dead, async |node| node.start_again().await).await
        };
        nodes.push(drill.go_through(dying).await);
        let door = &doors[random.below(2)];
        drill.compare(&host, door, &format!("a node killed, {alone} frames alone")).await;
    }
    assert!(drill.verdict().cuts > 0);
    // Before their database.
    drop(nodes);
}
