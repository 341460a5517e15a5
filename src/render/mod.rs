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

pub use arguments::BadArgument;
pub use check::Flaw;
pub use part::Part;

use std::collections::BTreeMap;

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
pub struct Rendered {
    /// Whose words they are: one of the version's locales.
    pub locale: String,
    pub parts: BTreeMap<Part, String>,
}

/// A version that is fit to be read.
pub struct Compiled {
    version: Version,
    default: LanguageIdentifier,
    speakers: BTreeMap<LanguageIdentifier, Speaker>,
}

impl Compiled {
    /// Fails with all that is wrong.
    pub fn new(version: Version) -> Result<Self, Vec<Flaw>> {
        let resources = check::check(&version)?;
        let speakers: BTreeMap<LanguageIdentifier, Speaker> = resources
            .into_iter()
            .map(|(locale, resource)| (locale.clone(), Speaker::new(locale, resource)))
            .collect();
        let default = check::language(&version.default_locale)?;
        Ok(Self { version, default, speakers })
    }

    /// Fails for arguments that are missing, unknown or of another type.
    pub fn render(
        &self,
        reader: Reader<'_>,
        arguments: &Map<String, Value>,
    ) -> Result<Rendered, BadArgument> {
        let arguments = Arguments::new(&self.version.arguments, arguments, reader.time_zone)?;
        let locale = self.choose(reader.locale);
        let speaker = &self.speakers[locale];
        let parts = Part::ALL.into_iter().filter_map(|part| Some((part, speaker.say(part, &arguments)?)));
        Ok(Rendered { locale: locale.to_string(), parts: parts.collect() })
    }

    /// The nearest to what the reader reads: `de` for `de-AT`; the default where none is near.
    fn choose(&self, wanted: Option<&Locale>) -> &LanguageIdentifier {
        let wanted: Option<LanguageIdentifier> = wanted.and_then(|wanted| wanted.as_str().parse().ok());
        let (wanted, available): (Vec<_>, Vec<_>) =
            (wanted.into_iter().collect(), self.speakers.keys().collect());
        let found = negotiate_languages(&wanted, &available, None, NegotiationStrategy::Lookup);
        found.first().map_or(&self.default, |found| found)
    }
}

#[cfg(test)]
mod tests;
