//! One delivery, from its claim to the outcome of an attempt. What is decided here is how the world stands (who is asleep,
//! what is set up, what an endpoint answered); what follows from it is decided by the notification.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tidings_domain::notification::{
    self, Action, DeferReason, Delivery, DeliveryStatus, Error, Failure, FailureClass, Jitter, Outcome,
    Priority, SkipReason,
};
use tidings_domain::recipient::Recipient;
use tidings_domain::settings::{Semantics, Settings};
use tidings_domain::{NotificationId, RecipientId, Tenant};
use tidings_projections::log::{Outage, ReadError, Reader};
use tidings_projections::notification::Overview;
use time::OffsetDateTime;

use super::leases::Claim;
use super::quiet_hours::quiet_until;
use crate::auth::Principal;
use crate::channels::{Cause, Channels, Message, NoRoute, Route, Sent};
use crate::clock;
use crate::commands::{CommandError, Commands, Context, Item};
use crate::directory::Directory;
use crate::render::{Part, Said};

/// What an attempt gets beyond the channel's timeout, to have its outcome recorded.
const MARGIN: Duration = Duration::from_secs(5);
/// What a channel gets beyond its own timeout to say that it came to that.
const GRACE: Duration = Duration::from_secs(1);
/// How long an outcome is kept in the hope that it can be recorded after all: nobody else knows it.
const RECORDING: Duration = Duration::from_secs(60);
const RECORD_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// What cannot be looked at now is looked at again then.
const AWAY: Duration = Duration::from_secs(5);
/// How long whoever finds an endpoint on trial waits to ask again.
const TRIAL: Duration = Duration::from_secs(1);
/// What only another binary, or a mending, can help is looked at again then.
const BROKEN: Duration = Duration::from_secs(300);

/// What became of a claim.
pub enum Ended {
    /// Everything about it is at or before this position.
    At(i64),
    /// Nothing was done; it is looked at again after that.
    PutOff { pause: Duration },
    /// The same, and nothing else of the tenant goes out on the channel meanwhile.
    Held { pause: Duration },
}

pub struct Worker {
    pub pool: PgPool,
    pub reader: Reader,
    pub commands: Arc<Commands>,
    pub directory: Directory,
    pub channels: Channels,
}

/// An attempt that may begin.
struct Subject {
    context: Context,
    overview: Overview,
    recipient: Arc<Recipient>,
    settings: Arc<Settings>,
    channel: notification::Channel,
    /// The one that may begin.
    attempt: u32,
    /// The one before it, which nobody knows how it went.
    lost: Option<u32>,
}

/// Why a run ended before its time.
enum Stopped {
    /// It cannot be done now.
    Away(String),
    /// No repetition helps.
    Broken(String),
    Ended(Ended),
}

type Step<T> = Result<T, Stopped>;

impl Worker {
    pub async fn run(&self, claim: &Claim) -> Ended {
        let id = NotificationId::new(claim.leased.notification);
        let stopped = match self.work_on(claim, id).await {
            Ok(position) => return Ended::At(position),
            Err(stopped) => stopped,
        };
        match stopped {
            Stopped::Ended(ended) => ended,
            Stopped::Away(error) => {
                tracing::debug!(notification = %id, error, "a delivery is put off");
                Ended::PutOff { pause: AWAY }
            }
            Stopped::Broken(error) => {
                tracing::error!(notification = %id, error, "a delivery cannot be worked on");
                Ended::PutOff { pause: BROKEN }
            }
        }
    }

    async fn work_on(&self, claim: &Claim, id: NotificationId) -> Step<i64> {
        let subject = self.subject(claim, id).await?;
        let expires_at = subject.overview.state.expires_at.filter(|expires_at| *expires_at <= claim.now());
        if let (Some(at), None) = (expires_at, subject.lost) {
            let expired = self.act(&subject, Action::Expire { at }).await;
            return expired.map_err(|error| subject.stopped_by(error));
        }
        if let Some(outcome) = subject.unwanted() {
            return self.record(&subject, subject.current(), outcome).await;
        }
        // Before quiet hours are asked: they would leave the lost attempt behind, and the next one would send again.
        if let Some(lost) = subject.lost.filter(|_| subject.is_at_most_once()) {
            return self.record(&subject, lost, lost_outcome()).await;
        }
        if let Some(defer) = subject.deferred(claim.now()) {
            return self.act_or_lose(&subject, defer).await;
        }
        let addresses = &subject.recipient.profile.addresses;
        let tenant = subject.context.principal.tenant();
        let route = match self.channels.route(tenant, subject.channel, addresses).await {
            Ok(route) => route,
            Err(NoRoute::Skip(reason)) => {
                return self.record(&subject, subject.current(), Outcome::Skipped { reason }).await;
            }
            Err(NoRoute::LeftAlone { pause, whole, cause }) => {
                return self.left_alone(claim, &subject, cause, (pause, whole)).await;
            }
            // Not for long: it may be set up anew meanwhile.
            Err(NoRoute::Paced { pause }) => {
                return Err(Stopped::Ended(Ended::Held { pause: pause.min(AWAY) }));
            }
            Err(NoRoute::Unavailable(error)) => return Err(unread(error)),
        };
        // Before the attempt begins: what cannot be said yet is not begun either.
        let said = self.said(&subject).await?;
        let (now, begun) = (claim.now(), tokio::time::Instant::now());
        let time_limit = route.timeout() + GRACE;
        let (channel, attempt, deadline) = (subject.channel, subject.attempt, now + time_limit + MARGIN);
        self.act_or_lose(&subject, Action::Start { channel, attempt, now, deadline }).await?;
        let outcome = match (time_limit + MARGIN / 2).checked_sub(begun.elapsed()) {
            Some(left) => send(&route, &subject.message(said), time_limit.min(left)).await,
            // Another worker takes the attempt for lost before this one could tell how it went.
            None => failed(FailureClass::Transient, "it took too long to begin".into()),
        };
        self.record(&subject, attempt, outcome).await
    }

    /// Nobody may be called. Of an endpoint that fails, that is an attempt that failed, at the time that the policy gives it, where
    /// another channel stands by; else it waits, and says so where it takes long.
    async fn left_alone(
        &self,
        claim: &Claim,
        subject: &Subject,
        cause: Cause,
        (pause, whole): (Duration, bool),
    ) -> Step<i64> {
        let (channel, attempt, now) = (subject.channel, subject.attempt, claim.now());
        // A trial tells in a moment how it went.
        let is_long = cause != Cause::Trial && pause > AWAY;
        if cause == Cause::Failing && self.stands_by(subject).await? {
            let deadline = now + RECORDING + MARGIN;
            self.act_or_lose(subject, Action::Start { channel, attempt, now, deadline }).await?;
            let why = "nobody was called: its endpoints have failed too often lately";
            return self.record(subject, attempt, failed(FailureClass::Transient, why.into())).await;
        }
        let (until, reason) = (now + pause, DeferReason::EndpointFailing);
        let in_time = subject.overview.state.expires_at.is_none_or(|expires_at| until < expires_at);
        if !whole && in_time && is_long {
            return self.act_or_lose(subject, Action::Defer { channel, attempt, now, until, reason }).await;
        }
        let pause = pause.min(if cause == Cause::Trial { TRIAL } else { AWAY });
        Err(Stopped::Ended(if whole { Ended::Held { pause } } else { Ended::PutOff { pause } }))
    }

    /// Whether the step after this one waits for it to fail, and reaches somebody.
    async fn stands_by(&self, subject: &Subject) -> Step<bool> {
        let deliveries = &subject.overview.state.deliveries;
        let next = deliveries.iter().skip_while(|delivery| delivery.channel != subject.channel).nth(1);
        let Some(next) = next.filter(|next| next.status == DeliveryStatus::Waiting) else { return Ok(false) };
        let Subject { recipient, settings, overview, context, .. } = subject;
        let category = overview.created.category.as_ref();
        if !settings.admits(&recipient.preferences, category, next.channel) {
            return Ok(false);
        }
        let (tenant, addresses) = (context.principal.tenant(), &recipient.profile.addresses);
        self.channels.reaches(tenant, next.channel, addresses).await.map_err(unread)
    }

    /// The delivery as it stands now, where there is something to do.
    async fn subject(&self, claim: &Claim, id: NotificationId) -> Step<Subject> {
        let tenant =
            Tenant::try_from(claim.tenant.clone()).map_err(|error| Stopped::Broken(error.to_string()))?;
        let ids = [id.to_string()];
        let events = self.reader.of_aggregates(&self.pool, "notification", &ids).await;
        let events = events.map_err(unread)?;
        let overview = Overview::fold(&events).map_err(|error| Stopped::Broken(error.to_string()))?;
        let overview = overview.ok_or_else(|| Stopped::Broken("it is not in the log".into()))?;
        let channel = claim.leased.channel;
        let delivery = overview.state.deliveries.iter().find(|delivery| delivery.channel == channel);
        let (attempt, lost) = delivery
            .and_then(|delivery| next_attempt(delivery, claim.now()))
            .ok_or(Stopped::Ended(Ended::At(overview.position)))?;
        let recipient = self.directory.recipient(&tenant, &overview.user).await;
        let recipient = recipient.map_err(unread)?;
        let settings = self.directory.settings(&tenant).await;
        let settings = settings.map_err(unread)?;
        let request_id = format!("dispatch-{}", clock::new_uuid());
        let principal = Principal::Dispatcher { tenant };
        let context = Context { principal, request_id, idempotency: None, trace: None };
        Ok(Subject { context, overview, recipient, settings, channel, attempt, lost })
    }

    /// What the recipient is told there, in his language and on his clock.
    async fn said(&self, subject: &Subject) -> Step<Said> {
        let created = &subject.overview.created;
        let Some(content) = &created.content else { return Ok(Said::default()) };
        let reader = RecipientId { tenant: created.tenant.clone(), user: subject.overview.user.clone() };
        let said = self.directory.words(&reader, content, parts(subject.channel)).await;
        said.map_err(|error| Stopped::Away(error.to_string()))
    }

    /// Begins or defers an attempt. Where none may begin after one that was lost, that is said instead.
    async fn act_or_lose(&self, subject: &Subject, action: Action) -> Step<i64> {
        match (self.act(subject, action).await, subject.lost) {
            (Ok(position), _) => Ok(position),
            (
                Err(CommandError::Refused(
                    Error::NoAttemptLeft | Error::Stopped { .. } | Error::Cancelled | Error::Expired,
                )),
                Some(lost),
            ) => {
                let position = self.record(subject, lost, lost_outcome()).await?;
                Err(Stopped::Ended(Ended::At(position)))
            }
            (Err(error), _) => Err(subject.stopped_by(error)),
        }
    }

    /// Reports an outcome, until it is recorded or nobody needs it any more.
    async fn record(&self, subject: &Subject, attempt: u32, outcome: Outcome) -> Step<i64> {
        let (channel, at) = (subject.channel, clock::now());
        let action = Action::Deliver { channel, attempt: Some(attempt), outcome, at };
        let until = tokio::time::Instant::now() + RECORDING;
        loop {
            match self.act(subject, action.clone()).await {
                Ok(position) => return Ok(position),
                Err(error @ (CommandError::Refused(_) | CommandError::Fault(_))) => {
                    return Err(subject.stopped_by(error));
                }
                Err(error) if tokio::time::Instant::now() >= until => return Err(subject.stopped_by(error)),
                Err(_) => tokio::time::sleep(RECORD_AGAIN_AFTER).await,
            }
        }
    }

    /// What is loud goes with single commands; the rest is bulk work and must not hold those up.
    async fn act(&self, subject: &Subject, action: Action) -> Result<i64, CommandError> {
        let (context, id) = (&subject.context, subject.overview.id);
        if subject.overview.created.priority >= Priority::High {
            return self.commands.act(context, id, action).await.map(|done| done.position);
        }
        let mut many = self.commands.execute_many(context, vec![Item { id, action, part: 1 }]).await?;
        many.results.pop().unwrap_or(Err(CommandError::Conflict)).map(|done| done.position)
    }
}

/// Whether it helps to come back, the error itself knows.
fn unread(error: ReadError) -> Stopped {
    if error.is_outage() { Stopped::Away(error.to_string()) } else { Stopped::Broken(error.to_string()) }
}

/// The number of the attempt that may begin now, and of the one before it where that was lost.
fn next_attempt(delivery: &Delivery, now: OffsetDateTime) -> Option<(u32, Option<u32>)> {
    match delivery.status {
        DeliveryStatus::Pending | DeliveryStatus::Scheduled => {
            delivery.due_at.is_none_or(|due_at| due_at <= now).then_some((delivery.attempt, None))
        }
        DeliveryStatus::Started => delivery
            .deadline
            .is_some_and(|deadline| deadline <= now)
            .then_some((delivery.attempt + 1, Some(delivery.attempt))),
        DeliveryStatus::Waiting
        | DeliveryStatus::Delivered
        | DeliveryStatus::Skipped
        | DeliveryStatus::Exhausted
        | DeliveryStatus::DeadLettered
        | DeliveryStatus::Cancelled
        | DeliveryStatus::Expired => None,
    }
}

/// What a channel shows of a template.
fn parts(channel: notification::Channel) -> &'static [Part] {
    use Part::{ActionUrl, Body, EmailHtml, EmailSubject, EmailText, Slack, Title};
    match channel {
        notification::Channel::InApp | notification::Channel::Webhook | notification::Channel::WebPush => {
            &Part::IN_APP
        }
        notification::Channel::Email => &[Title, Body, ActionUrl, EmailSubject, EmailText, EmailHtml],
        notification::Channel::Slack => &[Title, Body, ActionUrl, Slack],
    }
}

fn lost_outcome() -> Outcome {
    Outcome::Failed { failure: Failure::lost(), retry_after_s: None, jitter: Jitter(0) }
}

async fn send(route: &Route, message: &Message, time_limit: Duration) -> Outcome {
    let sent = tokio::time::timeout(time_limit, route.send(message)).await;
    match sent {
        Ok(Sent::Delivered { provider_ref }) => Outcome::Delivered { provider_ref },
        Ok(Sent::Failed { failure, retry_after_s }) => {
            Outcome::Failed { failure, retry_after_s, jitter: jitter() }
        }
        Ok(Sent::Refused { failure }) => Outcome::Failed { failure, retry_after_s: None, jitter: jitter() },
        Err(_) => {
            // What may have been taken over is not sent again where that is not wanted.
            let class = if route.is_at_most_once() { FailureClass::Unknown } else { FailureClass::Transient };
            failed(class, "it did not answer in time".into())
        }
    }
}

fn failed(class: FailureClass, detail: String) -> Outcome {
    Outcome::Failed { failure: Failure { class, detail }, retry_after_s: None, jitter: jitter() }
}

/// The low bits of a fresh id are random.
fn jitter() -> Jitter {
    Jitter(clock::new_uuid().as_u128() as u32)
}

impl Subject {
    /// The attempt that stands in the log now.
    fn current(&self) -> u32 {
        self.lost.unwrap_or(self.attempt)
    }

    /// Whether what may have been taken over is left alone.
    fn is_at_most_once(&self) -> bool {
        let configured = self.settings.channels.get(&self.channel);
        configured.is_some_and(|known| known.settings.semantics == Semantics::AtMostOnce)
    }

    /// Why the recipient is not to be reached there.
    fn unwanted(&self) -> Option<Outcome> {
        let created = &self.overview.created;
        let category = created.category.as_ref();
        let admits = self.settings.admits(&self.recipient.preferences, category, self.channel);
        let reason = match (admits, &created.content) {
            (false, _) => SkipReason::Preference,
            // The recipient was forgotten, and nothing is left to say or to say it to.
            (true, None) => SkipReason::NoAddress,
            (true, Some(_)) => return None,
        };
        Some(Outcome::Skipped { reason })
    }

    fn is_critical(&self) -> bool {
        self.settings.is_critical(self.overview.created.category.as_ref())
    }

    fn deferred(&self, now: OffsetDateTime) -> Option<Action> {
        let hours = self.recipient.preferences.quiet_hours.filter(|_| !self.is_critical())?;
        let until = quiet_until(hours, self.recipient.profile.time_zone.as_ref(), now)?;
        let (channel, attempt, reason) = (self.channel, self.attempt, DeferReason::QuietHours);
        Some(Action::Defer { channel, attempt, now, until, reason })
    }

    fn message(&self, said: Said) -> Message {
        let (overview, created) = (&self.overview, &self.overview.created);
        Message {
            tenant: created.tenant.clone(),
            notification: overview.id,
            user: overview.user.clone(),
            channel: self.channel,
            attempt: self.attempt,
            category: created.category.clone(),
            critical: self.is_critical(),
            priority: created.priority,
            created_at: overview.created_at,
            expires_at: created.expires_at,
            words: said.words,
            parts: said.parts,
            data: created.data.clone(),
            locale: self.recipient.profile.locale.clone(),
        }
    }

    /// A refusal says that somebody else was faster, or that it is not wanted any more: the log is ahead of what was claimed.
    fn stopped_by(&self, error: CommandError) -> Stopped {
        match error {
            CommandError::Refused(_) => Stopped::Ended(Ended::At(self.overview.position)),
            CommandError::Fault(error) => Stopped::Broken(error),
            error => Stopped::Away(error.to_string()),
        }
    }
}
