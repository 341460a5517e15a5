//! Works off what is due outside: claims deliveries, calls their channels, and reports how that went as commands.
//!
//! Any number of nodes do so at once. Who may make an attempt is decided by the notification and nobody else: a worker that
//! lost its lease, its database or its life leaves a deadline behind, after which another one takes over. So nothing is
//! stuck, and no attempt is made twice.

mod lanes;
mod leases;
pub mod policies;
mod quiet_hours;
mod run;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sqlx::PgPool;
use tidings_projections::log::{Reader, Watermark};
use tidings_projections::processor::Committed;
use time::OffsetDateTime;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::channels::Channels;
use crate::clock;
use crate::commands::Commands;
use crate::directory::Directory;
use crate::telemetry::Trouble;
use lanes::Lanes;
use leases::{Claim, Leased, Leases};
use run::{Ended, Worker};

/// What another node has folded may be due before this one learns of it; this is how late it can be.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While much is due, places that become free are filled together.
const GATHER: Duration = Duration::from_millis(5);
const RETRY_AFTER_ERROR: Duration = Duration::from_millis(500);
/// How long a lease is kept for the read model to follow; after that it ends by itself.
const FOLDED_TIMEOUT: Duration = Duration::from_secs(10);
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// A lease that is given back, or kept until then.
type Settlement = (Leased, Option<OffsetDateTime>);

/// What is to become of leases.
#[derive(Clone, Default)]
struct Settled(Arc<Mutex<Vec<Settlement>>>);

impl Settled {
    fn lock(&self) -> MutexGuard<'_, Vec<Settlement>> {
        self.0.lock().expect("no code panics while it holds the list")
    }
}

pub struct Dispatcher {
    leases: Leases,
    lanes: Lanes,
    worker: Arc<Worker>,
    /// How far the deliveries have followed the log.
    checkpoint: Watermark,
    /// What this node has folded, each batch with the earliest instant at which there is work.
    set: mpsc::Receiver<Committed<Option<OffsetDateTime>>>,
    slots: Arc<Semaphore>,
    settled: Settled,
    swept: Instant,
    stop: Stop,
}

/// Ends the claiming of a dispatcher, and waits for what is under way.
#[derive(Clone, Default)]
pub struct Stop {
    stop: CancellationToken,
    runs: TaskTracker,
}

impl Stop {
    /// Returns when no call is under way any more. What was claimed and not begun is left to the leases.
    pub async fn drain(&self) {
        self.stop.cancel();
        self.runs.close();
        self.runs.wait().await;
    }
}

/// What a dispatcher works with.
pub struct Surroundings {
    pub pool: PgPool,
    pub reader: Reader,
    pub commands: Arc<Commands>,
    pub directory: Directory,
    pub channels: Channels,
    pub checkpoint: Watermark,
    pub set: mpsc::Receiver<Committed<Option<OffsetDateTime>>>,
    /// Calls that are under way at once.
    pub concurrency: usize,
}

impl Dispatcher {
    pub fn new(surroundings: Surroundings, stop: Stop) -> Self {
        let Surroundings { pool, reader, commands, directory, channels, checkpoint, set, concurrency } =
            surroundings;
        Self {
            leases: Leases::new(pool.clone(), clock::new_uuid()),
            lanes: Lanes::default(),
            worker: Arc::new(Worker { pool, reader, commands, directory, channels }),
            checkpoint,
            set,
            slots: Arc::new(Semaphore::new(concurrency)),
            settled: Settled::default(),
            swept: Instant::now(),
            stop,
        }
    }

    /// Runs until it is stopped. What fails is tried again, for ever.
    pub async fn run(mut self) {
        let mut trouble = Trouble::default();
        let stop = self.stop.stop.clone();
        while !stop.is_cancelled() {
            // What was set until here is found by the look.
            while self.set.try_recv().is_ok() {}
            let turn = self.turn().await;
            match &turn {
                Ok(_) if trouble.ends() => tracing::info!("due deliveries are claimed again"),
                Err(error) if trouble.begins() => {
                    tracing::warn!(%error, "due deliveries cannot be claimed; trying again");
                }
                _ => {}
            }
            let rest = async {
                match turn {
                    Ok(Turn::Full) => {
                        // Never closed.
                        let _ = self.slots.acquire().await;
                        tokio::time::sleep(GATHER).await;
                    }
                    Ok(Turn::Idle { next, wait }) => {
                        let _ = tokio::time::timeout(wait, self.set_before(next)).await;
                    }
                    Err(_) => tokio::time::sleep(RETRY_AFTER_ERROR).await,
                }
            };
            tokio::select! {
                () = rest => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Settles what has ended, and claims what is due for the places that are free.
    async fn turn(&mut self) -> Result<Turn, sqlx::Error> {
        self.settle().await?;
        let free = self.slots.available_permits();
        if free == 0 {
            return Ok(Turn::Full);
        }
        let look = self.leases.claim(self.lanes.passes(), free).await?;
        let found = look.served.len();
        self.lanes.served(look.served);
        look.claims.into_iter().for_each(|claim| self.begin(claim));
        if found == free {
            return Ok(Turn::Full);
        }
        let next = self.leases.next_due().await?;
        let wait = next.map_or(LOOK_EVERY, |(_, wait)| wait.min(LOOK_EVERY));
        Ok(Turn::Idle { next: next.map(|(at, _)| at), wait })
    }

    async fn settle(&mut self) -> Result<(), sqlx::Error> {
        let settled = self.settled.lock().clone();
        self.leases.settle(&settled).await?;
        self.settled.lock().drain(..settled.len());
        if self.swept.elapsed() >= SWEEP_EVERY {
            self.leases.sweep().await?;
            self.swept = Instant::now();
        }
        Ok(())
    }

    fn begin(&self, claim: Claim) {
        let Ok(permit) = self.slots.clone().try_acquire_owned() else { return };
        let (worker, settled, checkpoint) =
            (self.worker.clone(), self.settled.clone(), self.checkpoint.clone());
        let runs = self.stop.runs.clone();
        tokio::spawn(async move {
            let ended = runs.track_future(worker.run(&claim)).await;
            drop((permit, worker));
            let until = match ended {
                Ended::At(position) => {
                    let folded = tokio::time::timeout(FOLDED_TIMEOUT, checkpoint.reached(position)).await;
                    if folded.is_err() {
                        return;
                    }
                    None
                }
                Ended::PutOff(until) => Some(until),
            };
            settled.lock().push((claim.leased, until));
        });
    }

    /// Returns once there is work that is due before the next known.
    async fn set_before(&mut self, next: Option<OffsetDateTime>) {
        while let Some(committed) = self.set.recv().await {
            if committed.output.is_some_and(|set| next.is_none_or(|next| set < next)) {
                return;
            }
        }
        std::future::pending().await
    }
}

enum Turn {
    /// More may be due than there are places.
    Full,
    /// All that is due is claimed; when the next is, and how long to wait at most.
    Idle { next: Option<OffsetDateTime>, wait: Duration },
}
