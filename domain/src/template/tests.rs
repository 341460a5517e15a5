//! Versions are counted, kept for ever, and not published twice.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::collections::BTreeMap;

use super::*;
use crate::golden::Contract;
use crate::recipient::Locale;

fn tenant() -> Tenant {
    Tenant::try_from("acme".to_owned()).unwrap()
}

fn key() -> TemplateKey {
    TemplateKey::new("invoice.ready".into()).unwrap()
}

fn locale(text: &str) -> Locale {
    Locale::new(text.into()).unwrap()
}

fn version() -> Version {
    let sources = BTreeMap::from([
        (locale("de"), "title = Rechnung { $number }\nbody = Fällig am { $due }\n".to_owned()),
        (locale("en"), "title = Invoice { $number }\nbody = Due on { $due }\n".to_owned()),
    ]);
    let arguments =
        [("due", ArgumentType::Date), ("name", ArgumentType::String), ("number", ArgumentType::Number)];
    let arguments = arguments.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect();
    Version::new(locale("en"), sources, arguments).unwrap()
}

fn plain(words: &str) -> Version {
    Version::new(locale("en"), BTreeMap::from([(locale("en"), words.to_owned())]), BTreeMap::new()).unwrap()
}

fn published(version: u32, says: Version) -> Event {
    Event::Published { tenant: tenant(), key: key(), version, says }
}

fn retired() -> Event {
    Event::Retired { tenant: tenant(), key: key() }
}

fn after(events: &[Event]) -> Template {
    let mut template = Template::default();
    events.iter().for_each(|event| template.evolve(event));
    template
}

fn decided(template: &Template, action: Action) -> Result<Option<Event>, Error> {
    template.decide(&Command { tenant: tenant(), key: key(), action })
}

#[test]
fn the_log_is_read_for_ever() {
    let expectations = BTreeMap::from([
        ("template.published@1.0.0", published(3, version())),
        ("template.published@1.0.0-minimal", published(1, plain("title = Hello\n"))),
        ("template.retired@1.0.0", retired()),
    ]);
    Contract { families: &["template."], expectations }.check(&[published(1, version()), retired()]);
}

#[test]
fn versions_are_counted_from_one() {
    let first = published(1, version());
    assert_eq!(decided(&Template::default(), Action::Publish(version())), Ok(Some(first.clone())));
    let template = after(std::slice::from_ref(&first));
    let second = decided(&template, Action::Publish(plain("title = Hi\n"))).unwrap().unwrap();
    assert_eq!(second, published(2, plain("title = Hi\n")));
    let template = after(&[first, second]);
    assert_eq!((template.version(1), template.version(2)), (Some(&version()), Some(&plain("title = Hi\n"))));
    assert_eq!((template.version(0), template.version(3)), (None, None));
}

#[test]
fn what_stands_is_not_published_again() {
    let template = after(&[published(1, version())]);
    assert_eq!(decided(&template, Action::Publish(version())), Ok(None));
    let back = after(&[published(1, version()), published(2, plain("title = Hi\n"))]);
    assert_eq!(decided(&back, Action::Publish(version())), Ok(Some(published(3, version()))));
}

#[test]
fn retiring_ends_it_once_and_publishing_begins_it_anew() {
    assert_eq!(decided(&Template::default(), Action::Retire), Err(Error::NotFound));
    let template = after(&[published(1, version())]);
    assert_eq!(decided(&template, Action::Retire), Ok(Some(retired())));
    let template = after(&[published(1, version()), retired()]);
    assert!(template.retired);
    assert_eq!(decided(&template, Action::Retire), Ok(None));
    assert_eq!(decided(&template, Action::Publish(version())), Ok(Some(published(2, version()))));
    assert!(!after(&[published(1, version()), retired(), published(2, version())]).retired);
}

#[test]
fn keys_have_a_shape() {
    for text in ["a", "invoice.ready", "0-9_z", &"k".repeat(128)] {
        assert!(TemplateKey::new(text.to_owned()).is_ok(), "{text}");
    }
    for text in ["", "Invoice", "a b", "a/b", "ä", &"k".repeat(129)] {
        assert!(TemplateKey::new(text.to_owned()).is_err(), "{text}");
    }
}

#[test]
fn a_version_has_limits() {
    let refused = |default: &str, sources: BTreeMap<Locale, String>, names: &[&str]| {
        let arguments = names.iter().map(|name| ((*name).to_owned(), ArgumentType::String)).collect();
        Version::new(locale(default), sources, arguments).unwrap_err().pointer
    };
    let en = |source: &str| BTreeMap::from([(locale("en"), source.to_owned())]);
    assert_eq!(refused("de", en(""), &[]), "/sources");
    assert_eq!(refused("en", en(&"x".repeat(Version::SOURCE_BYTES_MAX + 1)), &[]), "/sources/en");
    let many = (0..=Version::SOURCES_MAX).map(|n| (locale(&format!("en-x{n}")), String::new()));
    assert_eq!(refused("en-x0", many.collect(), &[]), "/sources");
    for name in ["", "1st", "a b", "ä", "$a", &"a".repeat(65)] {
        assert_eq!(refused("en", en(""), &[name]), format!("/arguments/{name}"));
    }
    let names: Vec<String> = (0..=Version::ARGUMENTS_MAX).map(|n| format!("a{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(refused("en", en(""), &names), "/arguments");
}
