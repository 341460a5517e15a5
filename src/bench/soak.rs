//! A long time at half load: memory must stay flat, and nothing may fall behind.

use std::convert::Infallible;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use serde::Deserialize;

use super::BenchError;
use super::client::Http;
use super::report::Figure;
use super::sockets::EndToEnd;
use super::target::Target;

const SAMPLE_EACH: Duration = Duration::from_secs(5);
/// Frames that were on their way at the end have arrived; the read models for nobody's eyes follow within this.
const CATCH_UP: Duration = Duration::from_secs(1);
const MIB: f64 = (1 << 20) as f64;

#[derive(Args, Clone)]
pub struct Soak {
    /// Open sockets, of a user each
    #[arg(long, default_value_t = 1_000)]
    sockets: u64,
    /// POSTs per second, over all users
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// How long
    #[arg(long, default_value_t = 20)]
    minutes: u64,
}

/// What `GET /v1/projections` says.
#[derive(Deserialize)]
struct Projections {
    projections: Vec<Projection>,
}

#[derive(Deserialize)]
struct Projection {
    lag_events: i64,
    lag_seconds: f64,
}

/// Over all read models.
#[derive(Clone, Copy, Default)]
struct Sample {
    resident_bytes: u64,
    lag_events: i64,
    lag_seconds: f64,
}

impl Soak {
    pub fn terms(&self) -> String {
        format!("{} sockets, {} POSTs/s for {} min", self.sockets, self.rate, self.minutes)
    }

    pub async fn run(&self, target: &Target, progress: &ProgressBar) -> Result<Vec<Figure>, BenchError> {
        let load = EndToEnd { sockets: self.sockets, rate: self.rate, seconds: self.minutes * 60 };
        let mut http = Http::connect(target).await?;
        let mut samples = Vec::new();
        let mut figures = tokio::select! {
            figures = load.run(target, progress) => figures?,
            Err(broken) = watch(target, &mut http, &mut samples) => return Err(broken),
        };
        tokio::time::sleep(CATCH_UP).await;
        let end = sample(target, &mut http).await?;
        // By a quarter, all that is kept once is there.
        let quarter = samples.get(samples.len() / 4).copied().unwrap_or(end);
        let most = samples.iter().map(|it| it.resident_bytes).max().unwrap_or(end.resident_bytes);
        let latest = samples.iter().map(|it| it.lag_seconds).fold(0.0, f64::max);
        figures.extend([
            Figure::new("resident memory after a quarter", quarter.resident_bytes as f64 / MIB, "MiB"),
            Figure::new("resident memory at the end", end.resident_bytes as f64 / MIB, "MiB"),
            Figure::new("resident memory at most", most as f64 / MIB, "MiB"),
            Figure::new("read models behind at most", latest, "s"),
            Figure::new("read models behind at the end", end.lag_events as f64, "events"),
        ]);
        Ok(figures)
    }
}

/// Takes samples until one fails.
async fn watch(
    target: &Target,
    http: &mut Http,
    samples: &mut Vec<Sample>,
) -> Result<Infallible, BenchError> {
    loop {
        tokio::time::sleep(SAMPLE_EACH).await;
        samples.push(sample(target, http).await?);
    }
}

async fn sample(target: &Target, http: &mut Http) -> Result<Sample, BenchError> {
    let resident_bytes = target.usage()?.resident_bytes;
    let answer = http.get("/v1/projections").await?;
    let Projections { projections } = serde_json::from_slice(&answer).map_err(std::io::Error::from)?;
    let start = Sample { resident_bytes, ..Sample::default() };
    Ok(projections.iter().fold(start, |sample, it| Sample {
        lag_events: sample.lag_events.max(it.lag_events),
        lag_seconds: sample.lag_seconds.max(it.lag_seconds),
        ..sample
    }))
}
