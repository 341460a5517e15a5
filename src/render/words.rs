//! What a notification that is a template's says to one reader. It never fails: what cannot be rendered is told by the
//! template's key, and what is too long is cut.

use std::collections::BTreeMap;

use tidings_domain::notification::{Templated, Words};

use super::{BadArgument, Compiled, Part, Reader};

/// Bytes of a body. Arguments may stand in it a hundred times over; as JSON it may take six times as much, which a
/// socket's queue still holds.
const BODY_BYTES_MAX: usize = 128 << 10;

/// What a reader is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub words: Words,
    /// Other parts, of those that were asked for and the template has: `email-subject`, `email-html`, `slack`, …
    pub parts: BTreeMap<String, String>,
}

/// Why a template does not go together with what is put into its places.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error(transparent)]
    Argument(#[from] BadArgument),
    /// What it makes of them as `action-url` is none.
    #[error("its `action-url` {0}")]
    ActionUrl(&'static str),
}

impl Said {
    pub fn of(
        template: &Templated,
        compiled: &Compiled,
        reader: Reader<'_>,
        parts: &[Part],
    ) -> Result<Self, BadArgument> {
        let mut rendered = compiled.render(reader, &template.args, parts)?.parts;
        let mut take = |part| rendered.remove(&part);
        let made = take(Part::ActionUrl).filter(|url| Words::check_action_url(url).is_ok());
        let words = Words {
            title: cut_chars(take(Part::Title).unwrap_or_default(), Words::TITLE_CHARS_MAX),
            body: cut_bytes(take(Part::Body).unwrap_or_default(), BODY_BYTES_MAX),
            action_url: template.action_url.clone().or(made),
        };
        let parts = rendered.into_iter().map(|(part, words)| (part.id().to_owned(), words));
        Ok(Self { words, parts: parts.collect() })
    }

    /// Where nothing better can be said.
    pub fn key_of(template: &Templated) -> Self {
        let (title, action_url) = (template.key.to_string(), template.action_url.clone());
        Self { words: Words { title, body: String::new(), action_url }, parts: BTreeMap::new() }
    }
}

impl Compiled {
    /// Whether a notification may be made with this in the template's places.
    pub fn check(&self, template: &Templated) -> Result<(), Unfit> {
        let made = self.render(Reader::default(), &template.args, &[Part::ActionUrl])?.parts;
        match made.get(&Part::ActionUrl) {
            Some(url) if template.action_url.is_none() => {
                Words::check_action_url(url).map_err(Unfit::ActionUrl)
            }
            _ => Ok(()),
        }
    }
}

fn cut_chars(mut text: String, max: usize) -> String {
    if text.len() > max
        && let Some((end, _)) = text.char_indices().nth(max)
    {
        text.truncate(end);
    }
    text
}

fn cut_bytes(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = (0..=max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
    }
    text
}
