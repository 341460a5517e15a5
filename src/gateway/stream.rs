//! The same frames as Server-Sent Events: `event` is the frame's type, `id` its cursor, `data` the frame.

use futures_util::Stream;
use futures_util::stream::unfold;
use poem::web::sse::Event;
use tokio::time::{Instant, MissedTickBehavior};

use super::frame::{Close, Frame};
use super::session::{Gateway, HEARTBEAT, Session};
use tidings_projections::log::Cursor;

/// Joins the user's inbox; the stream ends when the node goes away or the client is too slow, and the browser
/// reconnects by itself with `Last-Event-ID`.
pub async fn stream(
    gateway: Gateway,
    tenant: String,
    user_id: String,
    cursor: Option<Cursor>,
) -> Result<impl Stream<Item = Event> + Send + 'static, Close> {
    let (session, first) = Session::open(gateway, tenant, user_id, cursor).await?;
    let mut heartbeat = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let waiting = first.into_iter().collect::<std::collections::VecDeque<_>>();
    Ok(unfold((session, heartbeat, waiting), async |(mut session, mut heartbeat, mut waiting)| {
        while waiting.is_empty() {
            tokio::select! {
                frames = session.next() => waiting.extend(frames.ok()?),
                _ = heartbeat.tick() => waiting.extend(session.sync()),
            }
        }
        let frame = waiting.pop_front()?;
        Some((event(&frame), (session, heartbeat, waiting)))
    }))
}

fn event(frame: &Frame) -> Event {
    let event = Event::message(frame.json.as_ref()).event_type(frame.kind);
    match frame.cursor {
        Some(cursor) => event.id(cursor.to_string()),
        None => event,
    }
}
