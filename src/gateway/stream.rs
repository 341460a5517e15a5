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

struct Open {
    session: Session,
    expiry: Expiry,
    pulse: Pulse,
    waiting: VecDeque<Frame>,
}

/// Joins the user's inbox. The stream ends when the node goes away, the token is over or the client is too slow, and
/// the browser reconnects by itself with `Last-Event-ID`.
pub async fn stream(
    gateway: Arc<Gateway>,
    principal: &Principal,
    join: Join,
) -> Result<impl Stream<Item = Event> + Send + 'static, Close> {
    let (session, first) = Session::open(gateway, join).await?;
    let (expiry, pulse) = (Expiry::of(principal), Pulse::new(Instant::now()));
    let open = Box::new(Open { session, expiry, pulse, waiting: first.into() });
    Ok(unfold(open, async |mut open| {
        let frame = open.next().await?;
        Some((event(&frame), open))
    }))
}

impl Open {
    async fn next(&mut self) -> Option<Frame> {
        while self.waiting.is_empty() {
            let mut due = self.pulse.next();
            if let Some(left) = self.expiry.next_in(clock::now()) {
                due = due.min(Instant::now() + left);
            }
            tokio::select! {
                frames = self.session.next() => self.waiting.extend(frames.ok()?),
                () = tokio::time::sleep_until(due) => match self.expiry.due(clock::now()) {
                    Some(Due::End) => return None,
                    Some(Due::Tell(frame)) => self.waiting.push_back(frame),
                    None => self.beat(),
                },
            }
        }
        self.waiting.pop_front()
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
    let event = Event::message(frame.json.as_ref()).event_type(frame.kind);
    match frame.cursor {
        Some(cursor) => event.id(cursor.to_string()),
        None => event,
    }
}
