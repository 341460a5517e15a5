//! One broadcast, from where the log says it stands to its end. While one chunk is appended the next is made.

use std::pin::Pin;
use std::time::Duration;

use cqrs_es::Aggregate;
use futures_util::future::{MaybeDone, maybe_done};
use futures_util::poll;
use tidings_domain::broadcast::{Audience, Broadcast, Chunk, Life};
use tidings_domain::{BroadcastId, UserId};
use tidings_projections::broadcast::{Overview, fold};
use tidings_projections::subscribers::{Users, subscribed};

use super::Workshop;
use super::chunk::{Chain, RECIPIENTS_MAX};
use super::error::FanOutError;
use crate::batch_size::BatchSize;
use crate::log::{AppendError, Appended, Lane};

/// How long subscribers whose checkpoint was rewound by a crash are left alone.
const REWOUND_POLL: Duration = Duration::from_millis(50);
/// How long a full queue is left alone.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// How long those who were faster are let go on: they may be filling the same windows.
const CONFLICT_PAUSE: Duration = Duration::from_millis(10);

type Append<F> = Pin<Box<MaybeDone<F>>>;

impl Workshop {
    /// Makes what is missing; gives the position of the end, whoever brought that about. An error leaves everything for
    /// another try.
    pub(super) async fn fan_out(&self, id: BroadcastId) -> Result<i64, FanOutError> {
        // A chunk is made anew when anything else is collected or counted for one of its recipients meanwhile, which is the
        // likelier the larger it is.
        let mut recipients = BatchSize::new(RECIPIENTS_MAX);
        loop {
            let events = self.reader.ends_of(&self.pool, Broadcast::TYPE, &id.to_string()).await?;
            let overview = fold(&events)?.ok_or(FanOutError::Absent)?;
            if overview.state.life != Life::Running {
                return Ok(overview.position);
            }
            match self.go_on(overview, &mut recipients).await {
                Ok(()) => {}
                // It was cancelled, somebody else works on it, or its recipients were told of something else: the log knows.
                Err(FanOutError::Append(AppendError::Conflict)) => {
                    recipients.was_too_much();
                    tokio::time::sleep(CONFLICT_PAUSE).await;
                }
                Err(FanOutError::Append(AppendError::Busy)) => tokio::time::sleep(BUSY_PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns when the last chunk is recorded.
    async fn go_on(&self, overview: Overview, recipients: &mut BatchSize) -> Result<(), FanOutError> {
        let mut chain = Chain::new(overview, self);
        let mut under_way = None;
        loop {
            let users = self.users(&chain, recipients.get()).await?;
            let is_last = users.len() < recipients.get();
            let chunk = Chunk {
                number: chain.state.chunks + 1,
                last_user: users.last().cloned(),
                count: users.len() as u32,
                is_last,
            };
            let job = chain.job(users, chunk, self.log.epoch()).await?;
            // Handed in before the answer to the one before it, a chunk would follow whatever took that one's place: the log
            // asks for a predecessor, not for which. It could be a cancellation.
            if let Some(append) = under_way.take() {
                done(append).await?;
                recipients.went_well();
            }
            let mut append = Box::pin(maybe_done(self.log.append(job, Lane::Bulk)));
            // The first poll puts the job into the queue.
            let _ = poll!(&mut append);
            if is_last {
                return done(append).await;
            }
            under_way = Some(append);
        }
    }

    /// Those who come next, at most so many.
    async fn users(&self, chain: &Chain, limit: usize) -> Result<Vec<UserId>, FanOutError> {
        let last_user = chain.state.last_user.as_ref();
        let topic = match &chain.created.audience {
            Audience::UserIds(users) => return Ok(users.after(last_user, limit).to_vec()),
            Audience::Topic(topic) => topic,
        };
        let users = Users {
            tenant: chain.created.tenant.as_str(),
            topic: topic.as_str(),
            after: last_user.map_or("", UserId::as_str),
            at: Some(chain.created_position),
            limit: limit as i64,
        };
        loop {
            let page = subscribed(&self.pool, users).await?;
            if page.position >= chain.created_position {
                let users = page.names.into_iter().map(UserId::try_from);
                return Ok(users.collect::<Result<_, _>>()?);
            }
            tokio::time::sleep(REWOUND_POLL).await;
        }
    }
}

async fn done<F>(mut append: Append<F>) -> Result<(), FanOutError>
where
    F: Future<Output = Result<Appended, AppendError>>,
{
    append.as_mut().await;
    match append.as_mut().take_output() {
        Some(result) => Ok(result.map(drop)?),
        None => Ok(()),
    }
}
