//! Postgres crashes under the commands of many clients, and comes back.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sqlx::PgConnection;
use tokio::sync::watch;

use super::{USERS, becomes, check_followers, create_last, follow, outage};
use crate::support::{Answer, Count, PATIENCE, Service, Socket, note, position};

/// A command waits 5 s for the log, and before that 2 s for a connection.
const ANSWER_MAX: Duration = Duration::from_secs(8);
const TASKS: usize = 8;
/// Notifications of one task, each created and read.
const NOTES: usize = 60;
/// One crash comes at any moment, the other while an append is under way.
const CRASHES: i64 = 2;

/// What the clients see of the crashes.
struct Clients<'a> {
    node: &'a Service,
    /// Whether Postgres runs, as far as its supervisor knows.
    well: watch::Sender<bool>,
    acknowledged: Count,
    /// Who was refused and waits until all is well again.
    waiting: Count,
    unknown_outcomes: Count,
    crashes: Count,
}

impl<'a> Clients<'a> {
    fn new(node: &'a Service) -> Self {
        let [acknowledged, waiting, unknown_outcomes, crashes] = std::array::from_fn(|_| Count::new());
        Self { node, well: watch::Sender::new(true), acknowledged, waiting, unknown_outcomes, crashes }
    }

    /// Sends until it is done, as the key allows.
    async fn insist(&self, path: &str, body: &Value, key: &str) -> Answer {
        let deadline = Instant::now() + PATIENCE * 2;
        loop {
            let asked = Instant::now();
            let answer = self.node.post_keyed(path, body, key).await;
            assert!(asked.elapsed() < ANSWER_MAX, "answered after {:?}: {answer:?}", asked.elapsed());
            if matches!(answer.status, 200 | 201) {
                self.acknowledged.add(1);
                return answer;
            }
            assert!(self.crashes.get() > 0, "refused before anything happened: {answer:?}");
            assert!(Instant::now() < deadline, "the node does not recover: {answer:?}");
            if check_refusal(&answer) == "outcome-unknown" {
                self.unknown_outcomes.add(1);
            }
            self.wait_until_well().await;
        }
    }

    async fn wait_until_well(&self) {
        if *self.well.borrow() {
            return;
        }
        self.waiting.add(1);
        self.well.subscribe().wait_for(|well| *well).await.unwrap();
        self.waiting.add(-1);
    }

    /// Creates and reads; gives the ids.
    async fn work(&self, task: usize) -> Vec<String> {
        let (mut ids, body) = (Vec::new(), note(USERS[task % USERS.len()]));
        for n in 0..NOTES {
            let created = self.insist("/v1/notifications", &body, &format!("{task}-{n}")).await;
            let id = created.text("id");
            let path = format!("/v1/notifications/{id}/read");
            self.insist(&path, &Value::Null, &format!("{task}-{n}-read")).await;
            ids.push(id);
        }
        ids
    }
}

#[track_caller]
fn check_refusal(answer: &Answer) -> String {
    let slug = answer.problem(503);
    assert!(["unavailable", "outcome-unknown", "busy"].contains(&slug.as_str()), "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    slug
}

/// While Postgres is away: a refusal in time, whatever is asked.
async fn check_outage(node: &Service) {
    let asked = Instant::now();
    let body = note("nobody");
    let commands = async { _ = check_refusal(&node.post("/v1/notifications", &body).await) };
    let reads = join_all(
        ["/v1/users/alice/inbox", "/v1/users/alice/inbox/counts", "/v1/events"]
            .map(|path| async move { _ = check_refusal(&node.get(path).await) }),
    );
    let health = async {
        let ready = node.get("/health/ready").await.expect(503);
        assert_eq!(ready.json()["status"], "no-database");
        node.get("/health/live").await.expect(200);
    };
    let socket = async {
        let key = node.root_key();
        let opened = Socket::open(node, "user_id=alice", &[("x-api-key", &key)]).await;
        let mut socket = opened.unwrap_or_else(|answer| panic!("a browser cannot see {answer:?}"));
        assert_eq!(socket.frame("closing").await["code"], 4001);
        socket.expect_close(4001).await;
    };
    tokio::join!(commands, reads, health, socket);
    assert!(asked.elapsed() < ANSWER_MAX, "answered after {:?}", asked.elapsed());
}

/// Returns while an append waits for the head, whose lock the connection keeps.
async fn hold_up_an_append(sql: &mut PgConnection) {
    sqlx::raw_sql("BEGIN; SELECT FROM log_head FOR UPDATE").execute(&mut *sql).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut held_up = 0_i64;
    while held_up == 0 {
        assert!(Instant::now() < deadline, "no append comes");
        // Within a transaction the view would go on saying what it said first.
        held_up = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_clear_snapshot(), pg_stat_activity
              WHERE wait_event_type = 'Lock' AND query LIKE '%log_append%' AND pid <> pg_backend_pid()",
        )
        .fetch_one(&mut *sql)
        .await
        .unwrap();
    }
}

/// Asks again and again for all that was acknowledged. The crash took the read model back by what it had not
/// flushed; no answer may show that.
async fn read_what_was_written(node: &Service) -> Infallible {
    let written = node.done().unwrap();
    loop {
        let answer = node.read("/v1/users/alice/inbox/counts").await;
        if answer.status == 200 {
            let shown = answer.text("cursor");
            assert!(position(&shown) >= position(&written), "{written} was asked for, {shown} was shown");
        } else {
            let slug = answer.problem(503);
            assert!(["unavailable", "projection-behind"].contains(&slug.as_str()), "{answer:?}");
        }
    }
}

/// Postgres crashes, its host dies of it and is started again by a supervisor; this thread serves the clients
/// meanwhile.
async fn crash(mut host: Service, clients: &Clients<'_>) -> Service {
    let mut sql = host.sql().await;
    if clients.crashes.get() > 0 {
        hold_up_an_append(&mut sql).await;
    }
    clients.crashes.add(1);
    clients.well.send_replace(false);
    // Immediate stop: no checkpoint, no goodbye.
    kill(Pid::from_raw(host.children()[0]), Signal::SIGQUIT).unwrap();
    clients.waiting.reaches(TASKS as i64).await;
    check_outage(clients.node).await;
    let runtime = tokio::runtime::Handle::current();
    let restarting = tokio::task::spawn_blocking(move || {
        assert_eq!(host.ended_by_itself(), Some(1), "a supervisor sees a failure");
        runtime.block_on(host.start_again());
        host
    });
    let host = tokio::select! {
        host = restarting => host.unwrap(),
        never = read_what_was_written(clients.node) => match never {},
    };
    clients.well.send_replace(true);
    host
}

#[tokio::test]
async fn a_postgres_that_crashes_under_load_costs_time_and_nothing_else() {
    let mut host = Service::start().await;
    let node = host.another_node().await;
    let (clients, frames) = (Clients::new(&node), Count::new());
    let sockets = join_all(USERS.map(|user| Socket::of(&node, user))).await;
    let following = join_all(sockets.into_iter().map(|(socket, _)| follow(socket, &frames)));
    let working = async {
        let ids = join_all((0..TASKS).map(|task| clients.work(task))).await;
        create_last(&node).await;
        ids.concat()
    };
    let crashing = async {
        for _ in 0..CRASHES {
            clients.acknowledged.grows_by((TASKS * NOTES / 2) as i64).await;
            host = crash(host, &clients).await;
        }
        host
    };
    let (followed, ids, host) = tokio::join!(following, working, crashing);
    assert!(clients.unknown_outcomes.get() > 0, "an append was under way");

    *node.done.lock().unwrap() = Some(node.head().await);
    let mut sql = host.sql().await;
    check_log(&mut sql, ids).await;
    node.audit(&mut sql, &USERS).await;
    check_followers(&node, &mut sql, followed).await;
    becomes(&node, "ready").await;
    // Before its database.
    drop(node);
}

/// The postmaster and its backends, each of which leads a session of its own.
fn processes_of(postmaster: i32) -> Vec<Pid> {
    let mut found = vec![Pid::from_raw(postmaster)];
    for entry in std::fs::read_dir("/proc").unwrap() {
        let Ok(pid) = entry.unwrap().file_name().to_string_lossy().parse() else { continue };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name is in parentheses; the state and the parent follow.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        if parent == Some(postmaster) {
            found.push(Pid::from_raw(pid));
        }
    }
    found
}

#[tokio::test]
async fn a_postgres_that_hangs_under_load_costs_time_and_nothing_else() {
    let host = Service::start().await;
    let node = host.another_node().await;
    let (clients, frames) = (Clients::new(&node), Count::new());
    let sockets = join_all(USERS.map(|user| Socket::of(&node, user))).await;
    let (mut idle, _) = Socket::of(&node, "carol").await;
    let following = join_all(sockets.into_iter().map(|(socket, _)| follow(socket, &frames)));
    let working = async {
        let ids = join_all((0..TASKS).map(|task| clients.work(task))).await;
        create_last(&node).await;
        ids.concat()
    };
    let hanging = async {
        clients.acknowledged.reaches((TASKS * NOTES / 2) as i64).await;
        clients.crashes.add(1);
        clients.well.send_replace(false);
        // The postmaster first: then no backend is missed.
        let postmaster = host.children()[0];
        kill(Pid::from_raw(postmaster), Signal::SIGSTOP).unwrap();
        let frozen = processes_of(postmaster);
        frozen.iter().for_each(|pid| kill(*pid, Signal::SIGSTOP).unwrap());
        let since = Instant::now();
        clients.waiting.reaches(TASKS as i64).await;
        check_outage(clients.node).await;
        while since.elapsed() < outage(Duration::ZERO) {
            check_outage(clients.node).await;
        }
        idle.sync().await;
        frozen.iter().rev().for_each(|pid| kill(*pid, Signal::SIGCONT).unwrap());
        clients.well.send_replace(true);
    };
    let (followed, ids, ()) = tokio::join!(following, working, hanging);
    *node.done.lock().unwrap() = Some(node.head().await);
    let mut sql = host.sql().await;
    check_log(&mut sql, ids).await;
    node.audit(&mut sql, &USERS).await;
    check_followers(&node, &mut sql, followed).await;
    becomes(&node, "ready").await;
    // Before its database.
    drop(node);
}

/// Each key has its own notification, created and read once, and there is nothing that was not acknowledged.
async fn check_log(sql: &mut PgConnection, mut ids: Vec<String>) {
    let stored: Vec<(String, String)> = sqlx::query_as(
        "SELECT aggregate_id, string_agg(event_type, ' ' ORDER BY sequence) FROM events
          WHERE aggregate_id = ANY ($1) GROUP BY 1 ORDER BY 1",
    )
    .bind(&ids)
    .fetch_all(&mut *sql)
    .await
    .unwrap();
    ids.sort_unstable();
    let history = "notification.created notification.read delivery.succeeded";
    let expected: Vec<_> = ids.into_iter().map(|id| (id, history.to_owned())).collect();
    assert_eq!(stored, expected);
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(sql).await.unwrap();
    assert_eq!(events as usize, TASKS * NOTES * 3 + USERS.len());
}
