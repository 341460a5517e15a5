//! Postgres crashes under a node, as a whole or one of its processes; or its connections break.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Drill, apart, rounds, users};
use crate::histories::front_end::Manner;
use crate::support::{Count, Door, PATIENCE, Seed, Service, Xorshift};

/// What happens to Postgres.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Immediate stop of all: no checkpoint, no goodbye.
    Quits,
    /// Its head is killed; what it leaves behind ends by itself.
    Beheaded,
    /// One of its processes is killed, so all begin anew.
    Crashes,
    /// Every connection is ended, whatever it is doing.
    HangsUp,
}

impl Fate {
    fn some(random: &mut Xorshift) -> Self {
        [Self::Quits, Self::Beheaded, Self::Crashes, Self::HangsUp][random.below(4)]
    }

    /// What is left of the host, which dies with its Postgres and is started again by a supervisor.
    async fn strike(self, host: Service, random: &mut Xorshift) -> Service {
        let signal = match self {
            Self::Quits => Signal::SIGQUIT,
            Self::Beheaded => Signal::SIGKILL,
            Self::Crashes => {
                let backends = backends(&host, BACKENDS).await;
                kill(Pid::from_raw(backends[random.below(backends.len())]), Signal::SIGKILL).unwrap();
                return host;
            }
            Self::HangsUp => {
                backends(&host, END_BACKENDS).await;
                return host;
            }
        };
        kill(Pid::from_raw(host.children()[0]), signal).unwrap();
        apart(host, async |host| {
            assert_eq!(host.ended_by_itself(), Some(1), "a supervisor sees a failure");
            host.start_again().await;
        })
        .await
    }
}

const BACKENDS: &str = "
SELECT pid, true FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
const END_BACKENDS: &str = "
SELECT pid, pg_terminate_backend(pid)
  FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";

/// The processes that serve Tidings.
async fn backends(host: &Service, query: &'static str) -> Vec<i32> {
    let found: Vec<(i32, bool)> = sqlx::query_as(query).fetch_all(&mut host.sql().await).await.unwrap();
    assert!(!found.is_empty());
    found.into_iter().map(|(pid, _)| pid).collect()
}

/// Asks until it is ready again.
async fn recovers(node: &Door) {
    let asking = async { while node.get("/health/ready").await.status != 200 {} };
    tokio::time::timeout(PATIENCE, asking).await.expect("it recovers");
}

#[tokio::test]
async fn a_postgres_that_crashes_in_any_way_costs_time_and_nothing_else() {
    let (seed, users, frames) = (Seed::draw(), users(), Count::new());
    let mut random = seed.random(1);
    let mut host = Service::start().await;
    let node = host.another_node().await;
    let drill = Drill::new("postgres", &seed, &users, &frames);
    // Sockets live through it; whoever comes meanwhile is told to come again.
    let mut drill = drill.people(&seed, &[&node], &[Manner::Shaken, Manner::Restless]);
    for _ in 0..rounds() {
        let (before, fate) = (random.below(250) as i64, Fate::some(&mut random));
        let failing = async {
            frames.grows_by(before).await;
            let host = fate.strike(host, &mut random).await;
            recovers(&node).await;
            host
        };
        host = drill.go_through(failing).await;
        drill.compare(&host, &node, &format!("{fate:?}").to_lowercase()).await;
    }
    drill.verdict();
    // Before its database.
    drop(node);
}
