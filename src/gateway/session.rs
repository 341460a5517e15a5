//! One client's view: joins what it missed to what happens now, without a gap and without a repeat.
//!
//! The tap is opened first and buffers; then the read model is asked how far it is and what was missed up to
//! there; then the buffer goes on from exactly that point. A reply to a command waits until the frames of what the
//! command did are sent, so that a client may store every cursor it receives.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tidings_projections::inbox::{self, Change, Counts, QueryError, Standing};
use tidings_projections::log::{Cursor, CursorError, Epochs};
use uuid::Uuid;

use super::Gateway;
use super::frame::{Close, Frame};
use super::hub::{Owner, Queued, Tap};
use super::places::{self, Place};
use super::pulse::HEARTBEAT;
use crate::auth::Key;
use crate::clock;

/// How long a join waits for the read model.
const JOIN_TIMEOUT: Duration = Duration::from_secs(2);
const JOIN_POLL: Duration = Duration::from_millis(50);
const BACKLOG_PAGE: i64 = 200;
/// Why a client must drop what it has.
const EPOCH_LOST: &str = "epoch-lost";
const REBUILT: &str = "rebuilt";

/// What a client asks for when it joins.
pub struct Join {
    pub owner: Arc<Owner>,
    /// Where it was; without one it begins at the present.
    pub cursor: Option<Cursor>,
    /// An earlier connection, whose place this one takes.
    pub goes_on_from: Option<Uuid>,
    /// It ends with this key.
    pub key: Option<Arc<Key>>,
}

/// What a command came to. A reply is said with the cursor of the moment, as frames beyond the command's position
/// may have been sent before it: no cursor that a client receives goes back.
struct Answer {
    position: i64,
    reply_to: Option<String>,
    frame: Frame,
}

pub struct Session {
    gateway: Arc<Gateway>,
    tap: Tap,
    /// Held, and given back after the tap is closed.
    _place: Place,
    /// Taken from the tap, not looked at yet.
    taken: VecDeque<Queued>,
    /// Everything up to here was sent.
    position: i64,
    counts: Counts,
    /// Of the inbox that these were read from.
    generation: i64,
    /// Where this connection began, or its last reset.
    began_at: i64,
    /// Changes up to this position come from the read model before the tap is read.
    backlog_up_to: Option<i64>,
    /// Answers to commands, in order, each held back until everything up to its position is sent.
    answers: VecDeque<Answer>,
    /// The client asked where it stands while frames were on their way.
    sync_owed: bool,
}

impl Session {
    /// Joins at the cursor, or at the present without one. The frames given back are the first to send.
    pub async fn open(gateway: Arc<Gateway>, join: Join) -> Result<(Self, Vec<Frame>), Close> {
        if gateway.hub.is_draining() {
            return Err(Close::GoingAway);
        }
        let tap = gateway.hub.tap(join.owner, clock::new_uuid(), join.key);
        tap.check()?;
        let place = gateway.places.take(&tap, join.goes_on_from).await?;
        // After the tap: of an epoch that begins from here on, the tap brings word.
        let presented = match join.cursor {
            Some(cursor) => {
                let resolved = gateway.history.resolve(&gateway.pool, cursor).await;
                Some(resolved.map_err(|error| unavailable(&gateway, error))?)
            }
            None => None,
        };
        let lost = presented == Some(Err(CursorError::EpochLost));
        let resume_at = presented.and_then(Result::ok);
        let joined = tap.position.max(resume_at.unwrap_or(0));
        let standing = wait_for_inbox(&gateway, tap.owner(), joined).await?;
        // What was shown below `valid_from` may have been wrong.
        let rebuilt = resume_at.is_some_and(|at| at < standing.valid_from);
        let resume_at = resume_at.filter(|_| !rebuilt);
        let (position, counts) = match resume_at {
            Some(at) => {
                let counts =
                    inbox::counts_at(&gateway.pool, &tap.owner().tenant, &tap.owner().user_id, at).await;
                (at, counts.map_err(|error| unavailable(&gateway, error))?)
            }
            None => (standing.position, standing.counts),
        };
        let cursor = gateway.history.cursor(position);
        let resumed = resume_at.is_some();
        let connection_id = places::name(tap.connection());
        let heartbeat_ms = HEARTBEAT.as_millis();
        let welcome =
            Frame::welcome(&connection_id, &tap.owner().user_id, cursor, counts, resumed, heartbeat_ms);
        let mut first = vec![welcome];
        if lost || rebuilt {
            first.push(Frame::reset(if lost { EPOCH_LOST } else { REBUILT }, cursor, counts));
        }
        let session = Self {
            gateway,
            tap,
            _place: place,
            taken: VecDeque::new(),
            position,
            counts,
            generation: standing.generation,
            began_at: position,
            backlog_up_to: resumed.then_some(standing.position),
            answers: VecDeque::new(),
            sync_owed: false,
        };
        Ok((session, first))
    }

    /// The next frames, as soon as there are any. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Vec<Frame>, Close> {
        loop {
            self.check()?;
            let frames = match self.backlog_up_to {
                // Boxed: an idle connection should not hold the space that a query needs.
                Some(up_to) => Box::pin(self.next_of_backlog(up_to)).await?,
                None => self.next_of_tap().await?,
            };
            if !frames.is_empty() {
                return Ok(frames);
            }
            if self.backlog_up_to.is_none() {
                self.tap.woken().await;
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

    /// The same, as an answer: if not now, then after what is on its way.
    pub fn sync_or_owe(&mut self) -> Option<Frame> {
        let sync = self.sync();
        self.sync_owed |= sync.is_none();
        sync
    }

    /// Replies once everything up to `position` is sent.
    pub fn reply(&mut self, position: i64, reference: String) {
        let frame = Frame::reply(&reference, self.gateway.history.cursor(position));
        self.answers.push_back(Answer { position, reply_to: Some(reference), frame });
        self.tap.wake_at(position);
    }

    /// Says what was wrong, in its turn.
    pub fn refuse(&mut self, error: Frame) {
        self.answers.push_back(Answer { position: 0, reply_to: None, frame: error });
        self.tap.wake_at(0);
    }

    /// Fails once the client may be sent nothing more.
    pub fn check(&self) -> Result<(), Close> {
        self.tap.check()
    }

    /// From now on it ends with this key, or with none.
    pub fn belong_to(&self, key: Option<Arc<Key>>) {
        self.tap.belong_to(key);
    }

    /// How many answers wait.
    pub fn answers(&self) -> usize {
        self.answers.len()
    }

    /// Everything up to here was sent.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Where this connection began, or its last reset.
    pub fn began_at(&self) -> i64 {
        self.began_at
    }

    pub fn epochs(&self) -> Arc<Epochs> {
        self.gateway.history.epochs()
    }

    pub fn cursor(&self) -> Cursor {
        self.gateway.history.cursor(self.position)
    }

    /// Returns once the connection must end: the peer has fallen too far behind, or is sent away.
    pub async fn ended(&self) -> Close {
        self.tap.ended().await
    }

    async fn next_of_backlog(&mut self, up_to: i64) -> Result<Vec<Frame>, Close> {
        let range = (self.position, up_to);
        let changes =
            inbox::changes_of(&self.gateway.pool, self.tap.owner().pair(), range, BACKLOG_PAGE).await;
        let changes = changes.map_err(|error| unavailable(&self.gateway, error))?;
        let complete = (changes.len() as i64) < BACKLOG_PAGE;
        let mut frames: Vec<Frame> = Vec::with_capacity(changes.len() + 1);
        for change in &changes {
            frames.push(self.frame(change).await?);
        }
        if let Some(last) = changes.last() {
            (self.position, self.counts) = (last.item.state.position, last.counts);
        }
        if complete {
            (self.position, self.backlog_up_to) = (up_to, None);
            self.sync_owed = false;
            frames.push(self.sync_frame());
        }
        Ok(frames)
    }

    async fn next_of_tap(&mut self) -> Result<Vec<Frame>, Close> {
        if self.taken.is_empty() {
            self.taken = self.tap.take()?;
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
                    // out first, and the signal stays in front until the reset is made. Answers that wait speak
                    // of the history that is gone.
                    frames.extend(self.answers.drain(..).map(|answer| answer.frame));
                    if !frames.is_empty() {
                        return Ok(frames);
                    }
                    frames.push(Box::pin(self.reset(EPOCH_LOST, 0)).await?);
                }
                Queued::GenerationBegan { generation } if self.generation != *generation => {
                    if !frames.is_empty() {
                        return Ok(frames);
                    }
                    frames.push(Box::pin(self.reset(REBUILT, self.position)).await?);
                }
                Queued::Event { .. } | Queued::EpochBegan { .. } | Queued::GenerationBegan { .. } => {}
            }
            self.taken.pop_front();
        }
        self.taken = VecDeque::new();
        frames.extend(self.owed());
        Ok(frames)
    }

    /// Answers whose time has come, and the sync that was asked for.
    fn owed(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        if !self.sync_owed && self.answers.is_empty() {
            return frames;
        }
        self.position = self.position.max(self.tap.feed_position().unwrap_or(0));
        let ready = self.answers.iter().take_while(|answer| answer.position <= self.position).count();
        let cursor = self.cursor();
        frames.extend(self.answers.drain(..ready).map(|answer| {
            answer.reply_to.map_or(answer.frame, |reference| Frame::reply(&reference, cursor))
        }));
        if std::mem::take(&mut self.sync_owed) {
            frames.push(self.sync_frame());
        }
        frames
    }

    /// This client has seen what is no longer true; what is begins where the inbox stands, at `position` or beyond.
    async fn reset(&mut self, reason: &str, position: i64) -> Result<Frame, Close> {
        let standing = wait_for_inbox(&self.gateway, self.tap.owner(), position).await?;
        (self.position, self.counts, self.generation) =
            (standing.position, standing.counts, standing.generation);
        self.began_at = self.position;
        Ok(Frame::reset(reason, self.gateway.history.cursor(self.position), self.counts))
    }

    fn sync_frame(&self) -> Frame {
        Frame::sync(self.gateway.history.cursor(self.position), self.counts)
    }

    async fn frame(&self, change: &Change) -> Result<Frame, Close> {
        let cursor = self.gateway.history.cursor(change.item.state.position);
        let told = self.gateway.directory.told(self.tap.owner().pair(), change.item.to_json(cursor)).await;
        let item = told.map_err(|error| unavailable(&self.gateway, error))?;
        Ok(Frame::event(cursor, &change.event, change.counts, &item))
    }
}

/// The user's standing once the read model is at `position` or beyond.
async fn wait_for_inbox(gateway: &Gateway, owner: &Owner, position: i64) -> Result<Standing, Close> {
    let wait = async {
        loop {
            let standing = inbox::standing(&gateway.pool, &owner.tenant, &owner.user_id).await?;
            if standing.position >= position {
                return Ok::<_, QueryError>(standing);
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
        Ok(Err(error)) => Err(unavailable(gateway, error)),
        Err(_) => Err(Close::GoingAway),
    }
}

/// The database is away, or the user is parked: the client comes back with its cursor.
fn unavailable(gateway: &Gateway, error: impl std::fmt::Display) -> Close {
    if let Some(connections) = gateway.trouble.count() {
        tracing::warn!(%error, connections, "a session cannot read the inbox");
    }
    Close::GoingAway
}
