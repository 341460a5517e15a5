//! Works off what is due outside: claims deliveries, calls their channels, and reports how that went as commands.
//!
//! Any number of nodes do so at once. Who may make an attempt is decided by the notification and nobody else: a worker that
//! lost its lease, its database or its life leaves a deadline behind, after which another one takes over. So nothing is
//! stuck, and no attempt is made twice.

mod lanes;
mod leases;
mod places;
pub mod policies;
mod quiet_hours;
mod run;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sqlx::PgPool;
use tidings_projections::log::{Reader, Watermark};
use tidings_projections::processor::Committed;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::channels::Channels;
use crate::clock;
use crate::commands::Commands;
use crate::directory::Directory;
use crate::telemetry::Trouble;
use crate::telemetry::metrics::DispatchMetrics;
use lanes::Lanes;
use leases::{Claim, Leased, Leases};
use places::Places;
use run::{Ended, Worker};

/// What another node has folded may be due before this one learns of it; this is how late it can be.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While much is due, places that become free are filled together.
const GATHER: Duration = Duration::from_millis(5);
const RETRY_AFTER_ERROR: Duration = Duration::from_millis(500);
/// How long a lease is kept for the read model to follow; after that it ends by itself.
const FOLDED_TIMEOUT: Duration = Duration::from_secs(10);
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// A lease that is given back, or kept for so long.
type Settlement = (Leased, Option<Duration>);

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
    places: Places,
    settled: Settled,
    metrics: DispatchMetrics,
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
    pub metrics: DispatchMetrics,
}

impl Dispatcher {
    pub fn new(surroundings: Surroundings, stop: Stop) -> Self {
        let Surroundings { pool, reader, commands, directory, channels, checkpoint, set, .. } = surroundings;
        let Surroundings { concurrency, metrics, .. } = surroundings;
        metrics.places.set(i64::try_from(concurrency).unwrap_or(i64::MAX));
        Self {
            leases: Leases::new(pool.clone(), clock::new_uuid()),
            lanes: Lanes::default(),
            worker: Arc::new(Worker { pool, reader, commands, directory, channels }),
            checkpoint,
            set,
            places: Places::new(concurrency),
            settled: Settled::default(),
            metrics,
            swept: Instant::now(),
            stop,
        }
    }

    /// Runs until it is stopped. What fails is tried again, for ever.
    pub async fn run(mut self) {
        // What is claimed while it is stopped is waited for, too.
        let _claiming = self.stop.runs.token();
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
                        self.places.freed().await;
                        tokio::time::sleep(GATHER).await;
                    }
                    Ok(Turn::Again) => tokio::time::sleep(GATHER).await,
                    Ok(Turn::Idle { next, wait, barred }) => {
                        let places = self.places.clone();
                        let freed = async {
                            if !barred {
                                std::future::pending().await
                            }
                            places.freed().await;
                            tokio::time::sleep(GATHER).await;
                        };
                        tokio::select! {
                            _ = tokio::time::timeout(wait, self.set_before(next)) => {}
                            () = freed => {}
                        }
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
        let now = Instant::now();
        let room = self.places.room(now);
        if room.all == 0 {
            return Ok(Turn::Full);
        }
        let look = self.leases.claim(self.lanes.passes(), &room).await?;
        let begun = look.claims.len();
        self.lanes.served(look.served);
        look.claims.into_iter().for_each(|claim| self.begin(claim));
        if look.more {
            return Ok(if begun == room.all { Turn::Full } else { Turn::Again });
        }
        let next = self.leases.next_due().await?;
        let held = room.held_until.map_or(LOOK_EVERY, |until| until.saturating_duration_since(now));
        let wait = next.map_or(LOOK_EVERY, |(_, wait)| wait).min(held).min(LOOK_EVERY);
        // The room of before: what was claimed just now may be all that there is room for, too.
        let after = self.places.room(now);
        let barred = after.quiet == 0 || after.queues.iter().any(|(_, room)| *room <= 0);
        Ok(Turn::Idle { next: next.map(|(at, _)| at), wait, barred })
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
        let queue = (claim.tenant.clone(), claim.leased.channel);
        let place = self.places.take(queue.clone(), claim.lane);
        let (worker, settled, checkpoint, places) =
            (self.worker.clone(), self.settled.clone(), self.checkpoint.clone(), self.places.clone());
        let (under_way, counted) = (self.stop.runs.token(), self.metrics.take_place());
        tokio::spawn(async move {
            let ended = worker.run(&claim).await;
            if let Ended::Held { pause } = ended {
                places.hold(queue, pause);
            }
            drop((under_way, place, counted, worker));
            let pause = match ended {
                Ended::At(position) => {
                    let folded = tokio::time::timeout(FOLDED_TIMEOUT, checkpoint.reached(position)).await;
                    if folded.is_err() {
                        return;
                    }
                    None
                }
                Ended::PutOff { pause } | Ended::Held { pause } => Some(pause),
            };
            settled.lock().push((claim.leased, pause));
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
    /// There are places, and more may be due.
    Again,
    /// All that is due is claimed, but for what is `barred` until a place is free or a pause is over; when the next is due,
    /// and how long to wait at most.
    Idle { next: Option<OffsetDateTime>, wait: Duration, barred: bool },
}
