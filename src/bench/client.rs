//! A client that costs little itself: HTTP/1.1 on one connection that is kept.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::BenchError;
use super::target::Target;

/// Nothing that is measured takes this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

pub struct Http {
    sender: SendRequest<Full<Bytes>>,
    address: String,
    key: String,
}

impl Http {
    pub async fn connect(target: &Target) -> Result<Self, BenchError> {
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&target.address)).await;
        let stream = connecting.map_err(std::io::Error::from)??;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its end is seen by whoever sends next.
        tokio::spawn(connection);
        Ok(Self { sender, address: target.address.clone(), key: target.key.clone() })
    }

    /// Reads; any answer but a good one is an error.
    pub async fn get(&mut self, path: &str) -> Result<Bytes, BenchError> {
        self.exchange(Method::GET, path, String::new()).await
    }

    /// Sends and waits for the answer; any but a good one is an error.
    pub async fn post(&mut self, path: &str, body: String) -> Result<Bytes, BenchError> {
        self.exchange(Method::POST, path, body).await
    }

    /// Puts, likewise.
    pub async fn put(&mut self, path: &str, body: String) -> Result<Bytes, BenchError> {
        self.exchange(Method::PUT, path, body).await
    }

    async fn exchange(&mut self, method: Method, path: &str, body: String) -> Result<Bytes, BenchError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("x-api-key", &self.key)
            .header("content-type", "application/json")
            .body(Full::from(body))
            .map_err(std::io::Error::other)?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Err(BenchError::Refused { path: path.to_owned(), status: status.as_u16(), body })
    }
}
