//! The command line: one binary, a word for each job.

mod beside;
mod health;
mod key;
mod template;

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tidings_domain::{Tenant, UserId};
use tidings_projections::rebuild::{Report, Site};
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{self, App};
use crate::auth::Jwks;
use crate::config::{self, Config, Flags, MasterKey, read_config_file, unknown_variables};
use crate::replay::{self, Moment};
use crate::{api, auth, bench, clock, read_models, telemetry};
use beside::Beside;

/// Self-hosted, event-sourced notifications.
#[derive(Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Word,
}

#[derive(Subcommand)]
enum Word {
    /// Run the service; Postgres and Redis are started beside it where no URL is given
    Serve(Settings),
    /// Bring the database up to this binary's schema, and stop
    Migrate(Settings),
    /// Print an inbox as it was, folded anew from the log
    Replay(ReplayArgs),
    /// Build read models anew from the log and put them in place of the live ones, while a service may run
    Rebuild(RebuildArgs),
    /// Print a token for an end user
    Token(TokenArgs),
    /// Make, list and revoke keys of services
    #[command(subcommand)]
    Key(key::KeyWord),
    /// Check templates that are kept as files, and publish them
    #[command(subcommand)]
    Template(template::TemplateWord),
    /// Look after the epochs of the log
    #[command(subcommand)]
    Epoch(EpochWord),
    /// Ask the service on this machine how it is: succeeds if it is well, for the health check of a container
    Health(HealthArgs),
    /// Print the OpenAPI document
    Openapi,
    /// Measure what the service carries on this machine
    Bench(bench::BenchArgs),
}

#[derive(Args)]
struct Settings {
    #[command(flatten)]
    flags: Flags,
}

#[derive(Args)]
struct TokenArgs {
    /// Whose token: 1 to 256 characters
    #[arg(long)]
    user: String,
    /// The user's tenant
    #[arg(long, default_value = "default")]
    tenant: String,
    /// How long it is valid, in seconds
    #[arg(long, default_value_t = 86_400)]
    ttl_seconds: u32,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args)]
struct ReplayArgs {
    /// Whose inbox: 1 to 256 characters
    #[arg(long)]
    user: String,
    /// The user's tenant
    #[arg(long, default_value = "default")]
    tenant: String,
    /// As it was at this cursor, or at this time (RFC 3339)
    #[arg(long)]
    at: String,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args)]
struct RebuildArgs {
    /// Which: inbox, delivery, timers, subscribers; several share one reading of the log
    #[arg(required = true, value_name = "NAME")]
    names: Vec<read_models::Name>,
    /// Print each row that differed, as a line of JSON
    #[arg(long)]
    diff: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args)]
struct HealthArgs {
    /// Whether it is ready for traffic, not only alive
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand)]
enum EpochWord {
    /// Begin a new epoch at the end of the log. For databases that hide restores from us (managed ones that do
    /// not show their timeline): run it after a restore, before the service starts
    Bump(Settings),
}

/// What to tell the user, in one line.
type Failure = String;

fn failure(error: impl std::fmt::Display) -> Failure {
    error.to_string()
}

impl Cli {
    pub async fn run(self) -> Result<(), Failure> {
        match self.command {
            Word::Serve(settings) => serve(load(settings)?).await,
            Word::Migrate(settings) => with_database(load(settings)?, Job::Migrate).await,
            Word::Epoch(EpochWord::Bump(settings)) => with_database(load(settings)?, Job::BumpEpoch).await,
            Word::Replay(args) => replay(args).await,
            Word::Rebuild(args) => rebuild(args).await,
            Word::Token(args) => token(args),
            Word::Template(word) => word.run().await,
            Word::Bench(args) => {
                raise_open_files_limit();
                let mut shutdown = Shutdown::listen().map_err(failure)?;
                bench::run(args, shutdown.requested()).await.map_err(failure)
            }
            Word::Health(args) => health::check(load(args.settings)?.listen, args.ready).await,
            Word::Key(word) => key::run(word).await,
            Word::Openapi => {
                println!("{}", api::document().trim_end());
                Ok(())
            }
        }
    }
}

fn load(settings: Settings) -> Result<Config, Failure> {
    let env = |name: &str| std::env::var(name).ok();
    let file = read_config_file(&settings.flags, &env).map_err(failure)?;
    let config = Config::load(settings.flags, &env, file.as_deref()).map_err(failure)?;
    telemetry::start(config.log_format, &config.log_level).map_err(failure)?;
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in unknown_variables(names) {
        tracing::warn!(name, "this variable means nothing to Tidings");
    }
    Ok(config)
}

async fn serve(mut config: Config) -> Result<(), Failure> {
    raise_open_files_limit();
    let mut shutdown = Shutdown::listen().map_err(failure)?;
    // Before anything is started or touched: what is wrong with a file stops the start here.
    let jwks = match config.jwks.clone() {
        Some(location) => tokio::select! {
            opened = Jwks::open(location) => Some(opened.map_err(failure)?),
            () = shutdown.requested() => return Ok(()),
        },
        None => None,
    };
    let embedded = tokio::select! {
        started = app::start_embedded(&config, true) => started.map_err(failure)?,
        () = shutdown.requested() => return Ok(()),
    };
    let try_out = config.database_url.is_none();
    if try_out {
        complete_secrets(&mut config)?;
    }
    let app = tokio::select! {
        built = App::build(&config, jwks, embedded) => built.map_err(failure)?,
        () = shutdown.requested() => return Ok(()),
    };
    println!("Tidings listens on http://{}", app.address());
    if try_out {
        print_first_steps(&config, &app)?;
    }
    app.run(shutdown.requested()).await
}

/// SIGTERM and Ctrl-C, from the first moment on.
struct Shutdown {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Shutdown {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Secrets that are not configured are generated once and kept in the data directory.
fn complete_secrets(config: &mut Config) -> Result<(), Failure> {
    let directory = config.data_dir.clone();
    let generated = |name| config::generated(&directory, name).map_err(failure);
    if config.root_api_key.is_none() {
        config.root_api_key = Some(generated("root_api_key")?);
    }
    // With an issuer's keys, a secret that nobody asked for would be a second way in.
    if config.jwt_secret.is_none() && config.jwks.is_none() {
        config.jwt_secret = Some(generated("jwt_secret")?);
    }
    if config.master_key.is_none() {
        config.master_key = MasterKey::from_hex(generated("master_key")?.expose());
    }
    Ok(())
}

/// Each socket is an open file, and the default soft limit is 1,024.
fn raise_open_files_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match raised {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
}

fn print_first_steps(config: &Config, app: &App) -> Result<(), Failure> {
    let key = config.root_api_key.as_ref().map(|key| key.expose()).unwrap_or_default();
    let alice = UserId::try_from("alice".to_owned()).map_err(failure)?;
    let hers = match &config.jwt_secret {
        Some(_) => {
            let day = Duration::from_secs(86_400);
            format!("authorization: Bearer {}", signed(config, &Tenant::default_tenant(), &alice, day)?)
        }
        // Tokens come from the issuer of the JWKS; the key reaches her inbox as well.
        None => format!("x-api-key: {key}"),
    };
    let address = app.address();
    println!(
        r#"
Tell Alice something:

  curl -X POST http://{address}/v1/notifications \
    -H 'x-api-key: {key}' -H 'content-type: application/json' \
    -d '{{"user_id":"alice","content":{{"title":"Hello Alice","body":"Your first notification"}}}}'

Watch her inbox live, in another terminal:

  curl -N http://{address}/v1/users/alice/inbox/stream \
    -H '{hers}'

Look at it:

  curl http://{address}/v1/users/alice/inbox -H 'x-api-key: {key}'

The API, with examples to try: http://{address}/docs
"#
    );
    Ok(())
}

async fn replay(args: ReplayArgs) -> Result<(), Failure> {
    let tenant = Tenant::try_from(args.tenant).map_err(failure)?;
    let user = UserId::try_from(args.user).map_err(failure)?;
    let at: Moment = args.at.parse().map_err(|error| format!("--at {error}"))?;
    let beside = Beside::open(&mut load(args.settings)?).await?;
    let page = async {
        let (Beside { history, reader, .. }, pool) = (&beside, &beside.database.pool);
        let position = at.position(pool, history).await.map_err(failure)?.map_err(failure)?;
        replay::inbox(pool, reader, history, (&tenant, &user), position).await.map_err(failure)
    };
    let page = page.await;
    beside.close().await;
    println!("{:#}", page?);
    Ok(())
}

/// Differences go to standard output, a line each; what was done goes to standard error.
async fn rebuild(args: RebuildArgs) -> Result<(), Failure> {
    let beside = Beside::open(&mut load(args.settings)?).await?;
    let site = Site { connect: beside.database.options.clone(), reader: beside.reader.clone() };
    let rebuilt = read_models::rebuild(&site, &args.names).await;
    beside.close().await;
    let mut failed = None;
    for (name, report) in args.names.iter().zip(rebuilt) {
        match report {
            Ok(Report { events, folding, differences }) => {
                let seconds = folding.as_secs_f64();
                let rate = events as f64 / seconds.max(f64::MIN_POSITIVE);
                let differing = differences.len();
                eprintln!(
                    "{name}: {events} events in {seconds:.1} s ({rate:.0}/s), {differing} rows differed"
                );
                for difference in differences.iter().filter(|_| args.diff) {
                    println!("{}", serde_json::to_string(difference).map_err(failure)?);
                }
            }
            Err(error) => failed = Some(format!("{name} was not rebuilt: {error}")),
        }
    }
    failed.map_or(Ok(()), Err)
}

fn token(args: TokenArgs) -> Result<(), Failure> {
    let mut config = load(args.settings)?;
    if config.jwt_secret.is_none() {
        if config.jwks.is_some() {
            return Err(
                "TIDINGS_JWKS is set and TIDINGS_JWT_SECRET is not: only the issuer of the JWKS can make tokens".into(),
            );
        }
        if config.database_url.is_some() {
            return Err("TIDINGS_JWT_SECRET is not set: without it no token is accepted".into());
        }
        config.jwt_secret = Some(config::generated(&config.data_dir, "jwt_secret").map_err(failure)?);
    }
    let tenant = Tenant::try_from(args.tenant).map_err(failure)?;
    let user = UserId::try_from(args.user).map_err(failure)?;
    println!("{}", signed(&config, &tenant, &user, Duration::from_secs(args.ttl_seconds.into()))?);
    Ok(())
}

fn signed(config: &Config, tenant: &Tenant, user: &UserId, ttl: Duration) -> Result<String, Failure> {
    let secret = config.jwt_secret.as_ref().map(|secret| secret.expose()).unwrap_or_default();
    let expires_at = (clock::now() + ttl).unix_timestamp();
    let (audience, issuer) = (config.jwt_audience.as_deref(), config.jwt_issuer.as_deref());
    auth::issue(secret, tenant, user, expires_at, (audience, issuer)).map_err(failure)
}

enum Job {
    Migrate,
    BumpEpoch,
}

async fn with_database(config: Config, job: Job) -> Result<(), Failure> {
    let embedded = app::start_embedded(&config, false).await.map_err(failure)?;
    let url = config.database_url.as_ref().map(|url| url.expose());
    let url = url.or(embedded.as_ref().and_then(|e| e.database_url())).unwrap_or_default();
    let done = run_job(url, job).await;
    if let Some(embedded) = embedded {
        embedded.stop().await;
    }
    done
}

async fn run_job(url: &str, job: Job) -> Result<(), Failure> {
    let options = app::connect_options(url).map_err(failure)?;
    let pool = app::open(&options, 1).await.map_err(failure)?;
    app::migrate(&options).await.map_err(failure)?;
    match job {
        Job::Migrate => println!("The database is up to date."),
        Job::BumpEpoch => {
            let epoch: i64 = sqlx::query_scalar("SELECT log_start_epoch(log_incarnation())")
                .fetch_one(&pool)
                .await
                .map_err(failure)?;
            println!("Epoch {epoch} begins at the end of the log.");
        }
    }
    pool.close().await;
    Ok(())
}
