//! A front end's socket: `tidings.v1` over WebSocket.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Answer, Contract, Door, PATIENCE};

pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// The subprotocol that the service chose.
    pub subprotocol: Option<String>,
}

impl Socket {
    /// A service's socket for one of its users, greeted.
    pub async fn of(service: &Door, user: &str) -> (Self, Value) {
        Self::greeted(service, &format!("user_id={user}")).await
    }

    /// The same, from a cursor.
    pub async fn resumed(service: &Door, user: &str, cursor: &str) -> (Self, Value) {
        Self::greeted(service, &format!("user_id={user}&cursor={cursor}")).await
    }

    async fn greeted(service: &Door, query: &str) -> (Self, Value) {
        let mut socket = Self::open(service, query, &[("x-api-key", &service.root_key())]).await.unwrap();
        let welcome = socket.frame("welcome").await;
        (socket, welcome)
    }

    /// The answer is what refused the upgrade.
    pub async fn open(service: &Door, query: &str, headers: &[(&str, &str)]) -> Result<Self, Answer> {
        match Self::try_open(service, query, headers).await {
            Ok(socket) => Ok(socket),
            Err(Error::Http(response)) => {
                let (parts, body) = response.into_parts();
                let body = String::from_utf8(body.unwrap_or_default()).unwrap();
                Err(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
            }
            Err(error) => panic!("the handshake failed: {error}"),
        }
    }

    async fn try_open(service: &Door, query: &str, headers: &[(&str, &str)]) -> Result<Self, Error> {
        let url = service.url(&format!("/v1/ws?{query}")).replacen("http", "ws", 1);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        let address: SocketAddr = request.uri().authority().unwrap().as_str().parse().unwrap();
        let connecting = async {
            let tcp = TcpSocket::new_v4()?;
            if let Some(bytes) = service.receive_bytes {
                tcp.set_recv_buffer_size(bytes)?;
            }
            client_async(request, tcp.connect(address).await?).await
        };
        let connected = tokio::time::timeout(PATIENCE, connecting).await;
        let (stream, response) = connected.expect("the handshake is answered")?;
        let chosen = response.headers().get("sec-websocket-protocol");
        let subprotocol = chosen.map(|value| value.to_str().unwrap().to_owned());
        Ok(Self { stream, subprotocol })
    }

    /// The first frame of a service that may be killed meanwhile; the error is the code of the end, or nothing where it
    /// came without one.
    pub async fn reached(service: &Door, query: &str) -> Result<(Self, Value), Option<u16>> {
        let headers = [("x-api-key", &*service.root_key())];
        let mut socket = Self::try_open(service, query, &headers).await.map_err(|_| None)?;
        let frame = socket.frame_or_close().await?;
        Ok((socket, frame))
    }

    /// A service's socket for one of its users; the error is the code it was closed with instead of a welcome.
    pub async fn admitted(service: &Door, query: &str) -> Result<(Self, Value), u16> {
        let mut socket = Self::open(service, query, &[("x-api-key", &service.root_key())]).await.unwrap();
        match socket.next_or_gone().await {
            Some(Message::Text(text)) => Ok((socket, described(&text))),
            Some(Message::Close(Some(close))) => Err(close.code.into()),
            other => panic!("{other:?}"),
        }
    }

    pub async fn send(&mut self, message: impl Into<Message>) {
        self.try_send(message).await.unwrap();
    }

    /// For what the service may refuse before it has all of it.
    pub async fn try_send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        tokio::time::timeout(PATIENCE, self.stream.send(message.into()))
            .await
            .expect("it is taken or refused")
    }

    /// `None` where the service is gone without a word.
    async fn next_or_gone(&mut self) -> Option<Message> {
        self.next_within(PATIENCE).await
    }

    async fn next_within(&mut self, patience: Duration) -> Option<Message> {
        loop {
            let message = tokio::time::timeout(patience, self.stream.next()).await.expect("a frame comes");
            match message {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return Some(message),
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The next frame; `None` once the service was killed.
    pub async fn frame_or_gone(&mut self) -> Option<Value> {
        match self.next_or_gone().await? {
            Message::Text(text) => Some(described(&text)),
            other => panic!("a text frame should have come: {other:?}"),
        }
    }

    /// The next frame of a service that may take longer than usual.
    pub async fn next_frame_within(&mut self, patience: Duration) -> Value {
        match self.next_within(patience).await {
            Some(Message::Text(text)) => described(&text),
            other => panic!("a text frame should have come: {other:?}"),
        }
    }

    /// The next frame; the error is the code of the end, or nothing where it came without one.
    pub async fn frame_or_close(&mut self) -> Result<Value, Option<u16>> {
        match self.next_or_gone().await {
            Some(Message::Text(text)) => Ok(described(&text)),
            Some(Message::Close(close)) => Err(close.map(|close| close.code.into())),
            _ => Err(None),
        }
    }

    pub async fn next_frame(&mut self) -> Value {
        self.frame_or_gone().await.expect("the socket ends with a close frame")
    }

    /// The next frame, which must be of this type.
    pub async fn frame(&mut self, kind: &str) -> Value {
        let frame = self.next_frame().await;
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// The next frame, which must be an event of this name.
    pub async fn event(&mut self, name: &str) -> Value {
        let frame = self.frame("event").await;
        assert_eq!(frame["event"], name, "{frame}");
        frame
    }

    /// Everything up to the next `sync`, which is the last.
    pub async fn frames_to_sync(&mut self) -> Vec<Value> {
        let mut frames = vec![self.next_frame().await];
        while frames.last().is_some_and(|frame| frame["type"] != "sync") {
            frames.push(self.next_frame().await);
        }
        frames
    }

    /// Asks where it stands. Nothing may come before the answer.
    pub async fn sync(&mut self) -> Value {
        self.send(r#"{"type":"ping"}"#).await;
        self.frame("sync").await
    }

    /// Asks where it stands; the error is the code it was closed with, if that is this one.
    pub async fn sync_or(&mut self, code: u16) -> Result<Value, u16> {
        self.send(r#"{"type":"ping"}"#).await;
        match self.next_or_gone().await {
            Some(Message::Text(text)) => Ok(described(&text)),
            Some(Message::Close(Some(close))) if u16::from(close.code) == code => Err(code),
            other => panic!("{other:?}"),
        }
    }

    /// Ends it from this side, as a page that is closed does.
    pub async fn close(mut self) {
        self.stream.close(None).await.unwrap();
    }

    /// The same where the service may be gone already.
    pub async fn try_close(mut self) -> Result<(), Error> {
        self.stream.close(None).await
    }

    /// Ends it with 1000; gives the code of the answer, which a browser needs for a clean end.
    pub async fn close_answered(mut self) -> Option<u16> {
        let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        self.stream.close(Some(close)).await.unwrap();
        match self.next_or_gone().await {
            Some(Message::Close(Some(close))) => Some(close.code.into()),
            _ => None,
        }
    }

    /// The next thing must be the end, with this code.
    pub async fn expect_close(self, code: u16) {
        assert_eq!(self.end().await, Ok(code));
    }

    /// The code of the end that must come next; the error is what came instead.
    pub async fn end(mut self) -> Result<u16, String> {
        match tokio::time::timeout(PATIENCE, self.stream.next()).await {
            Ok(Some(Ok(Message::Close(Some(close))))) => Ok(close.code.into()),
            other => Err(format!("{other:?}")),
        }
    }
}

/// A frame, which must be one of the contract.
fn described(text: &str) -> Value {
    let frame = serde_json::from_str(text).unwrap();
    Contract::committed().check(&frame);
    frame
}
