//! Reaching sockets: from a POST to its frame, one frame to many, and what many cost that hear nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::try_join_all;
use indicatif::ProgressBar;

use super::BenchError;
use super::client::Http;
use super::listener::Listeners;
use super::quantity::{Arrivals, Arrived, Latencies, notification, notification_of, scattered, user};
use super::report::Figure;
use super::target::Target;

/// Each waits for its answer: so many may be under way.
const CLIENTS: u64 = 256;
/// How long frames may be on their way after the last POST.
const FRAMES_TIMEOUT: Duration = Duration::from_secs(20);
const WARM_UP_SECONDS: u64 = 3;
/// Memory that opening took and nothing uses any more is given back by then.
const SETTLE: Duration = Duration::from_secs(3);
/// Sockets that are there before memory is counted: what the first ones need once is not theirs.
const IDLE_BEFORE: u64 = 100;

#[derive(Args, Clone)]
pub struct EndToEnd {
    /// Open sockets, of a user each
    #[arg(long, default_value_t = 1_000)]
    pub sockets: u64,
    /// POSTs per second, over all users
    #[arg(long, default_value_t = 1_000)]
    pub rate: u64,
    /// How long
    #[arg(long, default_value_t = 30)]
    pub seconds: u64,
}

impl EndToEnd {
    pub fn terms(&self) -> String {
        format!("{} sockets, {} POSTs/s for {} s", self.sockets, self.rate, self.seconds)
    }

    pub async fn run(&self, target: &Target, progress: &ProgressBar) -> Result<Vec<Figure>, BenchError> {
        let warm_up = self.rate * WARM_UP_SECONDS;
        let total = self.rate * self.seconds;
        let latencies = Arc::new(Latencies::default());
        let arrivals = Arc::new(Arrivals::of(warm_up + total));
        let mut listeners = Listeners::default();
        let (sockets, measured) = (self.sockets, latencies.clone());
        let on = {
            let arrivals = arrivals.clone();
            move |number, frame: &str| {
                let Some(arrived) = Arrived::read(frame) else { return };
                if arrived.number >= warm_up {
                    measured.record(arrived.after);
                }
                arrivals.note(arrived.number, scattered(arrived.number, sockets) == number);
            }
        };
        listeners.open(target, 0..sockets, |number| number, on, progress).await?;
        self.send(target, 0..warm_up, progress).await?;
        let took = self.send(target, warm_up..warm_up + total, progress).await?;
        arrivals.all(FRAMES_TIMEOUT).await?;
        let mut figures = vec![Figure::new("rate", total as f64 / took.as_secs_f64(), "/s")];
        figures.extend(latencies.figures().into_iter().map(|figure| figure.of("POST to frame")));
        Ok(figures)
    }

    /// Each POST at its time, however long those before it take. One that finds no free client is late, and its
    /// frame counts from when it was due.
    async fn send(
        &self,
        target: &Target,
        numbers: std::ops::Range<u64>,
        progress: &ProgressBar,
    ) -> Result<Duration, BenchError> {
        progress.set_length(numbers.end - numbers.start);
        progress.set_position(0);
        progress.set_message("POSTs");
        let (next, started) = (AtomicU64::new(numbers.start), Instant::now());
        let sender = async || {
            let mut http = Http::connect(target).await?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    return Ok::<(), BenchError>(());
                }
                let due =
                    started + Duration::from_secs_f64((number - numbers.start) as f64 / self.rate as f64);
                tokio::time::sleep_until(due.into()).await;
                let to = user(scattered(number, self.sockets));
                http.post("/v1/notifications", notification_of(&to, number, "normal", due)).await?;
                progress.inc(1);
            }
        };
        try_join_all((0..CLIENTS).map(|_| sender())).await?;
        Ok(started.elapsed())
    }
}

#[derive(Args, Clone)]
pub struct FanOut {
    /// Open sockets, all of one user
    #[arg(long, default_value_t = 5_000)]
    pub sockets: u64,
    /// Notifications, one after the other
    #[arg(long, default_value_t = 20)]
    notifications: u64,
}

impl FanOut {
    pub fn terms(&self) -> String {
        format!("{} sockets of one user, {} notifications", self.sockets, self.notifications)
    }

    /// A notification is on its way from its POST until its last frame has arrived.
    pub async fn run(&self, target: &Target, progress: &ProgressBar) -> Result<Vec<Figure>, BenchError> {
        let (sockets, latencies) = (self.sockets, Arc::new(Latencies::default()));
        let arrivals: Vec<Arrivals> = (0..=self.notifications).map(|_| Arrivals::of(sockets)).collect();
        let arrivals = Arc::new(arrivals);
        let mut listeners = Listeners::default();
        let on = {
            let (arrivals, latencies) = (arrivals.clone(), latencies.clone());
            move |socket, frame: &str| {
                let Some(arrived) = Arrived::read(frame) else { return };
                if arrived.number > 0 {
                    latencies.record(arrived.after);
                }
                if let Some(arrivals) = arrivals.get(arrived.number as usize) {
                    arrivals.note(socket, true);
                }
            }
        };
        listeners.open(target, 0..self.sockets, |_| 0, on, progress).await?;
        progress.set_length(self.notifications);
        progress.set_position(0);
        progress.set_message("notifications");
        let mut http = Http::connect(target).await?;
        let whole = Latencies::default();
        let mut all = Duration::ZERO;
        // The first one warms up.
        for (number, arrivals) in (0..).zip(&*arrivals) {
            let sent = Instant::now();
            http.post("/v1/notifications", notification(&user(0), number, "normal")).await?;
            arrivals.all(FRAMES_TIMEOUT).await?;
            if number > 0 {
                whole.record(sent.elapsed());
                all += sent.elapsed();
                progress.inc(1);
            }
        }
        let frames = (self.notifications * self.sockets) as f64;
        let mut figures = vec![Figure::new("frames", frames / all.as_secs_f64(), "/s")];
        figures.extend(whole.figures().into_iter().map(|figure| figure.of("POST to last frame")));
        figures.extend(latencies.figures().into_iter().map(|figure| figure.of("POST to frame")));
        Ok(figures)
    }
}

#[derive(Args, Clone)]
pub struct Idle {
    /// Open sockets, of a user each
    #[arg(long, default_value_t = 10_000)]
    sockets: u64,
    /// How long their processor time is watched; heartbeats come every 25 s
    #[arg(long, default_value_t = 50)]
    seconds: u64,
}

impl Idle {
    pub fn terms(&self) -> String {
        format!("{} sockets, {} s", self.sockets, self.seconds)
    }

    pub async fn run(&self, target: &Target, progress: &ProgressBar) -> Result<Vec<Figure>, BenchError> {
        let mut listeners = Listeners::default();
        let silent = |_: u64, _: &str| {};
        listeners.open(target, 0..IDLE_BEFORE, |number| number, silent, progress).await?;
        let before = target.usage()?;
        let all = IDLE_BEFORE..IDLE_BEFORE + self.sockets;
        listeners.open(target, all, |number| number, silent, progress).await?;
        tokio::time::sleep(SETTLE).await;
        let opened = target.usage()?;
        progress.set_length(self.seconds);
        progress.set_message("seconds");
        for second in 0..self.seconds {
            progress.set_position(second);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let after = target.usage()?;
        let bytes = opened.resident_bytes.saturating_sub(before.resident_bytes) as f64;
        let of_a_core = |used: Duration| used.as_secs_f64() / self.seconds as f64 * 100.0;
        Ok(vec![
            Figure::new("resident memory per socket", bytes / self.sockets as f64 / 1_024.0, "KiB"),
            Figure::new("service", of_a_core(after.own - opened.own), "% of a core"),
            Figure::new(
                "with Postgres and Redis",
                of_a_core(after.with_children.saturating_sub(opened.with_children)),
                "% of a core",
            ),
        ])
    }
}
