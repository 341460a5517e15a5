//! One client's view: joins what it missed to what happens now, without a gap and without a repeat.
//!
//! The tap is opened first and buffers; then the read model is asked how far it is and what was missed up to
//! there; then the buffer goes on from exactly that point.

use std::collections::VecDeque;
use std::time::Duration;

use sqlx::PgPool;
use tidings_projections::inbox::{self, Change, Counts, Standing};
use tidings_projections::log::{Cursor, CursorError};

use super::Hub;
use super::frame::{Close, Frame};
use super::hub::{Queued, Tap};
use crate::clock;
use crate::log::History;

/// How often a quiet connection hears from us; twice this much silence means dead.
pub const HEARTBEAT: Duration = Duration::from_secs(25);
/// How long a join waits for the read model.
const JOIN_TIMEOUT: Duration = Duration::from_secs(2);
const JOIN_POLL: Duration = Duration::from_millis(50);
const BACKLOG_PAGE: i64 = 200;

/// What sessions need of the node.
#[derive(Clone)]
pub struct Gateway {
    pub pool: PgPool,
    pub history: History,
    pub hub: Hub,
}

pub struct Session {
    gateway: Gateway,
    tenant: String,
    user_id: String,
    tap: Tap,
    /// Taken from the tap, not looked at yet.
    taken: VecDeque<Queued>,
    /// Everything up to here was sent.
    position: i64,
    counts: Counts,
    /// Changes up to this position come from the read model before the tap is read.
    backlog_up_to: Option<i64>,
}

impl Session {
    /// Joins at `cursor`, or at the present without one. The frames given back are the first to send.
    pub async fn open(
        gateway: Gateway,
        tenant: String,
        user_id: String,
        cursor: Option<Cursor>,
    ) -> Result<(Self, Vec<Frame>), Close> {
        let presented = match cursor {
            Some(cursor) => Some(gateway.history.resolve(&gateway.pool, cursor).await.map_err(unavailable)?),
            None => None,
        };
        let lost = presented == Some(Err(CursorError::EpochLost));
        let resume_at = presented.and_then(Result::ok);
        let tap = gateway.hub.tap(&tenant, &user_id);
        let standing =
            wait_for_inbox(&gateway, &tenant, &user_id, tap.position.max(resume_at.unwrap_or(0))).await?;
        let connection_id = format!("con_{}", clock::new_uuid().simple());
        let (position, counts) = match resume_at {
            Some(at) => {
                let counts = inbox::counts_at(&gateway.pool, &tenant, &user_id, at).await;
                (at, counts.map_err(unavailable)?)
            }
            None => (standing.position, standing.counts),
        };
        let cursor = gateway.history.cursor(position);
        let resumed = resume_at.is_some();
        let welcome =
            Frame::welcome(&connection_id, &user_id, cursor, counts, resumed, HEARTBEAT.as_millis());
        let mut first = vec![welcome];
        if lost {
            first.push(Frame::reset("epoch-lost", cursor, counts));
        }
        let backlog_up_to = resumed.then_some(standing.position);
        Ok((
            Self { gateway, tenant, user_id, tap, taken: VecDeque::new(), position, counts, backlog_up_to },
            first,
        ))
    }

    /// The next frames, as soon as there are any. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Vec<Frame>, Close> {
        loop {
            let frames = match self.backlog_up_to {
                Some(up_to) => self.next_of_backlog(up_to).await?,
                None => self.next_of_tap().await?,
            };
            if !frames.is_empty() {
                return Ok(frames);
            }
        }
    }

    /// "You have everything up to here"; `None` while frames are on their way that say so themselves.
    pub fn sync(&mut self) -> Option<Frame> {
        if self.backlog_up_to.is_some() || !self.taken.is_empty() {
            return None;
        }
        self.position = self.tap.feed_position()?.max(self.position);
        Some(self.sync_frame())
    }

    /// Returns once the peer has fallen too far behind to go on.
    pub async fn overflowed(&self) {
        self.tap.overflowed().await;
    }

    async fn next_of_backlog(&mut self, up_to: i64) -> Result<Vec<Frame>, Close> {
        let user = (self.tenant.as_str(), self.user_id.as_str());
        let range = (self.position, up_to);
        let changes = inbox::changes_of(&self.gateway.pool, user, range, BACKLOG_PAGE).await;
        let changes = changes.map_err(unavailable)?;
        let complete = (changes.len() as i64) < BACKLOG_PAGE;
        let mut frames: Vec<Frame> = changes.iter().map(|change| self.frame(change)).collect();
        if let Some(last) = changes.last() {
            (self.position, self.counts) = (last.item.state.position, last.counts);
        }
        if complete {
            (self.position, self.backlog_up_to) = (up_to, None);
            frames.push(self.sync_frame());
        }
        Ok(frames)
    }

    async fn next_of_tap(&mut self) -> Result<Vec<Frame>, Close> {
        if self.taken.is_empty() {
            self.taken = self.tap.take().await?;
        }
        let mut frames = Vec::with_capacity(self.taken.len());
        while let Some(queued) = self.taken.front() {
            match queued {
                Queued::Event { position, frame } if *position > self.position => {
                    (self.position, self.counts) = (*position, frame.counts);
                    frames.push(frame.clone());
                }
                Queued::EpochBegan { first_position } if self.position >= *first_position => {
                    // Reading takes a while, and this future may be dropped meanwhile: what was collected goes
                    // out first, and the signal stays in front until the reset is made.
                    if !frames.is_empty() {
                        return Ok(frames);
                    }
                    frames.push(self.reset_to_epoch().await?);
                }
                Queued::Event { .. } | Queued::EpochBegan { .. } => {}
            }
            self.taken.pop_front();
        }
        Ok(frames)
    }

    /// This client has seen a history that is gone; what is true now begins at the new epoch.
    async fn reset_to_epoch(&mut self) -> Result<Frame, Close> {
        let standing = wait_for_inbox(&self.gateway, &self.tenant, &self.user_id, 0).await?;
        (self.position, self.counts) = (standing.position, standing.counts);
        Ok(Frame::reset("epoch-lost", self.gateway.history.cursor(self.position), self.counts))
    }

    fn sync_frame(&self) -> Frame {
        Frame::sync(self.gateway.history.cursor(self.position), self.counts)
    }

    fn frame(&self, change: &Change) -> Frame {
        let cursor = self.gateway.history.cursor(change.item.state.position);
        Frame::event(cursor, &change.event, change.counts, &change.item.to_json(cursor))
    }
}

/// The user's standing once the read model is at `position` or beyond.
async fn wait_for_inbox(
    gateway: &Gateway,
    tenant: &str,
    user_id: &str,
    position: i64,
) -> Result<Standing, Close> {
    let wait = async {
        loop {
            let standing = inbox::standing(&gateway.pool, tenant, user_id).await?;
            if standing.position >= position {
                return Ok::<_, sqlx::Error>(standing);
            }
            // Where a crash rewound the read model this node remembers more than there is: poll, do not spin.
            if gateway.history.inbox.get() >= position {
                tokio::time::sleep(JOIN_POLL).await;
            } else {
                let _ = tokio::time::timeout(JOIN_POLL, gateway.history.inbox.reached(position)).await;
            }
        }
    };
    match tokio::time::timeout(JOIN_TIMEOUT, wait).await {
        Ok(Ok(standing)) => Ok(standing),
        Ok(Err(error)) => Err(unavailable(error)),
        Err(_) => Err(Close::GoingAway),
    }
}

/// The database is away: the client comes back with its cursor.
fn unavailable(error: sqlx::Error) -> Close {
    tracing::warn!(%error, "a session cannot read the inbox");
    Close::GoingAway
}
