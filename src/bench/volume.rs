//! What must cost the same, or go fast, when there is much of it: long inboxes, and logs to fold anew.

use std::time::{Duration, Instant};

use clap::Args;
use indicatif::ProgressBar;

use super::BenchError;
use super::client::Http;
use super::load::fill;
use super::quantity::{Latencies, user};
use super::report::Figure;
use super::target::Target;

const AT_ONCE: u64 = 4;
const USERS: u64 = 10_000;

#[derive(Args, Clone)]
pub struct Inbox {
    /// Sizes at which it is read, growing
    #[arg(long, value_delimiter = ',', default_value = "100,10000,100000")]
    items: Vec<u64>,
    /// Reads of each kind at each size
    #[arg(long, default_value_t = 500)]
    reads: u64,
}

impl Inbox {
    pub fn terms(&self) -> String {
        format!("one user, {:?} items, {} reads each", self.items, self.reads)
    }

    pub async fn run(&self, target: &Target, progress: &ProgressBar) -> Result<Vec<Figure>, BenchError> {
        let (mut figures, mut have) = (Vec::new(), 0);
        for &items in &self.items {
            fill(target, items.saturating_sub(have), 1, AT_ONCE, progress).await?;
            have = have.max(items);
            figures.extend(self.pages(target, &format!("{have} items"), progress).await?);
        }
        Ok(figures)
    }

    /// The first page, a filtered one, an empty one, and the counts, of the one user there is.
    async fn pages(
        &self,
        target: &Target,
        size: &str,
        progress: &ProgressBar,
    ) -> Result<Vec<Figure>, BenchError> {
        let mut http = Http::connect(target).await?;
        let inbox = format!("/v1/users/{}/inbox", user(0));
        let mut figures = Vec::new();
        progress.set_length(self.reads);
        for (what, path) in [
            ("first page", format!("{inbox}?limit=20")),
            ("unread", format!("{inbox}?limit=20&state=unread")),
            ("archived (none)", format!("{inbox}?limit=20&state=archived")),
            ("counts", format!("{inbox}/counts")),
        ] {
            progress.set_position(0);
            progress.set_message(format!("{what} of {size}"));
            let latencies = Latencies::default();
            for _ in 0..self.reads {
                let sent = Instant::now();
                http.get(&path).await?;
                latencies.record(sent.elapsed());
                progress.inc(1);
            }
            let what = format!("{size}, {what}");
            figures.extend(latencies.figures().into_iter().map(|figure| figure.of(&what)));
        }
        Ok(figures)
    }
}

#[derive(Args, Clone)]
pub struct Rebuild {
    /// How long the log is
    #[arg(long, default_value_t = 300_000)]
    events: u64,
}

impl Rebuild {
    pub fn terms(&self) -> String {
        format!("{} events of {USERS} users; inbox and delivery together, the service idle", self.events)
    }

    /// With the start of the command, the comparison and the swap.
    pub async fn run(&self, target: &Target, progress: &ProgressBar) -> Result<Vec<Figure>, BenchError> {
        fill(target, self.events, USERS, AT_ONCE, progress).await?;
        progress.set_message("rebuilding");
        progress.enable_steady_tick(Duration::from_millis(200));
        let started = Instant::now();
        target.run(&["rebuild", "inbox", "delivery"]).await?;
        let took = started.elapsed().as_secs_f64();
        Ok(vec![Figure::new("events", self.events as f64 / took, "/s"), Figure::new("in all", took, "s")])
    }
}
