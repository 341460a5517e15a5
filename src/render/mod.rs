//! Words from templates: a version is checked once, compiled once, and then says the same to everybody who reads the same
//! language on the same clock.
//!
//! Nothing is sent from here, and nothing is asked: a version, a reader and arguments go in, and text comes out.

mod arguments;
mod bundle;
mod check;
mod format;
mod functions;
mod part;
mod plurals;
mod read;
mod reading;
mod scope;
mod words;

pub use arguments::BadArgument;
pub use part::{Markup, Part};
pub use read::{Flaw, place};
pub use words::{Said, Unfit};

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};

use fluent_bundle::FluentResource;
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
    default: Arc<Voice>,
    voices: Vec<Arc<Voice>>,
    /// Who speaks to readers of a language: found once, as they are few.
    chosen: RwLock<HashMap<Locale, Arc<Voice>>>,
}

/// The words of one of the version's locales, with the numbers and dates of that or of a reader's near to it.
struct Voice {
    locale: LanguageIdentifier,
    name: String,
    resource: Arc<FluentResource>,
    speaker: Speaker,
}

impl Voice {
    fn new(locale: LanguageIdentifier, resource: Arc<FluentResource>) -> Arc<Self> {
        let (name, speaker) = (locale.to_string(), Speaker::new(locale.clone(), resource.clone()));
        Arc::new(Self { locale, name, resource, speaker })
    }

    /// For whoever writes the language as elsewhere: Austrian numbers in German words.
    fn as_written(&self, locale: LanguageIdentifier) -> Arc<Self> {
        let speaker = Speaker::new(locale, self.resource.clone());
        let (locale, name, resource) = (self.locale.clone(), self.name.clone(), self.resource.clone());
        Arc::new(Self { locale, name, resource, speaker })
    }
}

const UNBROKEN: &str = "no code panics while it looks for a speaker";

/// Languages for which a version remembers who speaks.
const CHOSEN_MAX: usize = 100;

impl Compiled {
    /// Of what was published, which was checked then. Fails where it is not Fluent.
    pub fn new(version: Version) -> Result<Self, Vec<Flaw>> {
        let resources = read::read(&version)?;
        let voices: Vec<Arc<Voice>> = resources
            .into_iter()
            .map(|(locale, resource)| Voice::new(locale.clone(), Arc::new(resource)))
            .collect();
        let default = read::language(&version.default_locale)?;
        let default = voices.iter().find(|voice| voice.locale == default).or(voices.first()).cloned();
        let default = default.ok_or_else(Vec::new)?;
        Ok(Self { version, default, voices, chosen: RwLock::default() })
    }

    /// What was published.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The parts that are asked for, as far as the version has them. Fails for arguments that are missing, unknown or of
    /// another type.
    pub fn render(
        &self,
        reader: Reader<'_>,
        arguments: &Map<String, Value>,
        parts: &[Part],
    ) -> Result<Rendered, BadArgument> {
        let arguments = Arguments::new(&self.version.arguments, arguments, reader.time_zone, parts)?;
        let voice = reader.locale.map_or_else(|| self.default.clone(), |wanted| self.choose(wanted));
        let parts = parts.iter().filter_map(|part| Some((*part, voice.speaker.say(*part, &arguments)?)));
        Ok(Rendered { locale: voice.name.clone(), parts: parts.collect() })
    }

    /// The nearest to what the reader reads: `de` for `de-AT`; the default where none is near.
    fn choose(&self, wanted: &Locale) -> Arc<Voice> {
        if let Some(known) = self.chosen.read().expect(UNBROKEN).get(wanted) {
            return known.clone();
        }
        let parsed: Option<LanguageIdentifier> = wanted.as_str().parse().ok();
        let Some(asked) = parsed else { return self.default.clone() };
        let available: Vec<_> = self.voices.iter().map(|voice| &voice.locale).collect();
        let found = negotiate_languages(&[&asked], &available, None, NegotiationStrategy::Lookup);
        let found = found.first().and_then(|found| self.voices.iter().find(|voice| voice.locale == ***found));
        let nearest = found.unwrap_or(&self.default);
        let is_near = asked.language == nearest.locale.language && asked != nearest.locale;
        let chosen = if is_near { nearest.as_written(asked) } else { nearest.clone() };
        let mut known = self.chosen.write().expect(UNBROKEN);
        // Whoever makes languages up costs others a little time, and never their own way of writing.
        if known.len() >= CHOSEN_MAX {
            known.clear();
        }
        known.insert(wanted.clone(), chosen.clone());
        chosen
    }
}

#[cfg(test)]
mod tests;
