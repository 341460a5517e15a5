//! What is said of a source is kept whole, and secrets outlive what does not name them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use crate::NotificationId;
use crate::golden::Contract;

fn tenant() -> Tenant {
    Tenant::try_from("acme".to_owned()).unwrap()
}

fn name() -> SourceName {
    SourceName::try_from("github".to_owned()).unwrap()
}

fn settings() -> Settings {
    let some = |text: &str| Some(text.to_owned());
    let mapping = Mapping {
        when: some("headers['x-github-event'] == 'issues'"),
        user_id: "payload.assignee.login".into(),
        title: some("payload.issue.title"),
        body: some("payload.issue.body"),
        template: None,
        args: BTreeMap::new(),
        action_url: some("payload.issue.html_url"),
        category: some("'issues'"),
        priority: some("'high'"),
        data: some("{'number': payload.issue.number}"),
        tags: some("['github']"),
    };
    let (requests_per_second, burst) = (Some(10), Some(50));
    Settings { scheme: Scheme::Github, tolerance_s: 300, mapping, requests_per_second, burst }
}

fn of_template() -> Settings {
    let args = BTreeMap::from([("amount".to_owned(), "payload.data.amount".to_owned())]);
    let template = Some("invoice.ready".to_owned());
    let mapping = Mapping { user_id: "payload.user".into(), template, args, ..Mapping::default() };
    let scheme = Scheme::Stripe;
    Settings { scheme, tolerance_s: 60, mapping, requests_per_second: None, burst: None }
}

fn secrets(texts: &[&str]) -> Secrets {
    Secrets(texts.iter().map(|text| (*text).to_owned()).collect())
}

fn configured(settings: Settings, texts: &[&str]) -> Event {
    let settings = Box::new(settings);
    Event::Configured { tenant: tenant(), name: name(), settings, secrets: secrets(texts) }
}

fn removed() -> Event {
    Event::Removed { tenant: tenant(), name: name() }
}

fn after(events: &[Event]) -> Source {
    let mut source = Source::default();
    events.iter().for_each(|event| source.evolve(event));
    source
}

fn decided(source: &Source, action: Action) -> Result<Option<Event>, Error> {
    source.decide(&Command { tenant: tenant(), name: name(), action })
}

fn configure(settings: Settings, texts: Option<&[&str]>) -> Action {
    Action::Configure { settings: Box::new(settings), secrets: texts.map(secrets) }
}

#[test]
fn the_log_of_sources_is_read_for_ever() {
    let expectations = BTreeMap::from([
        ("source.configured@1.0.0", configured(settings(), &["new", "old"])),
        ("source.configured@1.0.0-template", configured(of_template(), &["whsec_1"])),
        ("source.removed@1.0.0", removed()),
    ]);
    Contract { families: &["source."], expectations }.check(&[configured(settings(), &[]), removed()]);
}

#[test]
fn the_log_of_hooks_is_read_for_ever() {
    let notifications = vec![NotificationId::new(Uuid::from_u128(7))];
    let (tenant, source, delivery_id) = (tenant(), name(), "72d3162e".to_owned());
    let fault = Fault { pointer: "/title".into(), detail: "there is no member `issue`".into() };
    let accepted = Hook::Accepted {
        tenant: tenant.clone(),
        source: source.clone(),
        delivery_id: delivery_id.clone(),
        notifications,
    };
    let ignored =
        Hook::Ignored { tenant: tenant.clone(), source: source.clone(), delivery_id: delivery_id.clone() };
    let failed = Hook::Failed { tenant, source, delivery_id, reason: fault };
    let expectations = BTreeMap::from([
        ("hook.accepted@1.0.0", accepted.clone()),
        ("hook.ignored@1.0.0", ignored.clone()),
        ("hook.failed@1.0.0", failed.clone()),
    ]);
    Contract { families: &["hook."], expectations }.check(&[accepted, ignored, failed]);
}

#[test]
fn what_stands_is_not_said_again_and_secrets_outlive_what_does_not_name_them() {
    let unborn = Source::default();
    assert_eq!(decided(&unborn, configure(settings(), None)), Err(Error::NoSecrets));
    let first = configured(settings(), &["a"]);
    assert_eq!(decided(&unborn, configure(settings(), Some(&["a"]))), Ok(Some(first.clone())));
    let source = after(std::slice::from_ref(&first));
    for same in [None, Some(&["a"][..])] {
        assert_eq!(decided(&source, configure(settings(), same)), Ok(None));
    }
    let faster = Settings { burst: Some(60), ..settings() };
    let second = configured(faster.clone(), &["a"]);
    assert_eq!(decided(&source, configure(faster, None)), Ok(Some(second)));
    let rotated = configured(settings(), &["b", "a"]);
    assert_eq!(decided(&source, configure(settings(), Some(&["b", "a"]))), Ok(Some(rotated)));
}

#[test]
fn another_scheme_needs_other_secrets() {
    let source = after(&[configured(settings(), &["a"])]);
    assert_eq!(decided(&source, configure(of_template(), None)), Err(Error::OtherScheme));
    let other = configured(of_template(), &["b"]);
    assert_eq!(decided(&source, configure(of_template(), Some(&["b"]))), Ok(Some(other)));
}

#[test]
fn what_is_removed_is_gone_with_its_secrets() {
    assert_eq!(decided(&Source::default(), Action::Remove), Err(Error::NotFound));
    let source = after(&[configured(settings(), &["a"])]);
    assert_eq!(decided(&source, Action::Remove), Ok(Some(removed())));
    let source = after(&[configured(settings(), &["a"]), removed()]);
    assert_eq!(decided(&source, Action::Remove), Ok(None));
    assert_eq!(decided(&source, configure(settings(), None)), Err(Error::NoSecrets));
}

#[test]
fn names_and_ids_have_one_spelling() {
    for text in ["a", "git-hub_2", &"n".repeat(63)] {
        let name = SourceName::try_from(text.to_owned()).unwrap();
        let source = SourceId { tenant: tenant(), name };
        assert_eq!(source.to_string().parse(), Ok(source.clone()));
        let hook = HookId { source, uuid: Uuid::from_u128(9) };
        assert_eq!(hook.to_string().parse(), Ok(hook));
    }
    for text in ["", "A", "a:b", "a.b", "a/b", "ä", &"n".repeat(64)] {
        assert!(SourceName::try_from(text.to_owned()).is_err(), "{text}");
    }
    assert_eq!(SourceId { tenant: tenant(), name: name() }.to_string(), "src_4:acmegithub");
    for text in ["src_4:acme", "src_04:acmegithub", "hok_4:acmegithub", "hok_4:acmegithub:7"] {
        assert!(text.parse::<SourceId>().is_err() && text.parse::<HookId>().is_err(), "{text}");
    }
    let compact =
        format!("{}{}", HookId::prefix(&SourceId { tenant: tenant(), name: name() }), "0".repeat(32));
    assert!(compact.parse::<HookId>().is_err());
}

#[test]
fn secrets_are_in_no_debug_output() {
    let told = format!("{:?}", configured(settings(), &["hunter2"]));
    assert!(!told.contains("hunter2"), "{told}");
}
