//! Sizes and kinds of bodies: refused before they are read to their end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use serde_json::{Value, json};

use super::{NOT_JSON, Refusing, TOO_LARGE};
use crate::support::{Answer, PATIENCE};

const SINGLE_BYTES_MAX: usize = 256 << 10;
const BATCH_BYTES_MAX: usize = 8 << 20;

/// A notification of exactly so many bytes.
fn notification_of(bytes: usize) -> String {
    let empty = json!({"user_id": "alice", "content": {"title": "t", "body": ""}}).to_string();
    json!({"user_id": "alice", "content": {"title": "t", "body": "x".repeat(bytes - empty.len())}})
        .to_string()
}

/// Sends bytes as they are and reads one answer, however much of a body is still owed.
fn exchange(refusing: &Refusing, path: &str, headers: &str, body: &[u8]) -> Answer {
    let address = refusing.service.url("").strip_prefix("http://").unwrap().to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let key = refusing.service.root_key();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nx-api-key: {key}\r\nconnection: close\r\n\
         content-type: application/json\r\n{headers}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let _ = stream.shutdown(Shutdown::Both);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let fields = head.lines().skip(1).map(|line| line.split_once(": ").unwrap());
    let headers = fields.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    Answer { status, headers, body: body.to_owned() }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_whether_it_says_so_or_not() {
    let mut refusing = Refusing::start().await;
    let stored = refusing.service.stored(&mut refusing.sql).await;
    let deliver = format!("/v1/notifications/{}/deliver", refusing.id);
    let read = format!("/v1/notifications/{}/read", refusing.id);
    for (path, limit) in [
        ("/v1/notifications", SINGLE_BYTES_MAX),
        ("/v1/notifications/batch", BATCH_BYTES_MAX),
        (&deliver, SINGLE_BYTES_MAX),
        (&read, SINGLE_BYTES_MAX),
    ] {
        // Refused by its announcement, without a byte of it.
        let answer = exchange(&refusing, path, &format!("content-length: {}", limit + 1), b"");
        refusing.check(&format!("{path}, announced"), &answer, TOO_LARGE);
        // Refused by its size: the chunk that is too much ends it, not the end of the body.
        let mut chunk = format!("{:x}\r\n", limit + 1).into_bytes();
        chunk.resize(chunk.len() + limit + 1, b' ');
        let answer = exchange(&refusing, path, "transfer-encoding: chunked", &chunk);
        refusing.check(&format!("{path}, in chunks"), &answer, TOO_LARGE);
    }
    assert_eq!(refusing.service.stored(&mut refusing.sql).await, stored);
    refusing.finish().await;
}

#[tokio::test]
async fn a_body_at_the_limit_is_taken() {
    let refusing = Refusing::start().await;
    let largest = notification_of(SINGLE_BYTES_MAX);
    let request = refusing.post("/v1/notifications").header("content-type", "application/json");
    refusing.service.send(request.body(largest.clone())).await.expect(201);
    let inbox = refusing.service.inbox("alice", "limit=1").await;
    assert!(inbox["items"][0]["body"].as_str().unwrap().len() > SINGLE_BYTES_MAX - 100);

    // As many of the largest as fit into one batch.
    let many = vec![largest; 31].join(",");
    let mut batch = format!(r#"{{"notifications":[{many}]}}"#);
    batch += &" ".repeat(BATCH_BYTES_MAX - batch.len());
    let request = |batch: String| {
        let request = refusing.post("/v1/notifications/batch").header("idempotency-key", "the-largest");
        request.header("content-type", "application/json; charset=utf-8").body(batch)
    };
    // A busy machine may not seal and store all of it in time: a repetition does what is missing.
    let deadline = Instant::now() + PATIENCE * 2;
    loop {
        let answer = refusing.service.send(request(batch.clone())).await.expect(200);
        let results = answer.json()["results"].as_array().unwrap().clone();
        if results.iter().all(|result| result["status"] == 201) {
            break;
        }
        let may_come_back = |result: &Value| result["status"] == 201 || result["status"] == 503;
        assert!(results.iter().all(may_come_back) && Instant::now() < deadline, "{results:?}");
    }
    while refusing.service.read("/v1/users/alice/inbox/counts").await.status == 503 {
        assert!(Instant::now() < deadline, "the inbox does not follow");
    }
    assert_eq!(refusing.service.counts("alice").await, (33, 33));
}

#[tokio::test]
async fn a_body_of_another_kind_is_refused() {
    let mut refusing = Refusing::start().await;
    let body = notification_of(100);
    for path in ["/v1/notifications", "/v1/notifications/batch"] {
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/xml", "json", "", "*/*"]
        {
            let request = refusing.post(path).header("content-type", kind).body(body.clone());
            refusing.refuse(&format!("{path}: {kind:?}"), request, NOT_JSON).await;
        }
        let request = refusing.post(path).body(body.clone());
        refusing.refuse(&format!("{path}: no kind"), request, NOT_JSON).await;
        let request = refusing.post(path);
        refusing.refuse(&format!("{path}: no body"), request, NOT_JSON).await;
    }
    refusing.finish().await;
}
