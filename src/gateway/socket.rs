//! The socket `tidings.v1`: one JSON text frame per message.

use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use poem::web::websocket::{CloseCode, Message, WebSocketConfig, WebSocketStream};
use serde::Deserialize;
use tidings_domain::UserId;
use tidings_projections::log::Cursor;
use tokio::time::{Instant, MissedTickBehavior};

use super::frame::{Close, Frame};
use super::session::{Gateway, HEARTBEAT, Session};
use crate::auth::{Denied, Principal};
use crate::json;

/// What a client may send in one frame.
const INBOUND_BYTES_MAX: usize = 64 << 10;
/// A peer that takes longer to accept a few frames is as good as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Reconnects after a drain are spread over this much time.
const RETRY_SPREAD_MS: u64 = 5_000;

/// poem's default reads into 128 KiB per socket; ours are mostly silent.
pub fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(1 << 10)
        .write_buffer_size(4 << 10)
        .max_write_buffer_size(1 << 20)
        .max_message_size(Some(INBOUND_BYTES_MAX))
        .max_frame_size(Some(INBOUND_BYTES_MAX))
}

/// What the handshake asked for. A browser cannot see why an upgrade was refused, so what is wrong with it is
/// said by a close code after it.
pub struct Hello {
    pub principal: Result<Principal, Denied>,
    /// For a service: whose inbox. A user's own is the only one he gets.
    pub user_id: Option<String>,
    pub cursor: Option<String>,
}

impl Hello {
    fn check(self) -> Result<(String, UserId, Option<Cursor>), Close> {
        let principal = self.principal.map_err(|_| Close::Unauthorized)?;
        let wanted = self.user_id.map(UserId::try_from).transpose().map_err(|_| Close::BadRequest)?;
        let user = match (&principal, wanted) {
            (Principal::Service { .. }, Some(user)) => user,
            (Principal::Service { .. }, None) => return Err(Close::BadRequest),
            (Principal::User { user, .. }, Some(wanted)) if *user != wanted => {
                return Err(Close::Unauthorized);
            }
            (Principal::User { user, .. }, _) => user.clone(),
        };
        let cursor = self.cursor.map(|c| c.parse()).transpose().map_err(|_| Close::BadRequest)?;
        Ok((principal.tenant().to_string(), user, cursor))
    }
}

/// What every frame of a client has. It may have more.
#[derive(Deserialize)]
struct Inbound {
    r#type: String,
}

/// Serves one socket until either side ends it.
pub async fn socket(stream: WebSocketStream, gateway: Gateway, hello: Hello) {
    let (mut sink, source) = stream.split();
    let opened = match hello.check() {
        Ok((tenant, user, cursor)) => Session::open(gateway, tenant, user.into(), cursor).await,
        Err(close) => Err(close),
    };
    let why = match opened {
        Ok((session, first)) => match send(&mut sink, &session, first).await {
            Ok(()) => serve(&mut sink, source, session).await,
            Err(end) => end,
        },
        Err(close) => End::Close(close),
    };
    if let End::Close(close) = why {
        let _ = tokio::time::timeout(WRITE_TIMEOUT, say_goodbye(&mut sink, close)).await;
    }
}

/// How a connection ended.
enum End {
    /// We end it, and say why.
    Close(Close),
    /// The peer did, or the network.
    Gone,
}

type Sink = SplitSink<WebSocketStream, Message>;

async fn serve(sink: &mut Sink, mut source: SplitStream<WebSocketStream>, mut session: Session) -> End {
    let mut heartbeat = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        let step = tokio::select! {
            frames = session.next() => match frames {
                Ok(frames) => send(sink, &session, frames).await,
                Err(close) => Err(End::Close(close)),
            },
            message = source.next() => {
                heard = Instant::now();
                receive(sink, &mut session, message).await
            }
            _ = heartbeat.tick() => {
                if heard.elapsed() >= HEARTBEAT * 2 {
                    Err(End::Close(Close::NoPong))
                } else {
                    beat(sink, &mut session).await
                }
            }
        };
        if let Err(end) = step {
            return end;
        }
    }
}

async fn receive(
    sink: &mut Sink,
    session: &mut Session,
    message: Option<Result<Message, std::io::Error>>,
) -> Result<(), End> {
    let text = match message {
        Some(Ok(Message::Text(text))) => text,
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(()),
        Some(Ok(Message::Binary(_))) => return Err(End::Close(Close::BadRequest)),
        Some(Ok(Message::Close(_))) | None => return Err(End::Gone),
        Some(Err(error)) => return Err(broken(&error)),
    };
    let frame: Inbound = json::from_str(&text).map_err(|_| End::Close(Close::BadRequest))?;
    match frame.r#type.as_str() {
        "ping" => match session.sync() {
            Some(sync) => send(sink, session, vec![sync]).await,
            None => Ok(()),
        },
        // A newer client may know more than this node.
        _ => Ok(()),
    }
}

/// A frame that breaks the protocol or its limits is the client's fault; anything else is the network's.
fn broken(error: &std::io::Error) -> End {
    let io = error.get_ref().is_none();
    if io { End::Gone } else { End::Close(Close::BadRequest) }
}

async fn beat(sink: &mut Sink, session: &mut Session) -> Result<(), End> {
    sink.feed(Message::Ping(Vec::new())).await.map_err(|_| End::Gone)?;
    let sync = session.sync();
    send(sink, session, sync.into_iter().collect()).await
}

/// Feeds several, then flushes once: one write to the network for all of them.
async fn send(sink: &mut Sink, session: &Session, frames: Vec<Frame>) -> Result<(), End> {
    let write = async {
        for frame in frames {
            sink.feed(Message::Text(frame.json.as_ref().to_owned())).await?;
        }
        sink.flush().await
    };
    tokio::select! {
        written = write => written.map_err(|_: std::io::Error| End::Gone),
        () = session.overflowed() => Err(End::Close(Close::TooSlow)),
        () = tokio::time::sleep(WRITE_TIMEOUT) => Err(End::Close(Close::TooSlow)),
    }
}

async fn say_goodbye(sink: &mut Sink, close: Close) -> Result<(), std::io::Error> {
    if close == Close::GoingAway {
        // Any spread will do; the low bits of a fresh id are random.
        let spread = crate::clock::new_uuid().as_u128() as u64 % RETRY_SPREAD_MS;
        let closing = Frame::closing(close.code(), spread);
        sink.feed(Message::Text(closing.json.as_ref().to_owned())).await?;
    }
    sink.send(Message::Close(Some((CloseCode::from(close.code()), close.reason().into())))).await?;
    sink.close().await
}
