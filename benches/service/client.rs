//! Clients that cost little themselves: HTTP/1.1 on a kept-alive connection, and a socket that only listens.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::service::{KEY, Service};

pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// A notification whose body says when it was sent and which it is.
pub fn notification(user: u64, number: u64) -> String {
    let now = now_ns();
    format!(r#"{{"user_id":"user-{user}","content":{{"title":"hello","body":"t={now};i={number};"}}}}"#)
}

/// The number after `key` in a frame.
pub fn field(frame: &str, key: &str) -> Option<u64> {
    let digits = frame.split_once(key)?.1;
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

pub struct Http {
    stream: TcpStream,
    address: String,
    buffer: Vec<u8>,
}

impl Http {
    pub async fn connect(service: &Service) -> Self {
        let stream = TcpStream::connect(&service.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, address: service.address.clone(), buffer: Vec::new() }
    }

    /// Reads; gives the status.
    pub async fn get(&mut self, path: &str) -> u16 {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nx-api-key: {KEY}\r\n\r\n", self.address);
        self.exchange(request).await
    }

    /// Sends and waits for the answer; gives its status.
    pub async fn post(&mut self, path: &str, body: &str) -> u16 {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nx-api-key: {KEY}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.exchange(request).await
    }

    async fn exchange(&mut self, request: String) -> u16 {
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.buffer.clear();
        loop {
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "the service hung up");
            let Some(head) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let text = std::str::from_utf8(&self.buffer[..head]).unwrap().to_ascii_lowercase();
            let whole = match text.split_once("content-length: ") {
                Some((_, rest)) => {
                    let length: usize = rest.lines().next().unwrap().trim().parse().unwrap();
                    self.buffer.len() >= head + 4 + length
                }
                // In chunks, the last of which is empty.
                None => self.buffer.ends_with(b"\r\n0\r\n\r\n"),
            };
            if whole {
                return text[9..12].parse().unwrap();
            }
        }
    }
}

/// Opens a socket for the user, and hands every event frame to `on` until it ends.
pub async fn listen(service: &Service, user: u64, on: impl Fn(&str) + Send + 'static) {
    let url = format!("ws://{}/v1/ws?user_id=user-{user}", service.address);
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", KEY.parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    // The welcome: from here on nothing is missed.
    socket.next().await.unwrap().unwrap();
    tokio::spawn(async move {
        while let Some(Ok(frame)) = socket.next().await {
            if let Ok(text) = frame.to_text() {
                on(text);
            }
        }
    });
}
