//! Categories and named plans stand as they were last said, and lean on each other soundly.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::collections::BTreeMap;

use super::*;
use crate::golden::Contract;
use crate::notification::{PlanStep, Unless};
use crate::recipient::Switches;
use crate::template::TemplateKey;

fn tenant() -> Tenant {
    Tenant::try_from("acme".to_owned()).unwrap()
}

fn category(text: &str) -> Category {
    Category::new(text.into()).unwrap()
}

fn name(text: &str) -> PlanName {
    PlanName::try_from(text.to_owned()).unwrap()
}

fn plan() -> Plan {
    let email = PlanStep { after_s: Some(300), unless: Some(Unless::Read), ..PlanStep::on(Channel::Email) };
    Plan::new(vec![PlanStep::on(Channel::InApp), email]).unwrap()
}

fn everything() -> CategorySettings {
    CategorySettings {
        critical: true,
        channels: Switches::from([(Channel::InApp, true), (Channel::Email, false)]),
        plan: Some(PlanChoice::Steps(plan())),
        throttle: Some(Throttle { max: 5, window_s: 3600 }),
        digest: None,
    }
}

fn collected() -> CategorySettings {
    let digest = DigestSettings {
        window_s: 600,
        key: Some(DigestKey::try_from("data.thread_id".to_owned()).unwrap()),
        items_max: 100,
        template: Some(TemplateKey::new("comments-digest".into()).unwrap()),
    };
    CategorySettings { digest: Some(digest), ..CategorySettings::default() }
}

fn named(text: &str) -> CategorySettings {
    CategorySettings { plan: Some(PlanChoice::Named(name(text))), ..CategorySettings::default() }
}

fn changed(settings: CategorySettings) -> Event {
    Event::CategoryChanged { tenant: tenant(), category: category("billing"), settings }
}

fn category_removed() -> Event {
    Event::CategoryRemoved { tenant: tenant(), category: category("billing") }
}

fn plan_changed() -> Event {
    Event::PlanChanged { tenant: tenant(), name: name("insist"), plan: plan() }
}

fn plan_removed() -> Event {
    Event::PlanRemoved { tenant: tenant(), name: name("insist") }
}

#[derive(Default)]
struct Told(Settings);

impl Told {
    fn act(&mut self, action: Action) -> Result<Option<Event>, Error> {
        let event = self.0.decide(&Command { tenant: tenant(), action })?;
        event.iter().for_each(|event| self.0.evolve(event));
        Ok(event)
    }

    fn change(&mut self, text: &str, settings: CategorySettings) -> Result<Option<Event>, Error> {
        self.act(Action::ChangeCategory { category: category(text), settings: Box::new(settings) })
    }

    fn name_plan(&mut self, text: &str) -> Result<Option<Event>, Error> {
        self.act(Action::ChangePlan { name: name(text), plan: plan() })
    }
}

#[test]
fn the_log_is_read_for_ever() {
    let expectations = BTreeMap::from([
        ("settings.category_changed@1.0.0", changed(everything())),
        ("settings.category_changed@1.0.0-digest", changed(collected())),
        ("settings.category_changed@1.0.0-named", changed(named("insist"))),
        ("settings.category_removed@1.0.0", category_removed()),
        ("settings.plan_changed@1.0.0", plan_changed()),
        ("settings.plan_removed@1.0.0", plan_removed()),
    ]);
    let families = &["settings.category", "settings.plan"];
    let all = [changed(everything()), category_removed(), plan_changed(), plan_removed()];
    Contract { families, expectations }.check(&all);
}

#[test]
fn what_stands_is_not_said_again() {
    let mut told = Told::default();
    assert_eq!(told.act(Action::RemoveCategory { category: category("billing") }), Ok(None));
    assert_eq!(told.act(Action::RemovePlan { name: name("insist") }), Ok(None));
    assert_eq!(told.change("billing", everything()), Ok(Some(changed(everything()))));
    assert_eq!(told.change("billing", everything()), Ok(None));
    assert_eq!(told.change("billing", CategorySettings::default()), Ok(Some(changed(Default::default()))));
    assert_eq!(
        told.act(Action::RemoveCategory { category: category("billing") }),
        Ok(Some(category_removed()))
    );
    assert_eq!(told.name_plan("insist"), Ok(Some(plan_changed())));
    assert_eq!(told.name_plan("insist"), Ok(None));
    assert_eq!(told.act(Action::RemovePlan { name: name("insist") }), Ok(Some(plan_removed())));
    assert_eq!(told.0, Settings::default());
}

#[test]
fn a_category_names_a_plan_that_is_there_and_stays_there() {
    let mut told = Told::default();
    assert_eq!(told.change("billing", named("insist")), Err(Error::UnknownPlan));
    told.name_plan("insist").unwrap();
    told.change("billing", named("insist")).unwrap();
    let remove = Action::RemovePlan { name: name("insist") };
    assert_eq!(told.act(remove.clone()), Err(Error::PlanInUse { category: category("billing") }));
    told.change("billing", CategorySettings::default()).unwrap();
    assert_eq!(told.act(remove), Ok(Some(plan_removed())));
}

#[test]
fn a_tenant_has_so_many_of_each() {
    let mut told = Told::default();
    for n in 0..Settings::CATEGORIES_MAX {
        told.change(&n.to_string(), CategorySettings::default()).unwrap();
    }
    assert_eq!(told.change("more", CategorySettings::default()), Err(Error::TooManyCategories));
    assert!(told.change("7", everything()).unwrap().is_some(), "what is there can be changed");
    for n in 0..Settings::PLANS_MAX {
        told.name_plan(&n.to_string()).unwrap();
    }
    assert_eq!(told.name_plan("more"), Err(Error::TooManyPlans));
    assert_eq!(told.name_plan("7"), Ok(None));
}

#[test]
fn a_notification_without_a_plan_has_that_of_its_category_or_the_default_or_the_inbox() {
    let mut told = Told::default();
    let steps = |told: &Told, text: Option<&str>| {
        let category = text.map(category);
        told.0.plan_for(category.as_ref()).steps().len()
    };
    assert_eq!((steps(&told, None), steps(&told, Some("billing"))), (1, 1));
    told.name_plan("insist").unwrap();
    told.change("billing", named("insist")).unwrap();
    told.change("news", CategorySettings::default()).unwrap();
    assert_eq!((steps(&told, None), steps(&told, Some("billing")), steps(&told, Some("news"))), (1, 2, 1));
    told.name_plan(PlanName::DEFAULT).unwrap();
    assert_eq!((steps(&told, None), steps(&told, Some("news")), steps(&told, Some("other"))), (2, 2, 2));
    let inbox = CategorySettings { plan: Some(PlanChoice::Steps(Plan::default())), ..Default::default() };
    told.change("billing", inbox).unwrap();
    assert_eq!(steps(&told, Some("billing")), 1);
}

#[test]
fn the_recipients_word_goes_before_the_categorys_and_what_is_critical_before_both() {
    let mut told = Told::default();
    let off = |critical| CategorySettings {
        critical,
        channels: Switches::from([(Channel::Email, false)]),
        ..CategorySettings::default()
    };
    told.change("news", off(false)).unwrap();
    told.change("alarms", off(true)).unwrap();
    let admits = |preferences: &Preferences, text: &str, channel| {
        told.0.admits(preferences, Some(&category(text)), channel)
    };
    let silent = Preferences::default();
    assert!(!admits(&silent, "news", Channel::Email) && admits(&silent, "news", Channel::Slack));
    assert!(admits(&silent, "other", Channel::Email) && told.0.admits(&silent, None, Channel::Email));
    let wants =
        |on| Preferences { channels: Switches::from([(Channel::Email, on)]), ..Preferences::default() };
    assert!(admits(&wants(true), "news", Channel::Email) && !admits(&wants(false), "other", Channel::Email));
    assert!(!told.0.admits(&wants(false), None, Channel::Email));
    assert!(admits(&wants(false), "alarms", Channel::Email));
    let critical = ["news", "alarms", "other"].map(|text| told.0.is_critical(Some(&category(text))));
    assert_eq!((critical, told.0.is_critical(None)), ([false, true, false], false));
}

#[test]
fn a_plan_is_named_by_what_a_path_can_hold() {
    for text in ["a", "0", "Insist_1.x-y", &"t".repeat(64)] {
        assert_eq!(name(text).as_str(), text);
    }
    for text in ["", ".", "..", "-a", "_", "a b", "a/b", "ä", "a:b", "a\n", &"t".repeat(65)] {
        assert!(PlanName::try_from(text.to_owned()).is_err(), "{text:?}");
    }
}
