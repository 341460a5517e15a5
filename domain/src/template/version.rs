//! What a published version of a template says: one Fluent source per locale, and the arguments that they use.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::recipient::Locale;

/// Which member is not acceptable, and why; `pointer` is a JSON Pointer (RFC 6901) below the version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {detail}")]
pub struct InvalidTemplate {
    pub pointer: String,
    pub detail: &'static str,
}

/// What a template is called: 1 to 128 characters of `a-z`, `0-9`, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TemplateKey(String);

impl TemplateKey {
    pub const CHARS_MAX: usize = 128;

    pub fn new(text: String) -> Result<Self, InvalidTemplate> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if (1..=Self::CHARS_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text))
        } else {
            let detail = "a template's key is 1 to 128 characters of a-z, 0-9, ., _ and -";
            Err(InvalidTemplate { pointer: "/key".into(), detail })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TemplateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an argument is; anything else under its name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArgumentType {
    String,
    /// A JSON number.
    Number,
    /// An instant (RFC 3339), shown on the reader's clock.
    Date,
}

impl ArgumentType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Date => "date",
        }
    }
}

/// What a version says. Its Fluent was checked before it got here: the domain only keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Whose words are used where the reader's languages have none.
    pub default_locale: Locale,
    /// By locale, in Fluent (<https://projectfluent.org>).
    pub sources: BTreeMap<Locale, String>,
    /// Whatever the sources may use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, ArgumentType>,
}

impl Version {
    pub const SOURCES_MAX: usize = 100;
    /// Bytes of one source.
    pub const SOURCE_BYTES_MAX: usize = 32 << 10;
    pub const ARGUMENTS_MAX: usize = 50;
    pub const ARGUMENT_CHARS_MAX: usize = 64;

    pub fn new(
        default_locale: Locale,
        sources: BTreeMap<Locale, String>,
        arguments: BTreeMap<String, ArgumentType>,
    ) -> Result<Self, InvalidTemplate> {
        let refuse = |pointer: String, detail| Err(InvalidTemplate { pointer, detail });
        if sources.len() > Self::SOURCES_MAX {
            return refuse("/sources".into(), "must have at most 100 members");
        }
        if !sources.contains_key(&default_locale) {
            return refuse("/sources".into(), "must have one of the default locale");
        }
        if let Some((locale, _)) = sources.iter().find(|(_, source)| source.len() > Self::SOURCE_BYTES_MAX) {
            return refuse(format!("/sources/{}", locale.as_str()), "must have at most 32 KiB");
        }
        if arguments.len() > Self::ARGUMENTS_MAX {
            return refuse("/arguments".into(), "must have at most 50 members");
        }
        if let Some(name) = arguments.keys().find(|name| !is_name(name)) {
            let pointer = format!("/arguments/{}", name.replace('~', "~0").replace('/', "~1"));
            return refuse(pointer, "must be a letter, then letters, digits, - and _, 64 in all at most");
        }
        Ok(Self { default_locale, sources, arguments })
    }
}

/// An identifier of Fluent.
fn is_name(name: &str) -> bool {
    let rest = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    first && name.len() <= Version::ARGUMENT_CHARS_MAX && name.bytes().all(rest)
}
