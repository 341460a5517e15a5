//! The log against a real Postgres: races, bad data, lost connections, deadlines, epochs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod appending;
mod losing;
mod proxy;

use std::time::Duration;

use cqrs_es::DomainEvent;
use cqrs_es::persist::SerializedEvent;
use futures_util::future::join_all;
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tidings_domain::notification::{
    Action, Command, Content, Create, Event, Notification, Plan, Priority, Tags,
};
use tidings_domain::{Issuer, NotificationId, Tenant};
use tidings_projections::log::{Codec, Fact, KeyRing, MasterKey};
use tokio::time::Instant;

use super::*;
use crate::app;
use crate::clock;
use crate::embedded::{self, Embedded, Wanted};
use crate::telemetry::Metrics;

/// A log of its own, with its own Postgres.
pub(crate) struct Bench {
    embedded: Embedded,
    pub(crate) connect: PgConnectOptions,
    pub(crate) pool: PgPool,
    pub(crate) codec: Codec,
    pub(crate) history: History,
    pub(crate) log: Log,
    _folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::start_through(|options| options).await
    }

    /// The writer connects as `through` says; everything else directly.
    async fn start_through(through: impl FnOnce(PgConnectOptions) -> PgConnectOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let embedded = embedded::start(folder.path(), Wanted { postgres: true, redis: false }).await.unwrap();
        let connect = app::connect_options(embedded.database_url().unwrap()).unwrap();
        let pool = app::open(&connect, 5).await.unwrap();
        app::migrate(&connect).await.unwrap();
        let keys = KeyRing::new(pool.clone(), MasterKey::new([7; 32]));
        let history = History::load(&pool, keys.clone()).await.unwrap();
        let (log, writer) = Writer::new(through(connect.clone()), history.clone(), Metrics::default().log);
        tokio::spawn(writer.run());
        // Nothing follows this log, so nothing holds bulk work back either.
        history.inbox.advance_to(i64::MAX);
        Self { embedded, connect, pool, codec: Codec::new(keys), history, log, _folder: folder }
    }

    pub(crate) async fn stop(self) {
        self.pool.close().await;
        self.embedded.stop().await;
    }

    pub(crate) async fn job(&self, id: NotificationId, sequence: usize) -> Job {
        self.job_for("default", id, sequence).await
    }

    async fn job_for(&self, tenant: &str, id: NotificationId, sequence: usize) -> Job {
        let (command_id, epoch) = (clock::new_uuid(), self.log.epoch());
        let event = if sequence == 1 { created() } else { Event::Seen {} };
        let fact = Fact::Notification(id, event.clone());
        let event = SerializedEvent {
            aggregate_id: id.to_string(),
            sequence,
            aggregate_type: "notification".into(),
            event_type: event.event_type(),
            event_version: event.event_version(),
            payload: json!(event),
            metadata: json!({"command_id": command_id.to_string()}),
        };
        let event = JobEvent::prepare(&self.codec, &event, fact, tenant, Some("alice")).await.unwrap();
        Job { command_id, epoch, events: vec![event], record: None, deadline: in_seconds(5) }
    }

    pub(crate) async fn append(&self, job: Job) -> Result<Appended, AppendError> {
        self.log.append(job, Lane::Single).await
    }

    async fn append_all(&self, jobs: Vec<Job>) -> Vec<Result<Appended, AppendError>> {
        join_all(jobs.into_iter().map(|job| self.append(job))).await
    }

    /// Every position of the log; panics on a hole.
    async fn positions(&self) -> usize {
        // A server that was just killed under a test comes back in a moment.
        let deadline = in_seconds(20);
        let (head, positions): (i64, Vec<i64>) = loop {
            let both = "SELECT (SELECT position FROM log_head), \
                               ARRAY(SELECT position FROM events ORDER BY position)";
            match sqlx::query_as(both).fetch_one(&self.pool).await {
                Ok(both) => break both,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        assert!(positions.iter().copied().eq(1..=positions.len() as i64), "a hole in {positions:?}");
        assert_eq!(head, positions.len() as i64, "the head is where the events end");
        positions.len()
    }
}

/// The least a notification may say.
pub(crate) fn create(user: &str) -> Create {
    Create {
        user: user.to_owned().try_into().unwrap(),
        content: Content::new("Hello".into(), String::new(), None).unwrap(),
        category: None,
        priority: Priority::Normal,
        plan: Plan::default(),
        data: None,
        tags: Tags::default(),
        deliver_at: None,
        expires_at: None,
        now: clock::now(),
        opening: None,
    }
}

fn created() -> Event {
    let issuer = Issuer { tenant: Tenant::default_tenant(), user: None };
    let command = Command { issuer, action: Action::Create(Box::new(create("alice"))) };
    Notification::default().decide(&command).unwrap().remove(0)
}

pub(crate) fn fresh_id() -> NotificationId {
    NotificationId::new(clock::new_uuid())
}

fn in_seconds(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn record(key: &str) -> Record {
    Record {
        tenant: "default".into(),
        principal: "service".into(),
        key: key.into(),
        alias: None,
        part: 0,
        request_hash: [1; 32],
        status: 201,
        result: json!({"id": key}),
    }
}

fn is_stored(result: &Result<Appended, AppendError>) -> bool {
    matches!(result, Ok(Appended::Stored { .. }))
}
