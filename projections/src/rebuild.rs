//! Builds a read model anew from the log, beside the live one, and puts it in its place while the live one serves.
//!
//! Both are compared before the swap. Where they agree nobody notices the swap; where they differ, the recipients
//! concerned begin a new generation, so that whoever was shown something wrong is told to start over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor, PgConnection};
use tokio::sync::mpsc;

use crate::log::{ReadError, Reader, Recorded};
use crate::parking::Parked;
use crate::processor::SESSION;
use crate::read_model::{Batch, ReadModel, Schema, UserKey, begin_waiting, checkpoint};

/// Events folded in one transaction while nobody waits.
const FILL_EVENTS: i64 = 4_000;
/// Pages read ahead of the one that is folded.
const READ_AHEAD: usize = 2;
/// The swap begins when no more recipients than this were touched since the last comparison: it holds up the live
/// model, so it must be short.
const TOUCHED_MAX: usize = 300;
/// Under a load that touches more than that during each comparison, it begins all the same.
const NARROWING_ROUNDS_MAX: usize = 10;
/// Rows that differ and are named one by one; where there are more, everybody is told to start over.
const DIFFERENCES_MAX: usize = 10_000;
/// How long a live model that is behind is waited for.
const LIVE_TIMEOUT: Duration = Duration::from_secs(60);
const LIVE_POLL: Duration = Duration::from_millis(20);
/// How long the swap waits for readers before it lets them pass and tries again.
const SWAP_LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '200ms'";
const SWAP_RETRY: Duration = Duration::from_millis(50);
const SWAP_ATTEMPTS_MAX: usize = 200;

#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("it is being rebuilt already")]
    Running,
    #[error("readers kept the tables busy; the live read model stays as it was")]
    Busy,
    #[error("the live read model does not follow the log")]
    LiveBehind,
    #[error("somebody else changed the tables that were being built")]
    Disturbed,
}

/// A row that is not what the log says.
#[derive(Clone, Debug, PartialEq, serde::Serialize, sqlx::FromRow)]
pub struct Difference {
    #[sqlx(rename = "table_name")]
    pub table: String,
    pub tenant: String,
    pub user_id: String,
    /// As it stood; `None` where it was missing.
    #[sqlx(rename = "live_row")]
    pub live: Option<Value>,
    /// As the log says; `None` where there should be none.
    #[sqlx(rename = "rebuilt_row")]
    pub rebuilt: Option<Value>,
}

/// What a rebuild did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Events folded before the swap.
    pub events: i64,
    /// How long that took, without comparison and swap.
    pub folding: Duration,
    /// The rows that differed, at most 10,000 and one.
    pub differences: Vec<Difference>,
}

/// What a rebuild works with.
#[derive(Clone)]
pub struct Site {
    pub connect: PgConnectOptions,
    pub reader: Reader,
}

pub type Page = Arc<Vec<Arc<Recorded>>>;

/// Reads the log once, up to where it ends now, for several rebuilds at the same time.
pub fn read_for(site: &Site, builders: usize) -> Vec<mpsc::Receiver<Page>> {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..builders).map(|_| mpsc::channel(READ_AHEAD)).unzip();
    let site = site.clone();
    tokio::spawn(async move {
        if let Err(error) = site.read_pages(&senders).await {
            tracing::error!(%error, "the log cannot be read for a rebuild");
        }
    });
    receivers
}

impl Site {
    async fn read_pages(&self, builders: &[mpsc::Sender<Page>]) -> Result<(), ReadError> {
        let mut connection = self.connect.clone().application_name("tidings rebuild").connect().await?;
        let head: i64 =
            sqlx::query_scalar("SELECT position FROM log_head").fetch_one(&mut connection).await?;
        let mut after = 0;
        while after < head {
            let page = self.reader.after(&mut connection, after, FILL_EVENTS).await?;
            let Some(last) = page.last() else { break };
            after = last.position;
            let page = Arc::new(page);
            for builder in builders {
                // One that failed needs no more; the others go on.
                let _ = builder.send(page.clone()).await;
            }
        }
        Ok(())
    }
}

/// Rebuilds one model. `pages` brings the log from its beginning; the rest is read here.
pub async fn rebuild<M: ReadModel>(site: &Site, pages: mpsc::Receiver<Page>) -> Result<Report, RebuildError> {
    let schema = Schema::rebuild::<M>();
    let mut control = site.connect.clone().application_name("tidings rebuild").connect().await?;
    // Held by the session: a crash frees it, and the next rebuild clears what is left.
    let alone: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
        .bind(format!("tidings rebuild {}", Schema::live::<M>().name))
        .fetch_one(&mut control)
        .await?;
    if !alone {
        return Err(RebuildError::Running);
    }
    schema.drop(&mut control).await?;
    schema.create(&mut control).await?;
    let mut building = Building::<M>::open(site).await?;
    let done = building.run(&mut control, pages).await;
    if done.is_err() {
        let _ = schema.drop(&mut control).await;
    }
    done
}

struct Building<'a, M> {
    site: &'a Site,
    live: Schema,
    schema: Schema,
    connection: PgConnection,
    model: M,
    parked: Parked,
    position: i64,
    /// Recipients whose rows changed since the last comparison.
    touched: BTreeSet<UserKey>,
    report: Report,
}

impl<'a, M: ReadModel> Building<'a, M> {
    async fn open(site: &'a Site) -> Result<Self, RebuildError> {
        let schema = Schema::rebuild::<M>();
        Ok(Self {
            site,
            live: Schema::live::<M>(),
            connection: schema.connect(&site.connect, "tidings rebuild", SESSION).await?,
            schema,
            model: M::default(),
            parked: Parked::default(),
            position: 0,
            touched: BTreeSet::new(),
            report: Report::default(),
        })
    }

    async fn run(
        &mut self,
        control: &mut PgConnection,
        mut pages: mpsc::Receiver<Page>,
    ) -> Result<Report, RebuildError> {
        let began = Instant::now();
        while let Some(page) = pages.recv().await {
            self.fold(page.to_vec()).await?;
        }
        (self.report.events, self.report.folding) = (self.position, began.elapsed());
        self.schema.create_indexes(control).await?;
        self.schema.analyze(control).await?;
        self.catch_up().await?;
        self.touched.clear();
        self.look(None).await?;
        for _ in 0..SWAP_ATTEMPTS_MAX {
            self.catch_up().await?;
            for _ in 0..NARROWING_ROUNDS_MAX {
                if self.touched.len() <= TOUCHED_MAX {
                    break;
                }
                let touched = std::mem::take(&mut self.touched);
                self.look(Some(touched)).await?;
                self.catch_up().await?;
            }
            if self.swap().await? {
                return Ok(std::mem::take(&mut self.report));
            }
            tokio::time::sleep(SWAP_RETRY).await;
        }
        Err(RebuildError::Busy)
    }

    /// One page, in a transaction of its own.
    async fn fold(&mut self, events: Vec<Arc<Recorded>>) -> Result<(), RebuildError> {
        if begin_waiting(&mut self.connection).await?.is_none_or(|at| at.position != self.position) {
            return Err(RebuildError::Disturbed);
        }
        self.apply(events).await?;
        self.connection.execute("COMMIT").await?;
        Ok(())
    }

    /// Folds events that follow, inside the transaction that is open.
    async fn apply(&mut self, events: Vec<Arc<Recorded>>) -> Result<(), RebuildError> {
        let Some(last) = events.last().map(|event| event.position) else { return Ok(()) };
        self.touched.extend(events.iter().filter_map(|e| Some((e.tenant.clone(), e.recipient.clone()?))));
        let batch = Batch { events, parked: &mut self.parked, checkpoint: Some(last) };
        self.model.apply(&mut self.connection, batch).await?;
        // The swap gives those who are parked their generation.
        self.parked.store(&mut self.connection, 0).await?;
        self.position = last;
        Ok(())
    }

    /// Folds what the live model has folded by now. Where that is behind, it is waited for: rows that it is about to
    /// write are no differences.
    async fn catch_up(&mut self) -> Result<(), RebuildError> {
        let mut live = self.live.connect(&self.site.connect, "tidings rebuild", SESSION).await?;
        let began = Instant::now();
        loop {
            let reached = checkpoint(&mut live).await?.position;
            if reached > self.position {
                let limit = FILL_EVENTS.min(reached - self.position);
                let events = self.site.reader.after(&mut live, self.position, limit).await?;
                self.fold(events).await?;
            } else if reached == self.position {
                return Ok(());
            } else if began.elapsed() > LIVE_TIMEOUT {
                return Err(RebuildError::LiveBehind);
            } else {
                tokio::time::sleep(LIVE_POLL).await;
            }
        }
    }

    /// Compares while the live model moves on: whoever differs is looked at once more under its lock.
    async fn look(&mut self, users: Option<BTreeSet<UserKey>>) -> Result<(), RebuildError> {
        let found = self.compare(users).await?;
        if found.len() > DIFFERENCES_MAX {
            self.report.differences = found;
        } else {
            self.touched.extend(found.into_iter().map(|one| (one.tenant, one.user_id)));
        }
        Ok(())
    }

    /// Rows that differ: of everybody, or of the recipients named.
    async fn compare(&mut self, users: Option<BTreeSet<UserKey>>) -> Result<Vec<Difference>, RebuildError> {
        let (tenants, names): (Option<Vec<String>>, Option<Vec<String>>) = match users {
            Some(users) => {
                let (tenants, names) = users.into_iter().unzip();
                (Some(tenants), Some(names))
            }
            None => (None, None),
        };
        // Everybody's rows are joined best by whatever the planner finds; a few recipients' by their keys.
        if names.is_none() {
            self.connection.execute("SET enable_seqscan = on").await?;
            self.connection.execute("SET enable_hashjoin = on").await?;
        }
        let found: Vec<Difference> =
            sqlx::query_as("SELECT * FROM read_model_differences($1, $2, $3, $4) LIMIT $5")
                .bind(&self.live.name)
                .bind(&self.schema.name)
                .bind(&tenants)
                .bind(&names)
                .bind(DIFFERENCES_MAX as i64 + 1)
                .fetch_all(&mut self.connection)
                .await?;
        if names.is_none() {
            self.connection.execute("SET enable_seqscan = off").await?;
            self.connection.execute("SET enable_hashjoin = off").await?;
        }
        Ok(found)
    }

    /// False where readers, or a live model that is behind for a moment, stood in the way: nothing was done then.
    async fn swap(&mut self) -> Result<bool, RebuildError> {
        let before = (self.position, self.touched.clone());
        self.connection.execute("BEGIN").await?;
        let done = self.swap_locked().await;
        match done {
            Ok(true) => {
                self.connection.execute("COMMIT").await?;
                Ok(true)
            }
            Ok(false) => {
                self.take_back(before).await?;
                Ok(false)
            }
            // 55P03: a lock was not to be had in time; 40P01: a reader and the swap waited for each other.
            Err(RebuildError::Database(error))
                if matches!(
                    error.as_database_error().and_then(|e| e.code()).as_deref(),
                    Some("55P03" | "40P01")
                ) =>
            {
                tracing::debug!(%error, "the swap lets readers pass");
                self.take_back(before).await?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn swap_locked(&mut self) -> Result<bool, RebuildError> {
        let reached: i64 = sqlx::query_scalar("SELECT position FROM read_model_lock($1)")
            .bind(&self.live.name)
            .fetch_one(&mut self.connection)
            .await?;
        // A crash of Postgres rewinds the live model, which is catching up.
        if reached < self.position {
            return Ok(false);
        }
        while self.position < reached {
            let limit = FILL_EVENTS.min(reached - self.position);
            let events = self.site.reader.after(&mut self.connection, self.position, limit).await?;
            self.apply(events).await?;
        }
        let touched = std::mem::take(&mut self.touched);
        let everybody = self.report.differences.len() > DIFFERENCES_MAX;
        if !everybody {
            self.report.differences = self.compare(Some(touched)).await?;
        }
        let differences = &self.report.differences;
        let named: BTreeSet<(&str, &str)> = differences
            .iter()
            .filter(|_| !everybody)
            .map(|difference| (difference.tenant.as_str(), difference.user_id.as_str()))
            .collect();
        sqlx::query("SELECT read_model_adopt($1, $2, $3, $4, $5)")
            .bind(&self.live.name)
            .bind(&self.schema.name)
            .bind(named.iter().map(|user| user.0).collect::<Vec<_>>())
            .bind(named.iter().map(|user| user.1).collect::<Vec<_>>())
            .bind(everybody)
            .execute(&mut self.connection)
            .await?;
        self.connection.execute(SWAP_LOCK_TIMEOUT).await?;
        sqlx::query("SELECT read_model_swap($1, $2)")
            .bind(&self.live.name)
            .bind(&self.schema.name)
            .execute(&mut self.connection)
            .await?;
        Ok(true)
    }

    /// Forgets what the transaction of the swap did. What it remembered of rows may be ahead of the tables.
    async fn take_back(&mut self, (position, touched): (i64, BTreeSet<UserKey>)) -> Result<(), RebuildError> {
        self.connection.execute("ROLLBACK").await?;
        (self.position, self.touched) = (position, touched);
        self.model = M::default();
        self.parked = Parked::load(&mut self.connection).await?;
        Ok(())
    }
}
