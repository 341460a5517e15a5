//! The writer: gathers the jobs that wait, appends them in one call, and tells each caller what became of his.
//!
//! It takes what is there and never waits for more. Singles go first; bulk work follows in small calls, held
//! back while the inbox is behind, so that an urgent notification is never queued behind a broadcast.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::History;
use super::append::{self, Verdict};
use super::job::{AppendError, Appended, Job, Lane, Record};
use crate::telemetry::Trouble;
use crate::telemetry::metrics::{AppendFailure, LogMetrics, Waiting};

/// Jobs that may wait in each lane; beyond that callers are told to come back.
const QUEUE_JOBS_MAX: usize = 20_000;
/// Events of one call. Bulk calls are smaller because a single may have to wait for one.
const SINGLE_EVENTS_MAX: usize = 500;
const BULK_EVENTS_MAX: usize = 250;
/// Payload bytes of one call, a bound on memory and on the time of a call.
const CALL_BYTES_MAX: usize = 4 << 20;
/// Bulk work waits while the inbox is further behind than this, but never longer than `PACE_MAX` per call.
const PACED_LAG_EVENTS: i64 = 250;
const PACE_MAX: Duration = Duration::from_millis(100);
/// A call that takes longer is given up and its outcome looked up.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_millis(50);

type Reply = oneshot::Sender<Result<Appended, AppendError>>;

/// What the writer and the caller both need to know when a deadline passes: whether the job went out.
#[derive(Default)]
struct Progress(AtomicU8);

impl Progress {
    const WAITING: u8 = 0;
    const SENT: u8 = 1;
    const ABANDONED: u8 = 2;

    fn claim(&self, to: u8) -> bool {
        self.0.compare_exchange(Self::WAITING, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn is_abandoned(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::ABANDONED
    }
}

struct Pending {
    job: Job,
    progress: Arc<Progress>,
    reply: Reply,
    waiting: Waiting,
}

/// The way in: cheap to clone.
#[derive(Clone)]
pub struct Log {
    singles: mpsc::Sender<Pending>,
    bulk: mpsc::Sender<Pending>,
    history: History,
    metrics: LogMetrics,
}

impl Log {
    /// The epoch that a job is made in, asked before its content is sealed.
    pub fn epoch(&self) -> i64 {
        self.history.epochs().current().number
    }

    /// Waits until the job is committed, refused or past its deadline. Dropping the call does not take the job
    /// back once it was sent.
    pub async fn append(&self, job: Job, lane: Lane) -> Result<Appended, AppendError> {
        if self.history.database_is_behind() {
            return Err(AppendError::DatabaseBehind);
        }
        let deadline = job.deadline;
        let progress = Arc::new(Progress::default());
        let (reply, answer) = oneshot::channel();
        let queue = match lane {
            Lane::Single => &self.singles,
            Lane::Bulk => &self.bulk,
        };
        let waiting = self.metrics.wait(lane);
        let pending = Pending { job, progress: progress.clone(), reply, waiting };
        queue.try_send(pending).map_err(|_| AppendError::Busy)?;
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(result)) => result,
            // The deadline passed, or the writer is gone: what counts is whether the job went out.
            _ if progress.claim(Progress::ABANDONED) => Err(AppendError::Expired),
            _ => Err(AppendError::OutcomeUnknown),
        }
    }
}

pub struct Writer {
    connect: PgConnectOptions,
    history: History,
    singles: Queue,
    bulk: Queue,
    /// Since when bulk work waits for the inbox.
    bulk_held_since: Option<Instant>,
    last_was_bulk: bool,
    connection: Option<PgConnection>,
    /// Where the log ended when the current call was sent.
    head_before_call: i64,
    trouble: Trouble,
    metrics: LogMetrics,
}

struct Queue {
    receiver: mpsc::Receiver<Pending>,
    /// Taken from the channel, but not part of a call yet.
    held: VecDeque<Pending>,
}

impl Queue {
    fn new(receiver: mpsc::Receiver<Pending>) -> Self {
        Self { receiver, held: VecDeque::new() }
    }

    fn fill(&mut self) {
        while self.held.len() < SINGLE_EVENTS_MAX * 2 {
            match self.receiver.try_recv() {
                Ok(pending) => self.held.push_back(pending),
                Err(_) => break,
            }
        }
    }

    /// The next call: in order, one job per aggregate and per key. What collides waits for the call after it.
    fn take(&mut self, events_max: usize) -> Vec<Pending> {
        let (mut taken, mut waits) = (Vec::new(), VecDeque::new());
        let (mut events, mut bytes) = (0, 0);
        let (mut aggregates, mut keys) = (HashSet::new(), HashSet::new());
        while let Some(pending) = self.held.pop_front() {
            if pending.progress.is_abandoned() {
                continue;
            }
            let job = &pending.job;
            let size: usize = job.events.iter().map(|e| e.stored_payload.len()).sum();
            let full = events + job.events.len().max(1) > events_max || bytes + size > CALL_BYTES_MAX;
            if full && !taken.is_empty() {
                self.held.push_front(pending);
                break;
            }
            let ids: HashSet<String> = job.events.iter().map(|e| e.open.aggregate_id.clone()).collect();
            let own_keys: Vec<_> = job.record.iter().flat_map(Record::keys).collect();
            if ids.iter().any(|id| aggregates.contains(id)) || own_keys.iter().any(|key| keys.contains(key)) {
                waits.push_back(pending);
                continue;
            }
            // Only what goes into the call counts as sent.
            if !pending.progress.claim(Progress::SENT) {
                continue;
            }
            aggregates.extend(ids);
            keys.extend(own_keys);
            events += job.events.len().max(1);
            bytes += size;
            taken.push(pending);
        }
        waits.append(&mut self.held);
        self.held = waits;
        taken
    }
}

impl Writer {
    pub fn new(connect: PgConnectOptions, history: History, metrics: LogMetrics) -> (Log, Self) {
        let (singles, single_queue) = mpsc::channel(QUEUE_JOBS_MAX);
        let (bulk, bulk_queue) = mpsc::channel(QUEUE_JOBS_MAX);
        let writer = Self {
            connect,
            history: history.clone(),
            singles: Queue::new(single_queue),
            bulk: Queue::new(bulk_queue),
            bulk_held_since: None,
            last_was_bulk: false,
            connection: None,
            head_before_call: 0,
            trouble: Trouble::default(),
            metrics: metrics.clone(),
        };
        (Log { singles, bulk, history, metrics }, writer)
    }

    /// Runs until every [`Log`] is gone and all it handed in has its answer.
    pub async fn run(mut self) {
        while let Some(batch) = self.next_call().await {
            self.append(batch).await;
        }
    }

    async fn next_call(&mut self) -> Option<Vec<Pending>> {
        loop {
            self.singles.fill();
            self.bulk.fill();
            let (singles, bulk) = (!self.singles.held.is_empty(), !self.bulk.held.is_empty());
            if bulk && self.bulk_may_go() && (!singles || !self.last_was_bulk) {
                (self.bulk_held_since, self.last_was_bulk) = (None, true);
                return Some(self.bulk.take(BULK_EVENTS_MAX));
            }
            if singles {
                self.last_was_bulk = false;
                return Some(self.singles.take(SINGLE_EVENTS_MAX));
            }
            if bulk {
                self.wait_for_pace().await;
                continue;
            }
            tokio::select! {
                Some(pending) = self.singles.receiver.recv() => self.singles.held.push_back(pending),
                Some(pending) = self.bulk.receiver.recv() => self.bulk.held.push_back(pending),
                else => return None,
            }
        }
    }

    fn bulk_may_go(&mut self) -> bool {
        let held_since = *self.bulk_held_since.get_or_insert_with(Instant::now);
        self.lag() <= PACED_LAG_EVENTS || held_since.elapsed() >= PACE_MAX
    }

    fn lag(&self) -> i64 {
        self.history.head.get() - self.history.inbox.get()
    }

    async fn wait_for_pace(&mut self) {
        let caught_up = self.history.head.get() - PACED_LAG_EVENTS;
        let until = self.bulk_held_since.unwrap_or_else(Instant::now) + PACE_MAX;
        tokio::select! {
            Some(pending) = self.singles.receiver.recv() => self.singles.held.push_back(pending),
            () = self.history.inbox.reached(caught_up) => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }

    /// Appends the batch, whatever it takes, until every job has an answer or is past its deadline.
    async fn append(&mut self, batch: Vec<Pending>) {
        let mut calls = VecDeque::from([batch]);
        // Set once a call was sent and its answer lost: the head before it.
        let mut uncertain_since = None;
        while let Some(call) = calls.pop_front() {
            let call = drop_expired(call, uncertain_since.is_some());
            if call.is_empty() {
                continue;
            }
            let called = self.call(&call, uncertain_since).await;
            if let Some(failure) = called.as_ref().err().and_then(CallError::failure) {
                self.metrics.failures.of(failure).inc();
            }
            match called {
                Ok(outcome) => {
                    if self.trouble.ends() {
                        tracing::info!("the log takes appends again");
                    }
                    self.settle(call, outcome).await;
                }
                Err(CallError::Foreign(epoch)) => {
                    calls.push_front(drop_foreign(call, epoch, uncertain_since.is_some()));
                }
                Err(CallError::Data(why)) => refuse_or_split(call, why, &mut calls),
                Err(CallError::NotDone(error) | CallError::Unreachable(error)) => {
                    if self.trouble.begins() {
                        tracing::warn!(%error, "the log takes no appends; trying again");
                    }
                    calls.push_front(call);
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(CallError::Lost(error)) => {
                    if self.trouble.begins() {
                        tracing::warn!(%error, "the log was lost during an append; looking for what became of it");
                    }
                    let head = self.head_before_call;
                    uncertain_since = Some(uncertain_since.map_or(head, |since: i64| since.min(head)));
                    calls.push_front(call);
                }
            }
        }
    }

    async fn call(
        &mut self,
        call: &[Pending],
        uncertain_since: Option<i64>,
    ) -> Result<append::Outcome, CallError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connecting = tokio::time::timeout(CONNECT_TIMEOUT, self.open()).await;
                connecting.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(CallError::Unreachable)?
            }
        };
        // A failover may have lost the keys of what was sealed before it.
        let epoch = self.history.epochs().current().number;
        if call.iter().any(|pending| pending.job.epoch != epoch) {
            self.connection = Some(connection);
            return Err(CallError::Foreign(epoch));
        }
        // Read here: opening a connection may have found that the log ends earlier than it did.
        self.head_before_call = self.history.head.get();
        let jobs = call.iter().map(|pending| &pending.job);
        let sent = Instant::now();
        let answer = append::append(&mut connection, jobs, uncertain_since);
        let answer = tokio::time::timeout(CALL_TIMEOUT, answer).await;
        self.measure(call, sent.elapsed());
        let result = answer.map_err(|_| CallError::Lost(sqlx::Error::PoolTimedOut))?.map_err(CallError::of);
        if !matches!(result, Err(CallError::Lost(_))) {
            self.connection = Some(connection);
        }
        result
    }

    fn measure(&self, call: &[Pending], took: Duration) {
        let Some(lane) = call.first().map(|pending| pending.waiting.lane) else { return };
        let events: usize = call.iter().map(|pending| pending.job.events.len()).sum();
        self.metrics.call_seconds.of(lane).observe(took.as_secs_f64());
        self.metrics.call_events.of(lane).observe(events as f64);
        tracing::trace!(jobs = call.len(), events, elapsed_us = took.as_micros(), "append");
    }

    async fn open(&self) -> Result<PgConnection, sqlx::Error> {
        let session = [
            ("lock_timeout", "2s"),
            ("statement_timeout", "5s"),
            ("idle_in_transaction_session_timeout", "5s"),
            ("jit", "off"),
        ];
        let mut connection =
            self.connect.clone().application_name("tidings log").options(session).connect().await?;
        let (head, epoch): (i64, i64) =
            sqlx::query_as("SELECT head, epoch FROM log_open()").fetch_one(&mut connection).await?;
        self.history.adopt(&mut connection, epoch).await?;
        self.history.head.advance_to(head);
        Ok(connection)
    }

    async fn settle(&mut self, call: Vec<Pending>, outcome: append::Outcome) {
        if let Some(connection) = &mut self.connection
            && let Err(error) = self.history.adopt(connection, outcome.epoch).await
        {
            // Known at the latest when the follower of the log is back, which says what keeps it.
            tracing::debug!(%error, "a new epoch is not known yet");
        }
        let mut position = outcome.first_position - 1;
        let (mut added, mut replies) = (Vec::new(), Vec::new());
        for (pending, verdict) in call.into_iter().zip(outcome.verdicts) {
            let result = match verdict {
                Verdict::Added => {
                    for event in pending.job.events {
                        position += 1;
                        added.push(event.recorded(position, outcome.recorded_at));
                    }
                    Ok(Appended::Stored { position })
                }
                Verdict::AlreadyStored { position } => Ok(Appended::Stored { position }),
                Verdict::Replayed(answer) => Ok(Appended::Replayed(answer)),
                Verdict::Conflict => Err(AppendError::Conflict),
            };
            replies.push((pending.reply, result));
        }
        self.metrics.count(&added);
        self.history.tail.push(added);
        self.history.head.advance_to(position);
        // A caller who hung up does not hear it; the commit stands.
        replies.into_iter().for_each(|(reply, result)| drop(reply.send(result)));
    }
}

fn drop_expired(call: Vec<Pending>, uncertain: bool) -> Vec<Pending> {
    let now = Instant::now();
    let (alive, expired): (Vec<_>, Vec<_>) = call.into_iter().partition(|p| p.job.deadline > now);
    let error = if uncertain { AppendError::OutcomeUnknown } else { AppendError::Expired };
    expired.into_iter().for_each(|p| drop(p.reply.send(Err(error.clone()))));
    alive
}

/// Jobs made in another epoch are not appended in this one: their callers make them anew, with the keys that it has.
fn drop_foreign(call: Vec<Pending>, epoch: i64, uncertain: bool) -> Vec<Pending> {
    let (ours, foreign): (Vec<_>, Vec<_>) = call.into_iter().partition(|p| p.job.epoch == epoch);
    let error = if uncertain { AppendError::OutcomeUnknown } else { AppendError::Conflict };
    foreign.into_iter().for_each(|p| drop(p.reply.send(Err(error.clone()))));
    ours
}

/// One job alone is the culprit; several are halved, so that only the culprit fails.
fn refuse_or_split(mut call: Vec<Pending>, why: String, calls: &mut VecDeque<Vec<Pending>>) {
    if call.len() > 1 {
        let second = call.split_off(call.len() / 2);
        calls.push_front(second);
        calls.push_front(call);
    } else {
        tracing::error!(why, "the log refuses a job's data");
        for pending in call {
            let _ = pending.reply.send(Err(AppendError::Refused(why.clone())));
        }
    }
}

#[derive(Debug)]
enum CallError {
    /// The data of some job is at fault (SQLSTATE classes 22 and 23); nothing was done.
    Data(String),
    /// The server answered with another error; nothing was done.
    NotDone(sqlx::Error),
    /// Some jobs were made in another epoch than this one; nothing was done.
    Foreign(i64),
    /// No connection could be made; nothing was done.
    Unreachable(sqlx::Error),
    /// The connection ended before an answer: done or not done.
    Lost(sqlx::Error),
}

impl CallError {
    /// As it is counted; an epoch that has ended is no failure.
    fn failure(&self) -> Option<AppendFailure> {
        match self {
            Self::Data(_) => Some(AppendFailure::Data),
            Self::NotDone(_) => Some(AppendFailure::NotDone),
            Self::Unreachable(_) => Some(AppendFailure::Unreachable),
            Self::Lost(_) => Some(AppendFailure::Lost),
            Self::Foreign(_) => None,
        }
    }

    fn of(error: sqlx::Error) -> Self {
        let Some(database) = error.as_database_error() else { return Self::Lost(error) };
        let code = database.code().unwrap_or_default();
        match &code[..code.len().min(2)] {
            "22" | "23" => Self::Data(database.message().to_owned()),
            // 57P01 to 57P03, 08xxx: the server goes away; whether the commit was reached is not said.
            "57" if code != "57014" => Self::Lost(error),
            "08" | "XX" => Self::Lost(error),
            _ => Self::NotDone(error),
        }
    }
}
