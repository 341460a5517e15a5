//! `tidings bench`: what the service carries on this machine, measured from outside.
//!
//! Each run starts this very binary with its own Postgres and Redis in a temporary folder, or loads the one at `--url`.
//! Generator, service and databases share the machine then, so compare only what one sitting has measured.

mod broadcast;
mod client;
mod emails;
mod listener;
mod load;
mod mailbox;
mod quantity;
mod report;
mod soak;
mod sockets;
mod target;
mod usage;
mod volume;
mod words;

use std::path::PathBuf;
use std::pin::pin;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use report::{Figure, Measurement, Report};
use target::Target;

#[derive(Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
    /// How often; the table shows the median
    #[arg(long, global = true, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
    /// Measure the service at this http:// URL; it is written to (users named bench-0, bench-1, …)
    /// [default: one of its own]
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// API key for --url, with notifications:write and inbox:read [env: TIDINGS_BENCH_API_KEY]
    #[arg(
        long,
        global = true,
        value_name = "KEY",
        env = "TIDINGS_BENCH_API_KEY",
        hide_env = true,
        hide_env_values = true
    )]
    api_key: Option<String>,
    /// Where the data of its own service goes while it runs: the disk to measure
    /// [default: the folder for temporary files]
    #[arg(long, global = true, value_name = "PATH")]
    folder: Option<PathBuf>,
}

#[derive(Clone, Subcommand)]
enum What {
    /// Durable creates, one per request
    Post(load::Post),
    /// Durable creates in batches, with urgent single ones in between
    Batch(load::Batch),
    /// One message to the subscribers of a topic, with urgent single ones in between
    Broadcast(broadcast::Broadcast),
    /// A backlog of e-mails that are due, with urgent single ones in between
    Emails(emails::Emails),
    /// From a POST to its frame on a socket, at a given rate
    E2e(sockets::EndToEnd),
    /// One notification to many sockets of one user
    FanOut(sockets::FanOut),
    /// Memory and processor time of sockets that are silent
    Idle(sockets::Idle),
    /// Pages and counts of an inbox that grows
    Inbox(volume::Inbox),
    /// Building the read models anew from the log
    Rebuild(volume::Rebuild),
    /// Saying messages of templates
    Words(words::Words),
    /// A long time at half load: does memory stay flat, and does everything keep up?
    Soak(soak::Soak),
    /// All but soak, as they are by default
    All,
}

/// Why there is no number.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("the service could not be started: {0}")]
    Start(String),
    #[error("--url must be http://host:port, and --api-key must be given with it")]
    Url,
    #[error("the service cannot be reached: {0}")]
    Connection(#[from] std::io::Error),
    #[error("the service broke off: {0}")]
    Http(#[from] hyper::Error),
    #[error("a socket could not be opened: {0}")]
    Socket(#[from] Box<tokio_tungstenite::tungstenite::Error>),
    #[error("{path} was answered {status}: {body}")]
    Refused { path: String, status: u16, body: String },
    #[error("a service of its own is needed: leave out --url")]
    NeedsOwn,
    #[error("this system does not say what a process uses")]
    NoUsage,
    #[error("interrupted")]
    Interrupted,
    #[error("{missing} frames did not arrive, {wrong} came twice or to somebody else")]
    Lost { missing: u64, wrong: u64 },
    #[error("the words of this measurement cannot be said")]
    Words,
}

impl What {
    fn name(&self) -> &'static str {
        match self {
            Self::Post(_) => "post",
            Self::Batch(_) => "batch",
            Self::Broadcast(_) => "broadcast",
            Self::Emails(_) => "emails",
            Self::E2e(_) => "e2e",
            Self::FanOut(_) => "fan-out",
            Self::Idle(_) => "idle",
            Self::Inbox(_) => "inbox",
            Self::Rebuild(_) => "rebuild",
            Self::Words(_) => "words",
            Self::Soak(_) => "soak",
            Self::All => "all",
        }
    }

    /// What was asked for, in a few words.
    fn terms(&self) -> String {
        match self {
            Self::Post(it) => it.terms(),
            Self::Batch(it) => it.terms(),
            Self::Broadcast(it) => it.terms(),
            Self::Emails(it) => it.terms(),
            Self::E2e(it) => it.terms(),
            Self::FanOut(it) => it.terms(),
            Self::Idle(it) => it.terms(),
            Self::Inbox(it) => it.terms(),
            Self::Rebuild(it) => it.terms(),
            Self::Words(it) => it.terms(),
            Self::Soak(it) => it.terms(),
            Self::All => String::new(),
        }
    }

    /// Sockets that one user may have, at least.
    fn sockets_of_one_user(&self) -> u64 {
        if let Self::FanOut(fan_out) = self { fan_out.sockets } else { 5 }
    }

    /// Some look at the process, too.
    fn needs_own(&self) -> bool {
        matches!(self, Self::Idle(_) | Self::Rebuild(_) | Self::Soak(_) | Self::All)
    }

    async fn run(&self, target: &Target, progress: &ProgressBar) -> Result<Vec<Figure>, BenchError> {
        match self {
            Self::Post(it) => it.run(target, progress).await,
            Self::Batch(it) => it.run(target, progress).await,
            Self::Broadcast(it) => it.run(target, progress).await,
            Self::Emails(it) => it.run(target, progress).await,
            Self::E2e(it) => it.run(target, progress).await,
            Self::FanOut(it) => it.run(target, progress).await,
            Self::Idle(it) => it.run(target, progress).await,
            Self::Inbox(it) => it.run(target, progress).await,
            Self::Rebuild(it) => it.run(target, progress).await,
            Self::Words(it) => it.run(progress),
            Self::Soak(it) => it.run(target, progress).await,
            Self::All => Ok(Vec::new()),
        }
    }

    fn all() -> Vec<Self> {
        vec![
            Self::Post(by_default()),
            Self::Batch(by_default()),
            Self::Broadcast(by_default()),
            Self::Emails(by_default()),
            Self::E2e(by_default()),
            Self::FanOut(by_default()),
            Self::Idle(by_default()),
            Self::Inbox(by_default()),
            Self::Rebuild(by_default()),
            Self::Words(by_default()),
        ]
    }
}

/// Measures what was asked for, prints it to standard output, and shows on standard error how far it is.
///
/// When `interrupted` comes, a service of its own ends in its own way before this does.
pub async fn run(args: BenchArgs, interrupted: impl Future<Output = ()>) -> Result<(), BenchError> {
    let mut interrupted = pin!(interrupted);
    if args.url.is_some() && args.what.needs_own() {
        return Err(BenchError::NeedsOwn);
    }
    let benches = if matches!(args.what, What::All) { What::all() } else { vec![args.what.clone()] };
    let mut report = Report::of_this_machine();
    for bench in &benches {
        let mut measurement = Measurement::new(bench.name(), bench.terms());
        for run in 1..=args.runs {
            let progress = progress(format!("{} {run}/{}", bench.name(), args.runs));
            let target = match &args.url {
                Some(url) => Target::at(url, args.api_key.as_deref())?,
                None => Target::start(args.folder.as_deref(), bench.sockets_of_one_user()).await?,
            };
            let figures = tokio::select! {
                figures = bench.run(&target, &progress) => figures,
                () = &mut interrupted => Err(BenchError::Interrupted),
            };
            target.stop().await;
            progress.finish_and_clear();
            measurement.add(figures?);
        }
        report.add(measurement);
    }
    if args.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.table());
    }
    Ok(())
}

/// What the arguments are where none is given.
fn by_default<T: Args>() -> T {
    let matches = T::augment_args(clap::Command::new("bench")).get_matches_from(["bench"]);
    T::from_arg_matches(&matches).expect("every argument has a default")
}

/// A bar on standard error; nothing where that is no terminal.
fn progress(title: String) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:>14} [{bar:40}] {msg} {eta}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style.progress_chars("=> ")).with_prefix(title)
}
