//! The epochs of the log as this node knows them, and what must be forgotten when a new one begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::{PgExecutor, PgPool};
use tidings_projections::log::{Cursor, CursorError, Epochs, KeyRing, Tail, Watermark};
use tidings_projections::read_model::Checkpoint;
use tidings_projections::{delivery, inbox, subscribers};
use tokio::sync::watch;

/// How long a checkpoint that was rewound is left alone.
const REWOUND_POLL: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub struct History {
    epochs: Arc<watch::Sender<Arc<Epochs>>>,
    /// The end of the log.
    pub head: Watermark,
    /// How far the read models have followed it.
    pub inbox: Watermark,
    pub timers: Watermark,
    pub delivery: Watermark,
    pub subscribers: Watermark,
    pub tail: Tail,
    keys: KeyRing,
    behind: Arc<AtomicBool>,
}

impl History {
    /// Reads the epochs; the log must exist.
    pub async fn load(pool: &PgPool, keys: KeyRing) -> Result<Self, sqlx::Error> {
        let epochs = Epochs::load(pool).await?;
        let history = Self {
            epochs: Arc::new(watch::Sender::new(Arc::new(epochs))),
            head: Watermark::default(),
            inbox: Watermark::default(),
            timers: Watermark::default(),
            delivery: Watermark::default(),
            subscribers: Watermark::default(),
            tail: Tail::default(),
            keys,
            behind: Arc::default(),
        };
        history.head.advance_to(head(pool).await?);
        Ok(history)
    }

    /// Whether the stream shows a later history than this node's database has. Nothing may be appended then.
    pub fn database_is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    pub fn set_database_behind(&self, behind: bool) {
        self.behind.store(behind, Ordering::Relaxed);
    }

    pub fn epochs(&self) -> Arc<Epochs> {
        self.epochs.borrow().clone()
    }

    /// Wakes on every new epoch.
    pub fn watch(&self) -> watch::Receiver<Arc<Epochs>> {
        self.epochs.subscribe()
    }

    pub fn cursor(&self, position: i64) -> Cursor {
        self.epochs.borrow().cursor(position)
    }

    /// The position a client's cursor stands for, checked against a head at least as new as the cursor.
    pub async fn resolve(
        &self,
        pool: &PgPool,
        cursor: Cursor,
    ) -> Result<Result<i64, CursorError>, sqlx::Error> {
        if cursor.position > self.head.get() || cursor.epoch > self.epochs().current().number {
            self.refresh(pool).await?;
        }
        Ok(self.epochs().resolve(cursor, self.head.get()))
    }

    /// Returns once the inbox has followed the log up to `position`.
    pub async fn inbox_reached(&self, pool: &PgPool, position: i64) -> Result<(), sqlx::Error> {
        reached(&self.inbox, position, || inbox::checkpoint(pool)).await
    }

    /// The same for the deliveries.
    pub async fn delivery_reached(&self, pool: &PgPool, position: i64) -> Result<(), sqlx::Error> {
        reached(&self.delivery, position, || delivery::checkpoint(pool)).await
    }

    /// The same for the subscribers.
    pub async fn subscribers_reached(&self, pool: &PgPool, position: i64) -> Result<(), sqlx::Error> {
        reached(&self.subscribers, position, || subscribers::checkpoint(pool)).await
    }

    /// Learns the head, and the epochs if a new one began elsewhere.
    pub async fn refresh(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let (position, epoch): (i64, i64) =
            sqlx::query_as("SELECT position, epoch FROM log_head").fetch_one(pool).await?;
        self.adopt(pool, epoch).await?;
        self.head.advance_to(position);
        Ok(())
    }

    /// Takes over a greater epoch. What this node remembers may belong to the history that was lost, so it
    /// forgets all of it.
    pub async fn adopt(&self, executor: impl PgExecutor<'_>, epoch: i64) -> Result<(), sqlx::Error> {
        if epoch <= self.epochs().current().number {
            return Ok(());
        }
        let epochs = Arc::new(Epochs::load(executor).await?);
        let current = epochs.current();
        // Several may have learned of it at once; one forgets and tells.
        self.epochs.send_if_modified(|known| {
            let begins = current.number > known.current().number;
            if let Some(first_position) = epochs.fork_after(known.current().number) {
                let epoch = current.number;
                tracing::warn!(epoch, first_position, "a new epoch began");
                self.keys.clear();
                self.tail.clear();
                self.head.reset_to(first_position - 1);
                let models = [&self.inbox, &self.timers, &self.delivery, &self.subscribers];
                models.into_iter().for_each(|model| model.reset_to(0));
                *known = epochs;
            }
            begins
        });
        Ok(())
    }
}

/// What this node remembers is checked against the checkpoint: a crash of Postgres rewinds that.
async fn reached<F>(known: &Watermark, position: i64, checkpoint: impl Fn() -> F) -> Result<(), sqlx::Error>
where
    F: Future<Output = Result<Checkpoint, sqlx::Error>>,
{
    loop {
        known.reached(position).await;
        if checkpoint().await?.position >= position {
            return Ok(());
        }
        tokio::time::sleep(REWOUND_POLL).await;
    }
}

async fn head(executor: impl PgExecutor<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT position FROM log_head").fetch_one(executor).await
}
