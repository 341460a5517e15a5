//! An item that is a template's, as JSON: all of it but the words, which are made for whoever reads it.

use serde_json::Deserializer;
use tidings_domain::notification::{Templated, Words};

/// What [`super::Item::to_json`] wrote of such an item, around its template.
#[derive(Debug)]
pub struct Unsaid<'a> {
    pub template: Templated,
    before: &'a str,
    after: &'a str,
}

/// Where the template stands, which is right after the id, and what is before it.
fn split(item: &str) -> Option<(&str, &str)> {
    let (before, after) = item.split_once(',')?;
    Some((before, after.strip_prefix(r#""template":"#)?))
}

impl<'a> Unsaid<'a> {
    /// Whether words are missing. Nearly all items have theirs, and it takes a look at a few bytes.
    pub fn is(item: &str) -> bool {
        split(item).is_some()
    }

    /// `None` of an item that has its words.
    pub fn of(item: &'a str) -> Option<Self> {
        let (before, rest) = split(item)?;
        let mut values = Deserializer::from_str(rest).into_iter();
        let template = values.next()?.ok()?;
        let after = &rest[values.byte_offset()..];
        Some(Self { template, before, after })
    }

    /// The item with words in the place of its template.
    pub fn say(&self, words: &Words) -> String {
        let words = serde_json::to_string(words).expect("strings always serialise");
        let words = words.strip_prefix('{').and_then(|words| words.strip_suffix('}')).unwrap_or_default();
        let Self { before, after, .. } = self;
        format!("{before},{words}{after}")
    }
}

#[cfg(test)]
mod tests {
    //! What is around the words stays as it is, to the byte.
    #![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

    use super::*;

    #[test]
    fn words_take_the_place_of_the_template_and_all_else_stays() {
        let head = r#"{"id":"ntf_019c9a0f-0000-7000-8000-000000000000""#;
        let tail = r#","priority":"normal","data":{"template":{"key":"x"},"n":1.0e2},"cursor":"1.7"}"#;
        let template = r#","template":{"key":"a","version":2,"args":{"who":"\"},{"}}"#;
        let item = format!("{head}{template}{tail}");
        assert!(Unsaid::is(&item));
        let unsaid = Unsaid::of(&item).unwrap();
        assert_eq!((unsaid.template.key.as_str(), unsaid.template.version), ("a", 2));
        let mut words = Words { title: "\"T\"".into(), body: "B\n".into(), action_url: None };
        assert_eq!(unsaid.say(&words), format!(r#"{head},"title":"\"T\"","body":"B\n"{tail}"#));
        words.action_url = Some("/x".into());
        assert!(unsaid.say(&words).contains(r#","action_url":"/x","priority""#));
        let said = unsaid.say(&words);
        assert!(!Unsaid::is(&said) && Unsaid::of(&said).is_none());
        assert!(Unsaid::of("x").is_none() && Unsaid::of(r#"{"id":1,"template":{"#).is_none());
    }
}
