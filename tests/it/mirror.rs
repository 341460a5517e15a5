//! The mirror: a stream in Redis that holds every event of the log, and that may be lost without anybody noticing.

use redis::AsyncCommands;
use serde_json::Value;

use crate::support::{PATIENCE, Service, Socket, note, run_to_end};

#[tokio::test]
async fn the_stream_holds_every_event_by_its_position_with_what_it_changed() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    service.mark(&id, "read").await;
    let events = service.events("").await;
    let entries = service.mirrored_after("0", 3).await;
    assert_eq!(entries.len(), events.len());
    for (number, (entry, event)) in (1..).zip(entries.iter().zip(&events)) {
        let text = |field: &str| entry.get::<String>(field);
        assert_eq!(entry.id, format!("{number}-0"));
        let cursor = format!("{}.{number}", text("epoch").unwrap());
        assert_eq!(cursor, event["cursor"].as_str().unwrap());
        assert_eq!(serde_json::from_str::<Value>(&text("event").unwrap()).unwrap(), *event);
        assert_eq!((text("tenant"), text("user_id")), (Some("default".into()), Some("alice".into())));
        assert_eq!(text("type").as_deref(), event["type"].as_str());
    }
    // The third is `delivery.succeeded`, which changes nothing that a user sees.
    let counts: Vec<_> =
        entries.iter().map(|entry| (entry.get::<i64>("unread"), entry.get::<i64>("unseen"))).collect();
    assert_eq!(counts, [(Some(1), Some(1)), (Some(0), Some(0)), (None, None)]);
    let item: Value = serde_json::from_str(&entries[1].get::<String>("item").unwrap()).unwrap();
    assert_eq!(item, service.inbox("alice", "").await["items"][0]);
}

#[tokio::test]
async fn sockets_do_not_notice_that_redis_lost_everything() {
    let service = Service::start().await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    service.create("alice").await;
    socket.event("notification.created").await;
    let mut redis = service.redis().await;
    for round in 2..5 {
        let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
        service.create("alice").await;
        assert_eq!(socket.event("notification.created").await["unread"], round);
    }
    let refilled = service.mirrored_after("0", 4).await;
    let ids: Vec<_> = refilled.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids, ["1-0", "2-0", "3-0", "4-0"], "the stream is whole again");
    assert_eq!(socket.sync().await["unread"], 4);
}

#[tokio::test]
async fn a_stream_that_a_newer_fold_feeds_is_left_alone_and_sockets_go_on() {
    let service = Service::start().await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    service.create("alice").await;
    socket.event("notification.created").await;
    let epoch: String = service.mirrored_after("0", 1).await[0].get("epoch").unwrap();
    let mut redis = service.redis().await;
    let mut newer = redis::cmd("XADD");
    // Not beyond the log, which would mean something else.
    newer.arg("tidings:{0}:events").arg("1-1").arg("epoch").arg(epoch).arg("generation").arg(2_000_000);
    newer.arg("tenant").arg("default").arg("type").arg("notification.created").arg("event").arg("{}");
    newer.arg("user_id").arg("alice").arg("unread").arg(99).arg("unseen").arg(99).arg("item").arg("{}");
    let _: String = newer.query_async(&mut redis).await.unwrap();
    for round in 2..8 {
        service.create("alice").await;
        assert_eq!(
            socket.event("notification.created").await["unread"],
            round,
            "the counts of its own inbox"
        );
    }
    let length: i64 = redis::cmd("XLEN").arg("tidings:{0}:events").query_async(&mut redis).await.unwrap();
    assert_eq!(length, 2, "an older fold adds nothing");
}

/// Adds an entry with nothing in it but its place, and returns once the node will not serve any more.
async fn runs_ahead(service: &Service, id: &str, epoch: i64, generation: i64) {
    let mut later = redis::cmd("XADD");
    later.arg("tidings:{0}:events").arg(id).arg("epoch").arg(epoch).arg("generation").arg(generation);
    later.arg("tenant").arg("default").arg("type").arg("x").arg("event").arg("{}");
    let _: String = later.query_async(&mut service.redis().await).await.unwrap();
    let ready = async {
        loop {
            let health = service.send(service.request("GET", "/health/ready")).await;
            if health.status == 503 {
                return health.json();
            }
            tokio::task::yield_now().await;
        }
    };
    // The next look at the stream finds out.
    let health = tokio::time::timeout(PATIENCE, ready).await.expect("it becomes unready");
    assert_eq!(health["status"], "database-behind");
    assert_eq!(service.post("/v1/notifications", &note("alice")).await.problem(503), "unavailable");
    assert_eq!(service.events("").await.len(), 1);
}

async fn goes_on(service: &Service) {
    let going_on = async { while service.post("/v1/notifications", &note("alice")).await.status != 201 {} };
    tokio::time::timeout(PATIENCE, going_on).await.expect("it goes on");
}

#[tokio::test]
async fn a_node_whose_database_is_behind_the_stream_is_unready_and_appends_nothing() {
    let service = Service::start().await;
    service.create("alice").await;
    let epoch: i64 = service.mirrored_after("0", 1).await[0].get("epoch").unwrap();
    runs_ahead(&service, "2-0", epoch + 1, 1_000_000).await;
    // Once the stream is gone, or the database is the right one, it goes on.
    let _: i64 = service.redis().await.del("tidings:{0}:events").await.unwrap();
    goes_on(&service).await;
}

#[tokio::test]
async fn a_node_whose_log_ends_before_the_stream_waits_for_a_new_epoch() {
    let host = Service::start().await;
    let node = host.another_node().await;
    node.create("alice").await;
    let first = &node.mirrored_after("0", 1).await[0];
    let (epoch, generation): (i64, i64) = (first.get("epoch").unwrap(), first.get("generation").unwrap());
    // What a backup would leave that shows neither another cluster nor another timeline.
    runs_ahead(&node, "4-0", epoch, generation).await;
    let mut command = node.command("epoch");
    command.arg("bump");
    assert_eq!(run_to_end(command).code, Some(0));
    goes_on(&node).await;
    let id = node.create("bob").await;
    let entries = node.mirrored_after("0", 3).await;
    let ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids, ["1-0", "2-0", "3-0"], "the stream is that of the log");
    let (mut socket, _) = Socket::of(&node, "bob").await;
    node.mark(&id, "read").await;
    socket.event("notification.read").await;
    // The other node finds out for itself.
    goes_on(&host).await;
    // Before its database.
    drop(node);
}
