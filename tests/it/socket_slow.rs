//! A reader that takes a byte a second holds up nobody, loses its place, and misses nothing once it reads like others.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, Service, Socket, note};

/// Shakes hands, and from then on reads a byte a second.
async fn dawdle(service: &Service, user: &str) -> TcpStream {
    let address = service.url("").replace("http://", "");
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let hello = format!(
        "GET /v1/ws?user_id={user} HTTP/1.1\r\nHost: {address}\r\nx-api-key: {}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        service.root_key()
    );
    stream.write_all(hello.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream
}

#[tokio::test]
async fn a_reader_of_a_byte_a_second_loses_its_place_and_then_misses_nothing() {
    let service = Service::start_with(&[("TIDINGS_CONNECTIONS_PER_USER", "1")]).await;
    let cursor = service.inbox("alice", "").await["cursor"].as_str().unwrap().to_owned();
    let mut slow = dawdle(&service, "alice").await;
    let reading = async {
        loop {
            // The pace of the reader, not a wait for something.
            tokio::time::sleep(Duration::from_secs(1)).await;
            if slow.read_u8().await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut large = note("alice");
    large["content"]["body"] = "x".repeat(200 << 10).into();
    let rest = async {
        for _ in 0..27 {
            let batch = json!({"notifications": vec![large.clone(); 3]});
            service.post("/v1/notifications/batch", &batch).await.expect(200);
            service.counts("alice").await;
        }
        // The one place there is comes back, though the reader is still at it.
        let joining = async {
            let query = format!("user_id=alice&cursor={cursor}");
            loop {
                let key = service.root_key();
                let mut socket = Socket::open(&service, &query, &[("x-api-key", &key)]).await.unwrap();
                match socket.frame_or_close().await {
                    Ok(welcome) => return (socket, welcome),
                    Err(refused) => assert_eq!(refused, Some(4502)),
                }
            }
        };
        tokio::time::timeout(PATIENCE, joining).await.expect("the place comes back")
    };
    let (mut socket, welcome) = tokio::select! {
        joined = rest => joined,
        () = reading => unreachable!("it has no end"),
    };
    assert_eq!((&welcome["type"], &welcome["resumed"]), (&"welcome".into(), &true.into()));
    let frames = socket.frames_to_sync().await;
    let numbers: Vec<i64> = frames.iter().map(|frame| frame["unread"].as_i64().unwrap()).collect();
    assert_eq!(numbers, (1..=81).chain([81]).collect::<Vec<_>>());
}
