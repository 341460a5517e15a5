//! Words from templates: a version is checked once, compiled once, and then says the same to everybody who reads the same
//! language on the same clock.
//!
//! Nothing is sent from here, and nothing is asked: a version, a reader and arguments go in, and text comes out.

mod arguments;
mod bundle;
mod check;
mod format;
mod part;
mod plurals;
mod words;

pub use arguments::BadArgument;
pub use check::Flaw;
pub use part::Part;
pub use words::{Said, Unfit};

use std::collections::{BTreeMap, HashMap};
use std::sync::RwLock;

use fluent_langneg::{NegotiationStrategy, negotiate_languages};
use serde_json::{Map, Value};
use tidings_domain::recipient::{Locale, TimeZone};
use tidings_domain::template::Version;
use unic_langid::LanguageIdentifier;

use arguments::Arguments;
use bundle::Speaker;

/// Who reads it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reader<'a> {
    /// The version's default language where it is not known.
    pub locale: Option<&'a Locale>,
    /// UTC where it is not known.
    pub time_zone: Option<&'a TimeZone>,
}

/// What a reader is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered<'a> {
    /// Whose words they are: one of the version's locales.
    pub locale: &'a str,
    pub parts: BTreeMap<Part, String>,
}

/// A version that is fit to be read.
pub struct Compiled {
    version: Version,
    default: usize,
    speakers: Vec<(LanguageIdentifier, String, Speaker)>,
    /// Who speaks to readers of a language: found once, as they are few.
    chosen: RwLock<HashMap<Locale, usize>>,
}

const UNBROKEN: &str = "no code panics while it looks for a speaker";

/// Languages for which a version remembers who speaks.
const CHOSEN_MAX: usize = 1_000;

impl Compiled {
    /// Fails with all that is wrong.
    pub fn new(version: Version) -> Result<Self, Vec<Flaw>> {
        let resources = check::check(&version)?;
        let speakers: Vec<(LanguageIdentifier, String, Speaker)> = resources
            .into_iter()
            .map(|(locale, resource)| (locale.clone(), locale.to_string(), Speaker::new(locale, resource)))
            .collect();
        let default = check::language(&version.default_locale)?;
        let default = speakers.iter().position(|(locale, ..)| *locale == default).unwrap_or_default();
        Ok(Self { version, default, speakers, chosen: RwLock::default() })
    }

    /// The parts that are asked for, as far as the version has them. Fails for arguments that are missing, unknown or of
    /// another type.
    pub fn render(
        &self,
        reader: Reader<'_>,
        arguments: &Map<String, Value>,
        parts: &[Part],
    ) -> Result<Rendered<'_>, BadArgument> {
        let html = parts.iter().any(|part| part.is_html());
        let arguments = Arguments::new(&self.version.arguments, arguments, reader.time_zone, html)?;
        let (_, locale, speaker) = &self.speakers[reader.locale.map_or(self.default, |it| self.choose(it))];
        let parts = parts.iter().filter_map(|part| Some((*part, speaker.say(*part, &arguments)?)));
        Ok(Rendered { locale, parts: parts.collect() })
    }

    /// The nearest to what the reader reads: `de` for `de-AT`; the default where none is near.
    fn choose(&self, wanted: &Locale) -> usize {
        if let Some(known) = self.chosen.read().expect(UNBROKEN).get(wanted) {
            return *known;
        }
        let parsed: Option<LanguageIdentifier> = wanted.as_str().parse().ok();
        let (asked, available): (Vec<_>, Vec<_>) =
            (parsed.into_iter().collect(), self.speakers.iter().map(|(locale, ..)| locale).collect());
        let found = negotiate_languages(&asked, &available, None, NegotiationStrategy::Lookup);
        let found = found.first().and_then(|found| available.iter().position(|it| *it == **found));
        let chosen = found.unwrap_or(self.default);
        let mut known = self.chosen.write().expect(UNBROKEN);
        if known.len() < CHOSEN_MAX {
            known.insert(wanted.clone(), chosen);
        }
        chosen
    }
}

#[cfg(test)]
mod tests;
