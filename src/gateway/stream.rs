//! The same frames as Server-Sent Events: `event` is the frame's type, `id` its cursor, `data` the frame.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream::unfold;
use poem::web::sse::Event;
use tokio::time::Instant;

use super::Gateway;
use super::expiry::{Due, Expiry};
use super::frame::{Close, Frame};
use super::pulse::Pulse;
use super::session::{Join, Session};
use crate::auth::Principal;
use crate::clock;
use crate::telemetry::metrics::{self, ConnectionKind};

struct Open {
    gateway: Arc<Gateway>,
    counted: metrics::Open,
    session: Session,
    expiry: Expiry,
    pulse: Pulse,
    waiting: VecDeque<Frame>,
    /// Why it ends, once these are sent.
    over: Option<Close>,
}

/// Joins the user's inbox. The stream ends when the node goes away, the token is over or the client is too slow, and
/// the browser reconnects by itself with `Last-Event-ID`. If the key behind it is over it says so first, as nobody
/// should come back.
pub async fn stream(
    gateway: Arc<Gateway>,
    principal: &Principal,
    join: Join,
) -> Result<impl Stream<Item = Event> + Send + 'static, Close> {
    let mut counted = gateway.metrics.live.connected(ConnectionKind::Sse);
    let (session, first) =
        Session::open(gateway.clone(), join).await.inspect_err(|close| counted.close(*close))?;
    let (expiry, pulse) = (Expiry::of(principal), Pulse::new(Instant::now()));
    let over = None;
    let open = Box::new(Open { gateway, counted, session, expiry, pulse, waiting: first.into(), over });
    Ok(unfold(open, async |mut open| {
        let frame = open.next().await.inspect_err(|close| open.counted.close(*close)).ok()?;
        open.gateway.sent(std::slice::from_ref(&frame));
        Some((event(&frame), open))
    }))
}

impl Open {
    async fn next(&mut self) -> Result<Frame, Close> {
        loop {
            // Whoever reads slowly still has frames to come, which are not his any more.
            if self.over.is_none()
                && let Err(close) = self.session.check()
            {
                self.waiting.clear();
                self.end(close);
            }
            if let Some(frame) = self.waiting.pop_front() {
                return Ok(frame);
            }
            if let Some(close) = self.over {
                return Err(close);
            }
            let mut due = self.pulse.next();
            if let Some(left) = self.expiry.next_in(clock::now()) {
                due = due.min(Instant::now() + left);
            }
            tokio::select! {
                frames = self.session.next() => match frames {
                    Ok(frames) => self.waiting.extend(frames),
                    Err(close) => self.end(close),
                },
                () = tokio::time::sleep_until(due) => match self.expiry.due(clock::now()) {
                    Some(Due::End(close)) => self.end(close),
                    Some(Due::Tell(frame)) => self.waiting.push_back(frame),
                    None => self.beat(),
                },
            }
        }
    }

    fn end(&mut self, close: Close) {
        self.over = Some(close);
        self.waiting.extend((close == Close::Revoked).then(|| Frame::closing_for_good(close)));
    }

    fn beat(&mut self) {
        let now = Instant::now();
        // There is no pong: what is written to nobody breaks the connection.
        self.pulse.hear(now);
        if self.pulse.beat(now).is_some() {
            self.waiting.extend(self.session.sync());
        }
    }
}

fn event(frame: &Frame) -> Event {
    let event = Event::message(frame.json.as_ref()).event_type(frame.kind.as_str());
    match frame.cursor {
        Some(cursor) => event.id(cursor.to_string()),
        None => event,
    }
}
