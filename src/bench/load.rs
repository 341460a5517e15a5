//! Writing: durable creates, one by one and in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::try_join_all;
use indicatif::ProgressBar;
use tokio::sync::Notify;

use super::BenchError;
use super::client::Http;
use super::listener::Listeners;
use super::quantity::{Arrived, Latencies, notification, scattered, user};
use super::report::Figure;
use super::target::Target;

const WARM_UP: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(100);
/// The largest batch the API takes.
const BATCH: u64 = 1_000;
/// The inbox has caught up with a batch long before.
const FRAME_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Args, Clone)]
pub struct Post {
    /// Requests in flight
    #[arg(long, default_value_t = 128)]
    concurrency: u64,
    /// How long
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Over how many users
    #[arg(long, default_value_t = 10_000)]
    users: u64,
}

impl Post {
    pub fn terms(&self) -> String {
        format!("{} at a time, {} s, {} users", self.concurrency, self.seconds, self.users)
    }

    pub async fn run(&self, target: &Target, progress: &ProgressBar) -> Result<Vec<Figure>, BenchError> {
        self.load(target, WARM_UP, progress).await?;
        let (latencies, took) = self.load(target, Duration::from_secs(self.seconds), progress).await?;
        let rate = latencies.count() as f64 / took.as_secs_f64();
        let mut figures = vec![Figure::new("durable creates", rate, "/s")];
        figures.extend(latencies.figures());
        Ok(figures)
    }

    async fn load(
        &self,
        target: &Target,
        time: Duration,
        progress: &ProgressBar,
    ) -> Result<(Latencies, Duration), BenchError> {
        let (latencies, stop, numbers) = (Latencies::default(), AtomicBool::new(false), AtomicU64::new(0));
        let client = async || {
            let mut http = Http::connect(target).await?;
            while !stop.load(Ordering::Relaxed) {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let body = notification(&user(scattered(number, self.users)), number, "normal");
                let sent = Instant::now();
                http.post("/v1/notifications", body).await?;
                latencies.record(sent.elapsed());
            }
            Ok::<(), BenchError>(())
        };
        let started = Instant::now();
        let clock = async {
            progress.set_length(time.as_millis() as u64);
            while started.elapsed() < time {
                tokio::time::sleep(TICK).await;
                progress.set_position(started.elapsed().as_millis() as u64);
                progress.set_message(format!("{} creates", latencies.count()));
            }
            stop.store(true, Ordering::Relaxed);
            Ok(())
        };
        tokio::try_join!(try_join_all((0..self.concurrency).map(|_| client())), clock)?;
        let took = started.elapsed();
        Ok((latencies, took))
    }
}

#[derive(Args, Clone)]
pub struct Batch {
    /// Requests in flight
    #[arg(long, default_value_t = 4)]
    concurrency: u64,
    /// How many batches of 1,000
    #[arg(long, default_value_t = 100)]
    batches: u64,
    /// Over how many users
    #[arg(long, default_value_t = 10_000)]
    users: u64,
}

impl Batch {
    pub fn terms(&self) -> String {
        format!("{} batches of {BATCH}, {} at a time, {} users", self.batches, self.concurrency, self.users)
    }

    /// While batches are taken, urgent singles go to a user who listens, one after the other.
    pub async fn run(&self, target: &Target, progress: &ProgressBar) -> Result<Vec<Figure>, BenchError> {
        fill(target, 20 * BATCH, self.users, self.concurrency, progress).await?;
        let urgent = Arc::new(Latencies::default());
        let arrived = Arc::new(Notify::new());
        let mut listeners = Listeners::default();
        let on = {
            let (urgent, arrived) = (urgent.clone(), arrived.clone());
            move |_, frame: &str| {
                if let Some(frame) = Arrived::read(frame) {
                    urgent.record(frame.after);
                    arrived.notify_one();
                }
            }
        };
        let listener = self.users;
        listeners.open(target, 0..1, |_| listener, on, progress).await?;
        let (started, done) = (Instant::now(), AtomicBool::new(false));
        let batches = async {
            fill(target, self.batches * BATCH, self.users, self.concurrency, progress).await?;
            done.store(true, Ordering::Relaxed);
            Ok::<Duration, BenchError>(started.elapsed())
        };
        let singles = async {
            let mut http = Http::connect(target).await?;
            while !done.load(Ordering::Relaxed) {
                http.post("/v1/notifications", notification(&user(listener), 0, "urgent")).await?;
                let frame = tokio::time::timeout(FRAME_TIMEOUT, arrived.notified()).await;
                frame.map_err(|_| BenchError::Lost { missing: 1, wrong: 0 })?;
            }
            Ok(())
        };
        let (took, ()) = tokio::try_join!(batches, singles)?;
        let rate = (self.batches * BATCH) as f64 / took.as_secs_f64();
        let mut figures = vec![Figure::new("durable creates", rate, "/s")];
        figures.extend(urgent.figures().into_iter().map(|figure| figure.of("urgent single, POST to frame")));
        Ok(figures)
    }
}

/// Creates notifications in batches, scattered over users.
pub async fn fill(
    target: &Target,
    notifications: u64,
    users: u64,
    at_once: u64,
    progress: &ProgressBar,
) -> Result<(), BenchError> {
    progress.set_length(notifications);
    progress.set_position(0);
    progress.set_message("notifications");
    let next = AtomicU64::new(0);
    let sender = async || {
        let mut http = Http::connect(target).await?;
        loop {
            let from = next.fetch_add(BATCH, Ordering::Relaxed);
            if from >= notifications {
                return Ok::<(), BenchError>(());
            }
            let numbers = from..notifications.min(from + BATCH);
            let bodies: Vec<String> = numbers
                .map(|number| notification(&user(scattered(number, users)), number, "normal"))
                .collect();
            let body = format!(r#"{{"notifications":[{}]}}"#, bodies.join(","));
            http.post("/v1/notifications/batch", body).await?;
            progress.inc(bodies.len() as u64);
        }
    };
    try_join_all((0..at_once).map(|_| sender())).await?;
    Ok(())
}
