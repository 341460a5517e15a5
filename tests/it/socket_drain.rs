//! Sockets that are in the way: of a service that goes away, and of one that they do not keep up with.

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Service, Socket, note};

#[tokio::test]
async fn a_service_with_many_sockets_sends_them_away_one_after_the_other_and_soon_ends() {
    let mut service = Service::start().await;
    let mut sockets = Vec::new();
    for n in 0..50 {
        sockets.push(Socket::of(&service, &format!("user-{n}")).await.0);
    }
    // One that has not said yet who it is, and one with a command on its way.
    let silent = Socket::open(&service, "", &[]).await.unwrap();
    let id = service.create("user-0").await;
    sockets[0].event("notification.created").await;
    sockets[0].send(json!({"type": "read", "id": id}).to_string()).await;
    // Frames are taken in order: the answer to this one says that the command was received.
    sockets[0].send(json!({"type": "ping"}).to_string()).await;
    sockets[0].frames_to_sync().await;

    let asked = Instant::now();
    service.ask_to_end();
    let ends = join_all(sockets.into_iter().map(async |mut socket| {
        let mut frame = socket.next_frame().await;
        while frame["type"] == "event" {
            frame = socket.next_frame().await;
        }
        assert_eq!((&frame["type"], &frame["code"]), (&"closing".into(), &4001.into()));
        assert!((0..=30_000).contains(&frame["retry_in_ms"].as_i64().unwrap()), "{frame}");
        socket.expect_close(4001).await;
        asked.elapsed()
    }));
    let ends = ends.await;
    let (first, last) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
    assert!(last.as_millis() - first.as_millis() >= 100, "not all at once: {first:?} to {last:?}");
    let mut silent = silent;
    silent.frame("closing").await;
    silent.expect_close(4001).await;
    service.ended();
    assert!(asked.elapsed().as_secs() < 10, "{:?}", asked.elapsed());

    service.start_again().await;
    assert_eq!(service.counts("user-0").await, (0, 0), "what it had received it has done");
}

#[tokio::test]
async fn who_does_not_read_is_closed_and_resumes_with_nothing_missing() {
    let service = Service::start().await;
    let (mut stuck, welcome) = Socket::of(&service, "alice").await;
    let (mut keeping_up, _) = Socket::of(&service, "alice").await;
    // More than the network and the queue hold together, but at a time less than the queue.
    let mut large = note("alice");
    large["content"]["body"] = "x".repeat(200 << 10).into();
    let mut count = 0;
    for _ in 0..27 {
        let batch = json!({"notifications": vec![large.clone(); 3]});
        service.post("/v1/notifications/batch", &batch).await.expect(200);
        for _ in 0..3 {
            // A slow disk makes this take longer than a heartbeat.
            while keeping_up.next_frame().await["type"] == "sync" {}
            count += 1;
        }
    }

    let (mut got, mut cursor) = (0, welcome["cursor"].as_str().unwrap().to_owned());
    let code = loop {
        match stuck.frame_or_close().await {
            Ok(frame) if frame["type"] == "event" => {
                got += 1;
                cursor = frame["cursor"].as_str().unwrap().to_owned();
            }
            Ok(_) => {}
            Err(code) => break code,
        }
    };
    assert!(got < count, "{got} of {count} came through");
    assert!([Some(4002), None].contains(&code), "{code:?}");
    let (mut resumed, _) = Socket::resumed(&service, "alice", &cursor).await;
    let mut frames = resumed.frames_to_sync().await;
    assert_eq!(frames.pop().unwrap()["unread"], count);
    let numbers: Vec<i64> = frames.iter().map(|frame| frame["unread"].as_i64().unwrap()).collect();
    assert_eq!(numbers, (got + 1..=count).collect::<Vec<_>>());
}
