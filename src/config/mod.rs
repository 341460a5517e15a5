//! What an operator may set, read once at start.
//!
//! The invariant: a `Config` is valid. A wrong value stops the start with one line that names the setting, the place it
//! came from and what is expected; nothing is silently corrected, ignored or defaulted.

mod secret;
mod source;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::Url;
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::auth::Location;

pub use self::secret::{MasterKey, Secret, SecretFileError, generated};
use self::source::{Found, Sources};
pub use self::source::{Source, unknown_variables};

const CONFIG_VARIABLE: &str = "TIDINGS_CONFIG";
const CONFIG_PATH_DEFAULT: &str = "./tidings.toml";
const ROOT_API_KEY_CHARACTERS_MIN: usize = 32;
/// RFC 7518, section 3.2: a key for HS256 is at least as long as the hash.
const JWT_SECRET_BYTES_MIN: usize = 32;
const DATABASE_CONNECTIONS: Numbers = Numbers { default: 10, max: 500, expected: "a number from 1 to 500" };
const DISPATCH_CONCURRENCY: Numbers =
    Numbers { default: 64, max: 1_000, expected: "a number from 1 to 1000" };
const CONNECTIONS_PER_USER: Numbers =
    Numbers { default: 5, max: 100_000, expected: "a number from 1 to 100000" };
/// The HTTP library announces itself at `info`, which we do ourselves; the database library prints statements that are slow
/// in full, and every notice of the server; certificates that are refused are our news, and said once.
const LOG_LEVEL_DEFAULT: &str = "info,poem=warn,sqlx=error,rustls_platform_verifier=off";

/// The settings as flags. Each is also an environment variable, a file named by the variable with `_FILE` behind it, and a key of
/// `tidings.toml`; the first of these that is there counts.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Settings")]
pub struct Flags {
    /// Configuration file [env: TIDINGS_CONFIG] [default: ./tidings.toml, if it exists]
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one [env: TIDINGS_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Postgres, as postgres://user:password@host/database [env: TIDINGS_DATABASE_URL] [default: an embedded one]
    #[arg(long, value_name = "URL")]
    pub database_url: Option<Secret>,
    /// Redis, as redis://host:6379 [env: TIDINGS_REDIS_URL] [default: an embedded one]
    #[arg(long, value_name = "URL")]
    pub redis_url: Option<Secret>,
    /// Directory of embedded services and generated secrets [env: TIDINGS_DATA_DIR] [default: ./data]
    #[arg(long, value_name = "PATH")]
    pub data_dir: Option<String>,
    /// API key with every scope, 32 or more characters; other users see flags, so prefer the variable
    /// [env: TIDINGS_ROOT_API_KEY] [default: generated when embedded]
    #[arg(long, value_name = "KEY")]
    pub root_api_key: Option<Secret>,
    /// HS256 secret of end users' tokens, 32 or more bytes; other users see flags, so prefer the variable
    /// [env: TIDINGS_JWT_SECRET] [default: generated when embedded]
    #[arg(long, value_name = "SECRET")]
    pub jwt_secret: Option<Secret>,
    /// Public keys of end users' tokens, as a JWKS: a path, or a URL as https://login.example.com/.well-known/jwks.json
    /// [env: TIDINGS_JWKS] [default: none]
    #[arg(long, value_name = "PATH|URL")]
    pub jwks: Option<String>,
    /// Required `aud` of end users' tokens [env: TIDINGS_JWT_AUDIENCE] [default: not checked]
    #[arg(long, value_name = "AUDIENCE")]
    pub jwt_audience: Option<String>,
    /// Required `iss` of end users' tokens [env: TIDINGS_JWT_ISSUER] [default: not checked]
    #[arg(long, value_name = "ISSUER")]
    pub jwt_issuer: Option<String>,
    /// Key that seals personal content, 64 hex digits; required with a database URL; other users see flags, so prefer the variable
    /// [env: TIDINGS_MASTER_KEY] [default: generated when embedded]
    #[arg(long, value_name = "HEX")]
    pub master_key: Option<Secret>,
    /// Origins whose pages may call, separated by commas
    /// [env: TIDINGS_ALLOWED_ORIGINS] [default: same origin, plus localhost when embedded]
    #[arg(long, value_name = "ORIGINS")]
    pub allowed_origins: Option<String>,
    /// Connections to Postgres at most, 1 to 500 [env: TIDINGS_DATABASE_CONNECTIONS_MAX] [default: 10]
    #[arg(long, value_name = "NUMBER")]
    pub database_connections_max: Option<String>,
    /// Open sockets and streams per user over all nodes at most, 1 to 100000 [env: TIDINGS_CONNECTIONS_PER_USER] [default: 5]
    #[arg(long, value_name = "NUMBER")]
    pub connections_per_user: Option<String>,
    /// Private networks that channels may call, in the clear, too, as 10.0.0.0/8,::1/128, or all
    /// [env: TIDINGS_OUTGOING_ALLOW_PRIVATE] [default: none]
    #[arg(long, value_name = "NETWORKS")]
    pub outgoing_allow_private: Option<String>,
    /// Calls to outside channels at once on this node, 1 to 1000 [env: TIDINGS_DISPATCH_CONCURRENCY] [default: 64]
    #[arg(long, value_name = "NUMBER")]
    pub dispatch_concurrency: Option<String>,
    /// Collector that spans are sent to by OTLP over HTTP, as http://collector:4318
    /// [env: TIDINGS_OTLP_ENDPOINT] [default: nothing is traced]
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Share of the requests that is traced where the caller has not decided, 0 to 1 [env: TIDINGS_TRACE_SAMPLING] [default: 1]
    #[arg(long, value_name = "SHARE")]
    pub trace_sampling: Option<String>,
    /// How log lines look, text or json [env: TIDINGS_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// What is logged, as info or info,tidings=debug [env: TIDINGS_LOG_LEVEL] [default: info,poem=warn,sqlx=error,rustls_platform_verifier=off]
    #[arg(long, value_name = "LEVELS")]
    pub log_level: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// The valid settings.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    /// A secret: it contains a password.
    pub database_url: Option<Secret>,
    pub redis_url: Option<Secret>,
    pub data_dir: PathBuf,
    pub root_api_key: Option<Secret>,
    pub jwt_secret: Option<Secret>,
    pub jwks: Option<Location>,
    pub jwt_audience: Option<String>,
    pub jwt_issuer: Option<String>,
    /// Present whenever `database_url` is.
    pub master_key: Option<MasterKey>,
    /// Each `scheme://host[:port]` in lower case, as browsers send it. Empty: the default policy.
    pub allowed_origins: Vec<String>,
    pub database_connections_max: u32,
    /// Sockets and streams together, over all nodes.
    pub connections_per_user: u32,
    /// Beside what is public.
    pub outgoing_allow_private: Vec<IpNet>,
    /// Calls to outside channels at once on this node.
    pub dispatch_concurrency: u32,
    /// Without one nothing is traced.
    pub otlp_endpoint: Option<String>,
    /// 0 to 1.
    pub trace_sampling: f64,
    pub log_format: LogFormat,
    /// Directives for an `EnvFilter`, known to parse.
    pub log_level: String,
}

/// Why the configuration is refused. Each prints as one line and shows no secret.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("{source_name} is {value:?}: expected {expected}")]
    Wrong { source_name: Source, value: String, expected: &'static str },
    #[error("{source_name} has a wrong value (not shown here): expected {expected}")]
    WrongSecret { source_name: Source, expected: &'static str },
    #[error("{source_name} is neither a string nor a number")]
    WrongType { source_name: Source },
    #[error("{source_name} is empty: give it a value, or remove it")]
    Empty { source_name: Source },
    #[error("both {variable} and {variable}_FILE are set: keep one")]
    Twice { variable: String },
    #[error("the file that {variable} names cannot be read: {path}: {source}")]
    Unreadable { variable: String, path: PathBuf, source: io::Error },
    #[error("the configuration file cannot be read: {path}: {source}")]
    UnreadableConfig { path: PathBuf, source: io::Error },
    #[error("the configuration file is not TOML, line {line}: {}", message.replace('\n', " "))]
    Syntax { line: usize, message: String },
    #[error("the configuration file has an unknown key `{key}`: known are {}", source::SETTINGS.join(", "))]
    UnknownKey { key: String },
    #[error(
        "TIDINGS_DATABASE_URL is set and TIDINGS_MASTER_KEY is not: personal content is sealed with it, so generate 64 hex digits once (openssl rand -hex 32), keep them safe and set them on every node"
    )]
    MasterKeyMissing,
}

/// The text of the configuration file: that of `--config`, over `TIDINGS_CONFIG`, over `./tidings.toml` if it exists.
pub fn read_config_file(
    flags: &Flags,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, ConfigError> {
    let named = flags.config.clone().or_else(|| env(CONFIG_VARIABLE).map(PathBuf::from));
    let path = named.as_deref().unwrap_or(Path::new(CONFIG_PATH_DEFAULT));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::UnreadableConfig { path: path.to_owned(), source }),
    }
}

impl Config {
    /// Puts the settings together; `file` is the text of the configuration file.
    pub fn load(
        flags: Flags,
        env: &dyn Fn(&str) -> Option<String>,
        file: Option<&str>,
    ) -> Result<Self, ConfigError> {
        let sources = Sources::new(env, file)?;
        let plain = |setting, flag: &Option<String>| sources.find(setting, flag.as_deref());
        let secret =
            |setting, flag: &Option<Secret>| sources.find(setting, flag.as_ref().map(Secret::expose));

        let config = Self {
            listen: listen(plain("listen", &flags.listen)?)?,
            database_url: database_url(secret("database_url", &flags.database_url)?)?,
            redis_url: redis_url(secret("redis_url", &flags.redis_url)?)?,
            data_dir: plain("data_dir", &flags.data_dir)?
                .map_or_else(|| "./data".into(), |found| found.value.into()),
            root_api_key: parsed(
                secret("root_api_key", &flags.root_api_key)?,
                "32 or more characters",
                parse_root_api_key,
            )?,
            jwt_secret: parsed(
                secret("jwt_secret", &flags.jwt_secret)?,
                "32 or more bytes",
                parse_jwt_secret,
            )?,
            jwks: plain("jwks", &flags.jwks)?
                .map(|found| found.parse_secret("a path, or an http(s) URL without credentials", parse_jwks))
                .transpose()?,
            jwt_audience: plain("jwt_audience", &flags.jwt_audience)?.map(|found| found.value),
            jwt_issuer: plain("jwt_issuer", &flags.jwt_issuer)?.map(|found| found.value),
            master_key: secret("master_key", &flags.master_key)?
                .map(|found| found.parse_secret("64 hex digits", MasterKey::from_hex))
                .transpose()?,
            allowed_origins: or_default(
                plain("allowed_origins", &flags.allowed_origins)?,
                Vec::new(),
                "origins as https://app.example.com, without a path, separated by commas",
                |text| text.split(',').map(|origin| parse_origin(origin.trim())).collect(),
            )?,
            database_connections_max: DATABASE_CONNECTIONS
                .choose(plain("database_connections_max", &flags.database_connections_max)?)?,
            connections_per_user: CONNECTIONS_PER_USER
                .choose(plain("connections_per_user", &flags.connections_per_user)?)?,
            outgoing_allow_private: or_default(
                plain("outgoing_allow_private", &flags.outgoing_allow_private)?,
                Vec::new(),
                "networks as 10.0.0.0/8,::1/128, separated by commas, or all",
                parse_networks,
            )?,
            dispatch_concurrency: DISPATCH_CONCURRENCY
                .choose(plain("dispatch_concurrency", &flags.dispatch_concurrency)?)?,
            otlp_endpoint: otlp_endpoint(plain("otlp_endpoint", &flags.otlp_endpoint)?)?,
            trace_sampling: trace_sampling(plain("trace_sampling", &flags.trace_sampling)?)?,
            log_format: or_default(
                plain("log_format", &flags.log_format)?,
                LogFormat::Text,
                "text or json",
                parse_log_format,
            )?,
            log_level: log_level(plain("log_level", &flags.log_level)?)?,
        };
        match (&config.database_url, &config.master_key) {
            (Some(_), None) => Err(ConfigError::MasterKeyMissing),
            _ => Ok(config),
        }
    }
}

fn or_default<T>(
    found: Option<Found>,
    default: T,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, ConfigError> {
    found.map_or(Ok(default), |found| found.parse(expected, parse))
}

fn parsed(
    found: Option<Found>,
    expected: &'static str,
    parse: fn(&str) -> Option<Secret>,
) -> Result<Option<Secret>, ConfigError> {
    found.map(|found| found.parse_secret(expected, parse)).transpose()
}

fn parse_root_api_key(text: &str) -> Option<Secret> {
    (text.chars().count() >= ROOT_API_KEY_CHARACTERS_MIN).then(|| text.to_owned().into())
}

fn parse_jwt_secret(text: &str) -> Option<Secret> {
    (text.len() >= JWT_SECRET_BYTES_MIN).then(|| text.to_owned().into())
}

/// The keys themselves are a mistake that `TIDINGS_JWKS_FILE` invites to.
fn parse_jwks(text: &str) -> Option<Location> {
    if !text.contains("://") {
        return (!text.contains(['{', '\n'])).then(|| Location::File(text.into()));
    }
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let is_bare = url.username().is_empty() && url.password().is_none();
    is_bare.then_some(Location::Url(url))
}

/// What a setting that counts something may be: 1 to `max`.
struct Numbers {
    default: u32,
    max: u32,
    expected: &'static str,
}

impl Numbers {
    fn choose(&self, found: Option<Found>) -> Result<u32, ConfigError> {
        let parse = |text: &str| text.parse().ok().filter(|number| (1..=self.max).contains(number));
        or_default(found, self.default, self.expected, parse)
    }
}

fn log_level(found: Option<Found>) -> Result<String, ConfigError> {
    let expected = "error, warn, info, debug or trace, or directives as info,tidings=debug";
    or_default(found, LOG_LEVEL_DEFAULT.to_owned(), expected, parse_log_level)
}

fn parse_log_format(text: &str) -> Option<LogFormat> {
    match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

fn database_url(found: Option<Found>) -> Result<Option<Secret>, ConfigError> {
    let schemes = ["postgres:", "postgresql:"];
    url(found, &schemes, "a URL as postgres://user:password@host:5432/database")
}

fn redis_url(found: Option<Found>) -> Result<Option<Secret>, ConfigError> {
    let schemes = ["redis:", "rediss:", "redis+unix:", "unix:", "valkey:", "valkeys:", "valkey+unix:"];
    url(found, &schemes, "a URL as redis://host:6379, rediss://host:6379 or redis+unix:///path")
}

fn url(
    found: Option<Found>,
    schemes: &[&str],
    expected: &'static str,
) -> Result<Option<Secret>, ConfigError> {
    let Some(found) = found else { return Ok(None) };
    let parse = |text: &str| {
        let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme))?;
        (rest.starts_with("//") && !text.contains(char::is_whitespace)).then(|| text.to_owned().into())
    };
    found.parse_secret(expected, parse).map(Some)
}

/// RFC 6454, section 6.2. A browser sends no path, so an origin with one would never match.
fn parse_origin(text: &str) -> Option<String> {
    let origin = text.to_ascii_lowercase();
    let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"))?;
    let is_foreign = |c: char| matches!(c, '/' | '?' | '#' | '@' | '*') || c.is_whitespace();
    (!authority.is_empty() && !authority.contains(is_foreign)).then_some(origin)
}

fn parse_networks(text: &str) -> Option<Vec<IpNet>> {
    if text == "all" {
        return Some(vec![Ipv4Net::default().into(), Ipv6Net::default().into()]);
    }
    text.split(',').map(|network| network.trim().parse().ok()).collect()
}

fn listen(found: Option<Found>) -> Result<SocketAddr, ConfigError> {
    let default = SocketAddr::from(([127, 0, 0, 1], 8080));
    let expected = "an IP address and a port, as 127.0.0.1:8080 or [::]:8080";
    or_default(found, default, expected, |text| text.parse().ok())
}

fn otlp_endpoint(found: Option<Found>) -> Result<Option<String>, ConfigError> {
    found.map(|found| found.parse("a URL as http://collector:4318", parse_endpoint)).transpose()
}

fn trace_sampling(found: Option<Found>) -> Result<f64, ConfigError> {
    let parse = |text: &str| text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    or_default(found, 1.0, "a number from 0 to 1", parse)
}

/// Where `/v1/traces` is put behind.
fn parse_endpoint(text: &str) -> Option<String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
    let is_foreign = |c: char| matches!(c, '?' | '#' | '@') || c.is_whitespace() || c.is_control();
    (!rest.is_empty() && !rest.starts_with('/') && !rest.contains(is_foreign)).then(|| text.to_owned())
}

/// `EnvFilter` takes a bare word for a target, so `inof` would silently log everything of a module `inof`.
fn parse_log_level(text: &str) -> Option<String> {
    EnvFilter::builder().parse(text).ok()?;
    let is_meant = |directive: &str| {
        directive.contains(['=', '[']) || !directive.is_empty() && directive.parse::<LevelFilter>().is_ok()
    };
    text.split(',').all(is_meant).then(|| text.to_owned())
}
