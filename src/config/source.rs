//! Where a setting comes from: a flag, over the environment, over a file that the environment names, over `tidings.toml`.
//!
//! The invariant: a value travels with its source, so that every complaint names the place to correct; and no complaint shows a
//! value that may be a secret.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::ConfigError;

/// Every setting, as `tidings.toml` spells it.
pub(super) const SETTINGS: [&str; 19] = [
    "listen",
    "database_url",
    "redis_url",
    "data_dir",
    "root_api_key",
    "jwt_secret",
    "jwks",
    "jwt_audience",
    "jwt_issuer",
    "master_key",
    "allowed_origins",
    "database_connections_max",
    "connections_per_user",
    "outgoing_allow_private",
    "dispatch_concurrency",
    "otlp_endpoint",
    "trace_sampling",
    "log_format",
    "log_level",
];
/// Those that the file may also spell as a list of strings.
const LISTS: [&str; 2] = ["allowed_origins", "outgoing_allow_private"];
/// A secret file is a line. `/dev/zero` is a mistake.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The place a value was found in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Flag(&'static str),
    Variable(&'static str),
    /// The file named by `TIDINGS_..._FILE`.
    NamedFile(&'static str, PathBuf),
    ConfigFile(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(setting) => write!(formatter, "{}", flag(setting)),
            Self::Variable(setting) => write!(formatter, "{}", variable(setting)),
            Self::NamedFile(setting, path) => {
                write!(formatter, "{}_FILE ({})", variable(setting), path.display())
            }
            Self::ConfigFile(setting) => write!(formatter, "`{setting}` in the configuration file"),
        }
    }
}

pub(super) fn flag(setting: &str) -> String {
    format!("--{}", setting.replace('_', "-"))
}

pub(super) fn variable(setting: &str) -> String {
    format!("TIDINGS_{}", setting.to_uppercase())
}

/// A value and where it was found.
pub(super) struct Found {
    pub value: String,
    pub source: Source,
}

impl Found {
    /// A value that may be shown when it is wrong.
    pub fn parse<T>(
        self,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        match parse(&self.value) {
            Some(parsed) => Ok(parsed),
            None => Err(ConfigError::Wrong { source_name: self.source, value: self.value, expected }),
        }
    }

    /// A value that may not.
    pub fn parse_secret<T>(
        self,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        parse(&self.value).ok_or(ConfigError::WrongSecret { source_name: self.source, expected })
    }
}

/// All places but the flags.
pub(super) struct Sources<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    file: toml::Table,
}

impl<'a> Sources<'a> {
    pub fn new(env: &'a dyn Fn(&str) -> Option<String>, file: Option<&str>) -> Result<Self, ConfigError> {
        let file: toml::Table = match file {
            None => toml::Table::new(),
            // The error's own text quotes the line, which may hold a secret.
            Some(text) => toml::from_str(text).map_err(|error: toml::de::Error| ConfigError::Syntax {
                line: error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count()),
                message: error.message().to_owned(),
            })?,
        };
        if let Some(key) = file.keys().find(|key| !SETTINGS.contains(&key.as_str())) {
            return Err(ConfigError::UnknownKey { key: key.clone() });
        }
        Ok(Self { env, file })
    }

    pub fn find(&self, setting: &'static str, flag: Option<&str>) -> Result<Option<Found>, ConfigError> {
        let variable = variable(setting);
        let in_variable = (self.env)(&variable);
        let named_file = (self.env)(&format!("{variable}_FILE"));
        if in_variable.is_some() && named_file.is_some() {
            return Err(ConfigError::Twice { variable });
        }
        let found = if let Some(value) = flag {
            Found { value: value.to_owned(), source: Source::Flag(setting) }
        } else if let Some(value) = in_variable {
            Found { value, source: Source::Variable(setting) }
        } else if let Some(path) = named_file {
            let path = PathBuf::from(path);
            let value = read_line(&path).map_err(|source| ConfigError::Unreadable {
                variable: format!("{variable}_FILE"),
                path: path.clone(),
                source,
            })?;
            Found { value, source: Source::NamedFile(setting, path) }
        } else if let Some(value) = self.file.get(setting) {
            let source = Source::ConfigFile(setting);
            match text_of(value, LISTS.contains(&setting)) {
                Some(value) => Found { value, source },
                None => return Err(ConfigError::WrongType { source_name: source }),
            }
        } else {
            return Ok(None);
        };
        // `TIDINGS_DATABASE_URL=""` is a deployment gone wrong, not a wish for an embedded database.
        match found.value.trim().is_empty() {
            true => Err(ConfigError::Empty { source_name: found.source }),
            false => Ok(Some(found)),
        }
    }
}

fn text_of(value: &toml::Value, may_be_list: bool) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Array(items) if may_be_list => {
            let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            Some(items?.join(","))
        }
        _ => None,
    }
}

/// The content without the newline that editors and `echo` put behind it.
fn read_line(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Ok(text)
}

/// Those of the given names that look like settings and are none: a typing error that would otherwise go unnoticed.
pub fn unknown_variables(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let is_known = |name: &str| {
        let name = name.strip_suffix("_FILE").unwrap_or(name);
        SETTINGS.iter().any(|setting| variable(setting) == name)
    };
    let mut unknown: Vec<String> = names
        .into_iter()
        .filter(|name| name.starts_with("TIDINGS_") && name != super::CONFIG_VARIABLE && !is_known(name))
        .collect();
    unknown.sort();
    unknown
}
