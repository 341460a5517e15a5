//! A backlog of e-mails that are due, with urgent single ones in between: a real SMTP conversation for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::try_join_all;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::BenchError;
use super::client::Http;
use super::mailbox::Mailbox;
use super::quantity::{Latencies, user};
use super::report::Figure;
use super::target::Target;

/// Notifications of one request.
const BATCH: u64 = 1_000;
/// Requests at once.
const SENDERS: usize = 4;
const URGENT_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two urgent ones.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Args, Clone)]
pub struct Emails {
    /// How many are due, all of them low
    #[arg(long, default_value_t = 100_000)]
    due: u64,
    /// How many urgent ones are posted, one after the other, while those are worked off
    #[arg(long, default_value_t = 100)]
    urgent: u64,
}

impl Emails {
    pub fn terms(&self) -> String {
        format!("{} low ones due, {} urgent ones in between", self.due, self.urgent)
    }

    pub async fn run(&self, target: &Target, progress: &ProgressBar) -> Result<Vec<Figure>, BenchError> {
        let lows = Arc::new(AtomicU64::new(0));
        let arrived = Arc::new(Notify::new());
        let mailbox = Mailbox::open({
            let (lows, arrived) = (lows.clone(), arrived.clone());
            move |subject| {
                if subject == "urgent" {
                    arrived.notify_one();
                } else {
                    lows.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
        .await?;
        let mut http = Http::connect(target).await?;
        let smtp = json!({
            "host": mailbox.address.ip(), "port": mailbox.address.port(), "security": "none", "from": "bench@bench.example",
        });
        let channel = json!({"providers": [{"name": "bench", "smtp": smtp}]});
        http.put("/v1/channels/email", channel.to_string()).await?;
        let reader = json!({"addresses": {"email": "reader@bench.example"}});
        http.put(&format!("/v1/users/{}", user(0)), reader.to_string()).await?;
        let posted = self.fill(target, progress).await?;

        let (began, sent_before) = (Instant::now(), lows.load(Ordering::Relaxed));
        let left = self.due.saturating_sub(sent_before);
        let urgent = Latencies::default();
        progress.set_length(self.urgent);
        progress.set_position(0);
        progress.set_message("urgent ones");
        for _ in 0..self.urgent {
            let posting = Instant::now();
            http.post("/v1/notifications", email("urgent").to_string()).await?;
            let seen = tokio::time::timeout(URGENT_TIMEOUT, arrived.notified()).await;
            seen.map_err(|_| BenchError::Lost { missing: 1, wrong: 0 })?;
            urgent.record(posting.elapsed());
            progress.inc(1);
            tokio::time::sleep(PAUSE).await;
        }
        let sent = lows.load(Ordering::Relaxed) - sent_before;
        let mut figures = vec![
            Figure::new("creates, 1,000 at once", self.due as f64 / posted.as_secs_f64(), "/s"),
            Figure::new("low ones due when the first urgent came", left as f64, ""),
            Figure::new("low ones sent meanwhile", sent as f64 / began.elapsed().as_secs_f64(), "/s"),
        ];
        figures.extend(urgent.figures().into_iter().map(|figure| figure.of("urgent single, POST to e-mail")));
        Ok(figures)
    }

    /// Creates what is due.
    async fn fill(&self, target: &Target, progress: &ProgressBar) -> Result<Duration, BenchError> {
        progress.set_length(self.due);
        progress.set_position(0);
        progress.set_message("due ones");
        let began = Instant::now();
        let turn = AtomicU64::new(0);
        let sender = async || {
            let mut http = Http::connect(target).await?;
            loop {
                let from = turn.fetch_add(BATCH, Ordering::Relaxed);
                let count = self.due.saturating_sub(from).min(BATCH);
                if count == 0 {
                    return Ok::<(), BenchError>(());
                }
                let many = vec![email("low"); usize::try_from(count).unwrap_or_default()];
                http.post("/v1/notifications/batch", json!({"notifications": many}).to_string()).await?;
                progress.inc(count);
            }
        };
        try_join_all((0..SENDERS).map(|_| sender())).await?;
        Ok(began.elapsed())
    }
}

/// Nothing of it is in an inbox.
fn email(priority: &str) -> Value {
    json!({
        "user_id": user(0), "priority": priority, "plan": [{"channel": "email"}],
        "content": {"title": priority, "body": "It is due."},
    })
}
