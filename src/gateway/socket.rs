//! The socket `tidings.v1`: one JSON text frame per message.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use poem::web::websocket::{CloseCode, Message, WebSocketConfig, WebSocketStream};
use tokio::time::{Instant, sleep_until};

use super::Gateway;
use super::acks::{Acks, Reader};
use super::allowance::Allowance;
use super::expiry::{Due, Expiry};
use super::frame::{Close, Frame};
use super::hello::{Hello, Query, refused};
use super::inbound::{self, Inbound};
use super::orders::{Ordered, Orders};
use super::pulse::{Beat, Pulse};
use super::session::{Join, Session};
use crate::api::Problem;
use crate::auth::{Denied, Principal, Scope};
use crate::clock;
use crate::telemetry::metrics::{ConnectionKind, Open};

/// What a client may send in one frame.
const INBOUND_BYTES_MAX: usize = 64 << 10;
/// Commands that were received and not answered; with more than that, no more is read.
const ORDERS_MAX: usize = 64;
/// A peer that takes longer to accept a few frames is as good as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// What is said last is heard soon or not at all.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
/// A socket whose handshake showed no credentials gets this long for its first frame.
const AUTH_TIMEOUT: Duration = Duration::from_secs(15);
/// Reconnects after a drain are spread over this much time, and a little more for every connection there is.
const RETRY_SPREAD_MS: u64 = 1_000;
const RETRY_SPREAD_MS_MAX: u64 = 30_000;

/// poem's default reads into 128 KiB per socket; ours are mostly silent.
pub fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(1 << 10)
        .write_buffer_size(4 << 10)
        .max_write_buffer_size(1 << 20)
        .max_message_size(Some(INBOUND_BYTES_MAX))
        .max_frame_size(Some(INBOUND_BYTES_MAX))
}

/// How a connection ended.
#[derive(Debug)]
enum End {
    /// We end it, and say why.
    Close(Close),
    /// The peer did, or the network.
    Gone,
}

impl End {
    fn count(&self, counted: &mut Open) {
        if let Self::Close(close) = self {
            counted.close(*close);
        }
    }
}

/// Serves one socket until either side ends it.
///
/// There are many and most of them are silent, so each stage, and whatever is done for a frame, is boxed: its space is
/// there while it runs, and not while the socket waits.
pub async fn serve(mut stream: Box<WebSocketStream>, gateway: Arc<Gateway>, hello: Box<Hello>) {
    let mut counted = gateway.metrics.live.connected(ConnectionKind::Socket);
    let opened = Box::pin(open(&mut stream, &gateway, *hello)).await;
    match opened {
        Ok(mut live) => {
            let end = live.run(&mut stream).await;
            end.count(&mut counted);
            Box::pin(live.finish(&mut stream, end)).await;
        }
        Err(end) => {
            end.count(&mut counted);
            Box::pin(say_goodbye(&mut stream, &gateway, end)).await;
        }
    }
}

/// Finds out who it is, and joins his inbox.
async fn open(stream: &mut WebSocketStream, gateway: &Arc<Gateway>, hello: Hello) -> Result<Box<Live>, End> {
    let principal = hello.shown.check(gateway).await.map_err(End::Close)?;
    let query = hello.query.map_err(End::Close)?;
    let mut allowance = Allowance::full(Instant::now());
    let (principal, reference) = match principal {
        Some(principal) => (principal, None),
        None => introduce(stream, gateway, &mut allowance).await?,
    };
    let owner = query.owner(&principal).map_err(End::Close)?;
    let owner = Arc::new(owner);
    let Query { cursor, goes_on_from, .. } = query;
    let join = Join { owner: owner.clone(), cursor, goes_on_from, key: principal.key().cloned() };
    let (session, mut first) = Session::open(gateway.clone(), join).await.map_err(End::Close)?;
    first.extend(reference.map(|reference| Frame::reply(&reference, session.cursor())));
    let now = Instant::now();
    let live = Box::new(Live {
        acks: Acks::since(session.began_at()),
        session,
        orders: Orders::default(),
        expiry: Expiry::of(&principal),
        reader: Reader { gateway: gateway.clone(), owner, principal },
        pulse: Pulse::new(now),
        allowance,
    });
    live.send_frames(stream, &first).await?;
    Ok(live)
}

/// Waits for the first frame, which must bring a token.
async fn introduce(
    stream: &mut WebSocketStream,
    gateway: &Gateway,
    allowance: &mut Allowance,
) -> Result<(Principal, Option<String>), End> {
    let deadline = Instant::now() + AUTH_TIMEOUT;
    loop {
        let message = tokio::select! {
            message = stream.next() => message,
            () = sleep_until(deadline) => return Err(End::Close(Close::Unauthorized)),
            () = gateway.hub.draining() => return Err(End::Close(Close::GoingAway)),
        };
        let Some(inbound) = understand(message, allowance, gateway)? else { continue };
        let Inbound::Auth { token: Ok(token), reference } = inbound else {
            return Err(End::Close(Close::Unauthorized));
        };
        let principal = gateway.authenticator.check_token(&token).await;
        return principal.map(|it| (it, reference)).map_err(|it| End::Close(refused(gateway, it)));
    }
}

/// One message of the client; `None` for what is no frame of ours.
fn understand(
    message: Option<Result<Message, std::io::Error>>,
    allowance: &mut Allowance,
    gateway: &Gateway,
) -> Result<Option<Inbound>, End> {
    let message = match message {
        Some(Ok(Message::Close(_))) | None => return Err(End::Gone),
        Some(Ok(message)) => message,
        Some(Err(error)) => return Err(broken(&error)),
    };
    if !allowance.take(Instant::now()) {
        return Err(End::Close(Close::TooManyFrames));
    }
    match message {
        Message::Text(text) => {
            let inbound = inbound::parse(&text, clock::now()).map_err(End::Close)?;
            gateway.metrics.live.received.of(inbound.kind()).inc();
            Ok(Some(inbound))
        }
        Message::Binary(_) => Err(End::Close(Close::BadRequest)),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => Ok(None),
    }
}

/// A frame that breaks the protocol or its limits is the client's fault; anything else is the network's.
fn broken(error: &std::io::Error) -> End {
    let io = error.get_ref().is_none();
    if io { End::Gone } else { End::Close(Close::BadRequest) }
}

/// A socket that was welcomed.
struct Live {
    reader: Reader,
    session: Session,
    orders: Orders,
    acks: Acks,
    expiry: Expiry,
    pulse: Pulse,
    allowance: Allowance,
}

impl Live {
    async fn run(&mut self, stream: &mut WebSocketStream) -> End {
        let mut timer = pin!(sleep_until(self.next_due()));
        loop {
            let due = self.next_due();
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            let has_room = self.orders.len() + self.session.answers() < ORDERS_MAX;
            let step = tokio::select! {
                frames = self.session.next() => match frames {
                    Ok(frames) => Box::pin(self.send_frames(stream, &frames)).await,
                    Err(close) => Err(End::Close(close)),
                },
                message = stream.next(), if has_room => Box::pin(self.receive(stream, message)).await,
                done = self.orders.done(&self.reader.gateway) => match done {
                    Ok(done) => {
                        done.tell(&mut self.session);
                        Ok(())
                    }
                    Err(close) => Err(End::Close(close)),
                },
                () = self.acks.recorded() => Ok(()),
                () = &mut timer => Box::pin(self.tick(stream, has_room)).await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Says goodbye while what was received is still being done.
    async fn finish(self: Box<Self>, stream: &mut WebSocketStream, end: End) {
        let Self { reader, session, orders, acks, .. } = *self;
        drop(session);
        let rest = async {
            orders.finish(&reader.gateway).await;
            acks.finish(reader.clone()).await;
        };
        tokio::join!(say_goodbye(stream, &reader.gateway, end), rest);
    }

    /// When time alone calls for something.
    fn next_due(&self) -> Instant {
        let mut due = self.pulse.next();
        if let Some(left) = self.expiry.next_in(clock::now()) {
            due = due.min(Instant::now() + left);
        }
        self.acks.due().map_or(due, |acks| due.min(acks))
    }

    async fn tick(&mut self, stream: &mut WebSocketStream, reading: bool) -> Result<(), End> {
        let now = Instant::now();
        if self.acks.due().is_some_and(|due| due <= now) {
            self.acks.start(self.reader.clone());
        }
        match self.expiry.due(clock::now()) {
            Some(Due::End(close)) => return Err(End::Close(close)),
            Some(Due::Tell(frame)) => self.send_frames(stream, &[frame]).await?,
            None => {}
        }
        if !reading {
            // Whom we do not listen to is not silent.
            self.pulse.hear(now);
        }
        match self.pulse.beat(now) {
            Some(Beat::Dead) => Err(End::Close(Close::NoPong)),
            Some(Beat::Ask) => {
                let sync = self.session.sync();
                let ping = [Message::Ping(Vec::new())].into_iter();
                self.send(stream, ping.chain(sync.as_ref().map(text))).await?;
                self.reader.gateway.sent(sync.as_slice());
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn receive(
        &mut self,
        stream: &mut WebSocketStream,
        message: Option<Result<Message, std::io::Error>>,
    ) -> Result<(), End> {
        self.pulse.hear(Instant::now());
        let answer = match understand(message, &mut self.allowance, &self.reader.gateway)? {
            Some(Inbound::Ping) => self.session.sync_or_owe(),
            Some(Inbound::Auth { token, reference }) => self.renew(token, reference.as_deref()).await,
            Some(Inbound::Ack(cursor)) => match self.reader.principal.require(Scope::InboxWrite) {
                Ok(()) => {
                    self.acks.take(&self.session, cursor, Instant::now());
                    None
                }
                Err(denied) => Some(Frame::error(None, &Problem::from(denied).to_json())),
            },
            Some(Inbound::Order { order, reference }) => {
                let Reader { gateway, owner, principal } = self.reader.clone();
                self.orders.push(&gateway, Ordered { order, principal, owner, reference });
                None
            }
            Some(Inbound::Unknown) | None => None,
        };
        match answer {
            Some(frame) => self.send_frames(stream, &[frame]).await,
            None => Ok(()),
        }
    }

    /// Another token for the same user. Until there is a good one, the old one counts.
    async fn renew(&mut self, token: Result<String, Problem>, reference: Option<&str>) -> Option<Frame> {
        match self.renewed(token).await {
            Ok(principal) => {
                self.expiry = Expiry::of(&principal);
                self.session.belong_to(principal.key().cloned());
                self.reader.principal = principal;
                reference.map(|reference| Frame::reply(reference, self.session.cursor()))
            }
            // Said in any case: whoever does not hear of it is cut off later, and does not know why.
            Err(problem) => Some(Frame::error(reference, &problem.to_json())),
        }
    }

    async fn renewed(&self, token: Result<String, Problem>) -> Result<Principal, Problem> {
        let gateway = &self.reader.gateway;
        let checked = gateway.authenticator.check_token(&token?).await;
        let renewed = checked.and_then(|principal| {
            let owner = Query::default().owner(&principal);
            if owner.as_ref() == Ok(&self.reader.owner) { Ok(principal) } else { Err(Denied::AnotherUser) }
        });
        Ok(renewed.inspect_err(|denied| gateway.metrics.auth.denied(*denied))?)
    }

    async fn send_frames(&self, stream: &mut WebSocketStream, frames: &[Frame]) -> Result<(), End> {
        self.send(stream, frames.iter().map(text)).await?;
        self.reader.gateway.sent(frames);
        Ok(())
    }

    /// Feeds several, then flushes once: one write to the network for all of them.
    async fn send(
        &self,
        stream: &mut WebSocketStream,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<(), End> {
        let write = async {
            for message in messages {
                stream.feed(message).await?;
            }
            stream.flush().await
        };
        tokio::select! {
            biased;
            written = write => written.map_err(|_: std::io::Error| End::Gone),
            close = self.session.ended() => Err(End::Close(close)),
            () = tokio::time::sleep(WRITE_TIMEOUT) => Err(End::Close(Close::TooSlow)),
        }
    }
}

fn text(frame: &Frame) -> Message {
    Message::Text(frame.json.as_ref().to_owned())
}

async fn say_goodbye(stream: &mut WebSocketStream, gateway: &Gateway, end: End) {
    let say = async {
        if let End::Close(close) = end {
            if close == Close::GoingAway {
                let spread = RETRY_SPREAD_MS + gateway.sockets.len() as u64;
                // Any spread will do; the low bits of a fresh id are random.
                let retry_in_ms = clock::new_uuid().as_u128() as u64 % spread.min(RETRY_SPREAD_MS_MAX);
                let closing = Frame::closing(close, retry_in_ms);
                stream.feed(text(&closing)).await?;
                gateway.sent(&[closing]);
            }
            let code = CloseCode::from(close.code());
            stream.send(Message::Close(Some((code, close.reason().into())))).await?;
        }
        // A peer that closes waits for our word on it.
        stream.close().await
    };
    // Whether the peer hears it or not, it is over.
    let _: Result<Result<(), std::io::Error>, _> = tokio::time::timeout(GOODBYE_TIMEOUT, say).await;
}
