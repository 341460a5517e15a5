//! One message to the subscribers of a topic, with urgent single ones in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::try_join_all;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::BenchError;
use super::client::Http;
use super::listener::Listeners;
use super::quantity::{Arrived, Latencies, notification, user};
use super::report::Figure;
use super::target::Target;

/// The most users that one request subscribes.
const SUBSCRIBED_AT_ONCE: u64 = 1_000;
const LOOK_EACH: Duration = Duration::from_millis(20);
const FRAME_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two urgent ones.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Args, Clone)]
pub struct Broadcast {
    /// How many are subscribed; nobody of them was ever written to
    #[arg(long, default_value_t = 100_000)]
    subscribers: u64,
}

impl Broadcast {
    pub fn terms(&self) -> String {
        format!("{} subscribers, to whom it is the first notification", self.subscribers)
    }

    /// It has reached everybody when the last one in the order of users has it in his inbox.
    pub async fn run(&self, target: &Target, progress: &ProgressBar) -> Result<Vec<Figure>, BenchError> {
        let subscribing = Instant::now();
        self.subscribe(target, progress).await?;
        let subscribed = self.subscribers as f64 / subscribing.elapsed().as_secs_f64();
        let last = (0..self.subscribers).map(user).max().unwrap_or_default();

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
        let listener = self.subscribers;
        listeners.open(target, 0..1, |_| listener, on, progress).await?;
        let done = AtomicBool::new(false);
        let broadcast = async {
            let took = self.broadcast(target, &last, progress).await?;
            done.store(true, Ordering::Relaxed);
            Ok::<Duration, BenchError>(took)
        };
        let singles = async {
            let mut http = Http::connect(target).await?;
            while !done.load(Ordering::Relaxed) {
                http.post("/v1/notifications", notification(&user(listener), 0, "urgent")).await?;
                let frame = tokio::time::timeout(FRAME_TIMEOUT, arrived.notified()).await;
                frame.map_err(|_| BenchError::Lost { missing: 1, wrong: 0 })?;
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        };
        let (took, ()) = tokio::try_join!(broadcast, singles)?;
        let rate = self.subscribers as f64 / took.as_secs_f64();
        let mut figures = vec![
            Figure::new("notifications into inboxes", rate, "/s"),
            Figure::new("subscriptions, 1,000 at once", subscribed, "/s"),
        ];
        figures.extend(urgent.figures().into_iter().map(|figure| figure.of("urgent single, POST to frame")));
        Ok(figures)
    }

    async fn subscribe(&self, target: &Target, progress: &ProgressBar) -> Result<(), BenchError> {
        progress.set_length(self.subscribers);
        progress.set_position(0);
        progress.set_message("subscriptions");
        let numbers: Vec<u64> = (0..self.subscribers).collect();
        let mut turns = vec![Vec::new(); 4];
        for (turn, numbers) in numbers.chunks(SUBSCRIBED_AT_ONCE as usize).enumerate() {
            turns[turn % 4].push(numbers);
        }
        let sender = async |chunks: Vec<&[u64]>| {
            let mut http = Http::connect(target).await?;
            for chunk in chunks {
                let users: Vec<String> = chunk.iter().map(|number| user(*number)).collect();
                http.put("/v1/topics/bench/subscribers", json!({"user_ids": users}).to_string()).await?;
                progress.inc(users.len() as u64);
            }
            Ok::<(), BenchError>(())
        };
        try_join_all(turns.into_iter().map(sender)).await?;
        Ok(())
    }

    async fn broadcast(
        &self,
        target: &Target,
        last: &str,
        progress: &ProgressBar,
    ) -> Result<Duration, BenchError> {
        let mut http = Http::connect(target).await?;
        let counts = format!("/v1/users/{last}/inbox/counts");
        let before = number(&http.get(&counts).await?, "unread");
        let body =
            json!({"topic": "bench", "content": {"title": "Version 2 is out", "body": "Read what is new."}});
        progress.set_position(0);
        progress.set_message("notifications");
        let began = Instant::now();
        let answer = http.post("/v1/broadcasts", body.to_string()).await?;
        let id = member(&answer, "id");
        let path = format!("/v1/broadcasts/{}", id.as_str().unwrap_or_default());
        loop {
            let shown = http.get(&path).await?;
            progress.set_position(number(&shown, "created"));
            if member(&shown, "status") == "completed" {
                let created = number(&shown, "created");
                if created != self.subscribers {
                    return Err(BenchError::Lost {
                        missing: self.subscribers.saturating_sub(created),
                        wrong: created.saturating_sub(self.subscribers),
                    });
                }
                break;
            }
            tokio::time::sleep(LOOK_EACH).await;
        }
        while number(&http.get(&counts).await?, "unread") <= before {}
        Ok(began.elapsed())
    }
}

fn member(body: &[u8], name: &str) -> Value {
    serde_json::from_slice::<Value>(body).map(|body| body[name].clone()).unwrap_or_default()
}

fn number(body: &[u8], name: &str) -> u64 {
    member(body, name).as_u64().unwrap_or_default()
}
