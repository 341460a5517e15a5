//! What a client has taken note of: recorded as the in-app delivery of each notification that was shown to it.
//!
//! Acknowledgements are gathered for a moment, never cover what was not sent, and are recorded once. What cannot be
//! recorded now is tried again for as long as the connection lives.

use std::sync::Arc;
use std::time::Duration;

use tidings_domain::NotificationId;
use tidings_domain::notification::{Action, Channel, Outcome};
use tidings_projections::inbox::{self, QueryError};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Gateway, Owner, Session};
use crate::auth::Principal;
use crate::clock;
use crate::commands::{CommandError, Context, Item};
use tidings_projections::log::Cursor;

const GATHER: Duration = Duration::from_millis(250);
const RETRY: Duration = Duration::from_secs(1);
const PAGE: i64 = 200;
/// What shows a notification for the first time.
const SHOWING: [&str; 2] = ["notification.created", "notification.released"];

/// Whose acknowledgements, and on whose behalf they are recorded.
#[derive(Clone)]
pub struct Reader {
    pub gateway: Arc<Gateway>,
    pub owner: Arc<Owner>,
    pub principal: Principal,
}

pub struct Acks {
    /// Where the connection began: nothing before it is meant.
    began_at: i64,
    recorded: i64,
    wanted: i64,
    due: Option<Instant>,
    running: Option<JoinHandle<i64>>,
}

impl Acks {
    pub fn since(began_at: i64) -> Self {
        Self { began_at, recorded: began_at, wanted: began_at, due: None, running: None }
    }

    /// The client has everything up to the cursor. One of a history that is gone says nothing about this one.
    pub fn take(&mut self, session: &Session, cursor: Cursor, now: Instant) {
        if session.began_at() != self.began_at {
            *self = Self::since(session.began_at());
        }
        let epochs = session.epochs();
        let Ok(position) = epochs.resolve(cursor, i64::MAX) else { return };
        self.wanted = self.wanted.max(position.min(session.position()));
        self.schedule(now + GATHER);
    }

    /// When to record, if there is something to record and nothing being recorded.
    pub fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.running.is_none())
    }

    pub fn start(&mut self, reader: Reader) {
        self.due = None;
        self.running = Some(tokio::spawn(record(reader, self.recorded, self.wanted)));
    }

    /// Returns once something was recorded or could not be; never, while nothing is under way.
    pub async fn recorded(&mut self) {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let reached = running.await.unwrap_or(self.recorded);
        self.running = None;
        let stuck = reached == self.recorded;
        self.recorded = reached;
        self.schedule(Instant::now() + if stuck { RETRY } else { GATHER });
    }

    /// Records what is left, in one attempt.
    pub async fn finish(mut self, reader: Reader) {
        if self.running.is_some() {
            self.recorded().await;
        }
        if self.wanted > self.recorded {
            record(reader, self.recorded, self.wanted).await;
        }
    }

    fn schedule(&mut self, at: Instant) {
        if self.wanted > self.recorded {
            self.due.get_or_insert(at);
        }
    }
}

/// Records the changes in (`after`, `up_to`] page by page and gives how far it came.
async fn record(reader: Reader, mut after: i64, up_to: i64) -> i64 {
    while after < up_to {
        match record_page(&reader, after, up_to).await {
            Ok(reached) => after = reached,
            Err(error) => {
                if let Some(connections) = reader.gateway.trouble.count() {
                    tracing::warn!(%error, connections, "acknowledgements wait: they cannot be recorded now");
                }
                break;
            }
        }
    }
    after
}

async fn record_page(reader: &Reader, after: i64, up_to: i64) -> Result<i64, CommandError> {
    let pool = &reader.gateway.pool;
    match inbox::standing(pool, &reader.owner.tenant, &reader.owner.user_id).await {
        Ok(standing) if standing.position >= up_to => {}
        Ok(_) => {
            return Err(CommandError::Unavailable("a crash rewound the inbox, which is folded again".into()));
        }
        Err(QueryError::Parked) => return Err(CommandError::Unavailable(QueryError::Parked.to_string())),
        Err(QueryError::Database(error)) => return Err(error.into()),
    }
    let changes = inbox::changes_of(pool, reader.owner.pair(), (after, up_to), PAGE).await?;
    let complete = (changes.len() as i64) < PAGE;
    let reached = changes.last().filter(|_| !complete).map_or(up_to, |last| last.item.state.position);
    let shown = changes.iter().filter(|change| SHOWING.contains(&change.event.as_str()));
    let at = clock::now();
    let delivered = |(change, part): (&inbox::Change, i32)| Item {
        id: NotificationId::new(change.item.notification),
        action: Action::Deliver { channel: Channel::InApp, attempt: None, outcome: Outcome::delivered(), at },
        part,
    };
    let items: Vec<Item> = shown.zip(1..).map(delivered).collect();
    if items.is_empty() {
        return Ok(reached);
    }
    let request_id = clock::new_uuid().to_string();
    let context = Context { principal: reader.principal.clone(), request_id, idempotency: None, trace: None };
    for result in reader.gateway.commands.execute_many(&context, items).await?.results {
        match result {
            // What was cancelled, or reported otherwise, is none the less acknowledged.
            Ok(_) | Err(CommandError::Refused(_)) => {}
            Err(error @ CommandError::Fault(_)) => {
                tracing::error!(%error, "a delivery that was acknowledged cannot be recorded");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(reached)
}
