//! How many connections a user may have, over all nodes; and whose places come back.

use std::time::{Duration, Instant};

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use crate::outage::redis_server::Redis;
use crate::support::{PATIENCE, Service, Socket, Sse};

const TOO_MANY: u16 = 4502;
/// Longer than the service needs to notice that a node is gone or that Redis has lost everything.
const UPKEEP: Duration = Duration::from_secs(30);
const FIVE: (&str, &str) = ("TIDINGS_CONNECTIONS_PER_USER", "5");

/// The keys of the nodes that live, once there are so many.
async fn nodes(redis: &mut MultiplexedConnection, count: usize) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let keys: Vec<String> = redis.keys("tidings:{0}:node:*").await.unwrap();
        if keys.len() == count {
            return keys;
        }
        assert!(Instant::now() < deadline, "{keys:?}");
    }
}

/// Two nodes with a limit of five, both known to Redis.
async fn two_nodes() -> (Service, Service) {
    let first = Service::start_with(&[FIVE]).await;
    let second = first.another_node_with(&[FIVE]).await;
    nodes(&mut first.redis().await, 2).await;
    (first, second)
}

async fn fill(services: &[&Service]) -> Vec<(Socket, serde_json::Value)> {
    let mut open = Vec::new();
    for n in 0..5 {
        open.push(Socket::admitted(services[n % services.len()], "user_id=alice").await.unwrap());
    }
    open
}

async fn is_refused(service: &Service) -> bool {
    match Socket::admitted(service, "user_id=alice").await {
        Ok((socket, _)) => {
            socket.close().await;
            false
        }
        Err(code) => {
            assert_eq!(code, TOO_MANY);
            true
        }
    }
}

/// Tries until it is so.
async fn comes_to(service: &Service, refused: bool) {
    let deadline = Instant::now() + UPKEEP;
    while is_refused(service).await != refused {
        assert!(Instant::now() < deadline, "a sixth connection should be refused: {refused}");
    }
}

/// Tries until a place is free: one that was left is given back a moment later.
async fn stream_when_free(service: &Service) -> Sse {
    let deadline = Instant::now() + UPKEEP;
    loop {
        let request = service.request("GET", "/v1/users/alice/inbox/stream");
        match Sse::open(request.header("x-api-key", service.root_key())).await {
            Ok(stream) => return stream,
            Err(answer) => assert_eq!(answer.problem(429), "too-many-connections"),
        }
        assert!(Instant::now() < deadline, "a place that was left should be free");
    }
}

#[tokio::test]
async fn a_user_has_five_connections_wherever_they_are() {
    let (first, second) = two_nodes().await;
    let mut open = fill(&[&first, &second]).await;
    for service in [&first, &second] {
        assert!(is_refused(service).await);
        let path = "/v1/users/alice/inbox/stream";
        let stream = service.request("GET", path).header("x-api-key", service.root_key());
        let Err(answer) = Sse::open(stream).await else { panic!("a stream counts as well") };
        assert_eq!(answer.problem(429), "too-many-connections");
        // Others have places of their own, whatever their names look like.
        for user in ["bob", "alice5:", "1:alice"] {
            Socket::admitted(service, &format!("user_id={user}")).await.unwrap();
        }
    }
    let acme = format!("Bearer {}", first.token_of("acme", "alice"));
    let mut foreign = Socket::open(&first, "", &[("authorization", &acme)]).await.unwrap();
    foreign.frame("welcome").await;

    // Who leaves makes room, which a stream may take.
    let (socket, _) = open.pop().unwrap();
    socket.close().await;
    comes_to(&second, false).await;
    let mut stream = stream_when_free(&second).await;
    stream.event("welcome").await;
    assert!(is_refused(&first).await);
    drop(stream);
    // The service learns of that when it writes.
    first.create("alice").await;
    comes_to(&first, false).await;
}

#[tokio::test]
async fn who_comes_back_with_his_connection_takes_his_own_place() {
    let (first, second) = two_nodes().await;
    let open = fill(&[&first]).await;
    let place = |n: usize| open[n].1["connection_id"].as_str().unwrap().to_owned();
    let from = |id: &str| format!("user_id=alice&connection_id={id}");
    let (_back, welcome) = Socket::admitted(&first, &from(&place(0))).await.unwrap();
    assert_ne!(welcome["connection_id"], place(0));
    let (_there, _) = Socket::admitted(&second, &from(&place(1))).await.unwrap();
    for service in [&first, &second] {
        assert!(is_refused(service).await);
        // Nobody's place, somebody else's, and one that was given up already.
        let (_bob, welcome) = Socket::admitted(service, "user_id=bob").await.unwrap();
        for taken in [welcome["connection_id"].as_str().unwrap(), &place(0), &place(1)] {
            assert_eq!(Socket::admitted(service, &from(taken)).await.err(), Some(TOO_MANY), "{taken}");
        }
    }
    assert_eq!(Socket::admitted(&first, &from("con_1")).await.err(), Some(4501));

    // The connection that was replaced is closed: at once, or by the node's next heartbeat.
    let mut open = open.into_iter();
    for _ in 0..2 {
        let (mut replaced, _) = open.next().unwrap();
        let mut frame = replaced.next_frame_within(UPKEEP).await;
        while frame["type"] == "sync" {
            frame = replaced.next_frame_within(UPKEEP).await;
        }
        assert_eq!((&frame["type"], &frame["code"]), (&"closing".into(), &4001.into()));
        replaced.expect_close(4001).await;
    }
}

#[tokio::test]
async fn the_places_of_a_node_that_died_come_back() {
    let (first, mut second) = two_nodes().await;
    let mut redis = first.redis().await;
    let open = fill(&[&second]).await;
    assert!(is_refused(&first).await);
    second.kill();
    drop(open);
    assert!(is_refused(&first).await, "its key lives on for a moment");
    for node in nodes(&mut redis, 2).await {
        let seconds: i64 = redis.ttl(&node).await.unwrap();
        assert!((1..=20).contains(&seconds), "{seconds}");
    }
    comes_to(&first, false).await;
    nodes(&mut redis, 1).await;
}

#[tokio::test]
async fn a_node_that_ends_takes_its_places_with_it() {
    let (first, mut second) = two_nodes().await;
    let open = fill(&[&second]).await;
    drop(open);
    second.terminate();
    nodes(&mut first.redis().await, 1).await;
    assert!(!is_refused(&first).await);
}

#[tokio::test]
async fn a_redis_that_lost_everything_learns_of_the_connections_again() {
    let (first, second) = two_nodes().await;
    let open = fill(&[&first, &second]).await;
    let mut redis = first.redis().await;
    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
    // As after a restart: the connections are broken, too.
    let _: i64 = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal"]).query_async(&mut redis).await.unwrap();
    nodes(&mut redis, 2).await;
    for service in [&first, &second] {
        comes_to(service, true).await;
    }
    drop(open);
}

#[tokio::test]
async fn who_left_while_redis_was_away_has_left_when_it_is_back() {
    let redis = Redis::start();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let settings = [FIVE, ("TIDINGS_REDIS_URL", &redis.url()), ("TIDINGS_LOG_LEVEL", "info")];
    let service = Service::start_logging(&settings, Some(&log)).await;
    nodes(&mut redis.connect().await, 1).await;
    let told = async |line: &str| {
        let deadline = Instant::now() + PATIENCE;
        while !std::fs::read_to_string(&log).unwrap().contains(line) {
            assert!(Instant::now() < deadline, "{line} is not in the log");
            tokio::task::yield_now().await;
        }
    };
    let open = fill(&[&service]).await;
    redis.freeze();
    // The first who joins in vain finds out.
    Socket::admitted(&service, "user_id=bob").await.unwrap();
    told("Redis is away: limits of connections").await;
    for (socket, _) in open {
        socket.close().await;
    }
    comes_to(&service, false).await;
    redis.thaw();
    told("limits of connections hold over all nodes again").await;
    let began = Instant::now();
    drop(fill(&[&service]).await);
    // Less than a node's key lives.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_somebody_else_wrote_at_the_places_of_a_user_makes_room() {
    let (first, second) = two_nodes().await;
    let mut redis = first.redis().await;
    let () = redis.set("tidings:{0}:places:7:default5:alice", "?").await.unwrap();
    let open = fill(&[&first, &second]).await;
    for service in [&first, &second] {
        assert!(is_refused(service).await);
    }
    drop(open);
}

#[tokio::test]
async fn without_redis_the_limit_holds_on_each_node() {
    let first = Service::start_with(&[FIVE, ("TIDINGS_REDIS_URL", "redis://127.0.0.1:1")]).await;
    let second = first.another_node_with(&[FIVE]).await;
    let mut open = Vec::new();
    for service in [&first, &second] {
        open.push(fill(&[service]).await);
        assert!(is_refused(service).await);
    }
    let query = format!("user_id=alice&connection_id={}", open[0][0].1["connection_id"].as_str().unwrap());
    let (back, _) = Socket::admitted(&first, &query).await.unwrap();
    let (replaced, _) = open[0].remove(0);
    let mut replaced = replaced;
    replaced.frame("closing").await;
    replaced.expect_close(4001).await;
    assert!(is_refused(&first).await);
    back.close().await;
    comes_to(&first, false).await;
}
