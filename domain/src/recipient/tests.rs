//! What is said of a recipient is kept, whole, and nothing is said twice.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::collections::BTreeMap;

use super::*;
use crate::golden::Contract;
use crate::notification::{Category, Channel};

fn tenant() -> Tenant {
    Tenant::try_from("acme".to_owned()).unwrap()
}

fn user() -> UserId {
    UserId::try_from("ada".to_owned()).unwrap()
}

fn billing() -> Category {
    Category::new("billing".into()).unwrap()
}

fn profile() -> Profile {
    let text = |text: &str| Some(text.to_owned());
    Profile {
        locale: Locale::new("de-AT".into()).ok(),
        time_zone: TimeZone::new("Europe/Vienna".into()).ok(),
        addresses: Addresses::new(
            text("ada@example.com"),
            text("https://hooks.example/T1/B1/x"),
            text("https://ada.example/tidings"),
        )
        .unwrap(),
    }
}

fn preferences() -> Preferences {
    let of_billing =
        BTreeMap::from([(Channel::InApp, true), (Channel::Email, true), (Channel::Slack, false)]);
    Preferences {
        channels: BTreeMap::from([(Channel::Email, false), (Channel::Webhook, true)]),
        categories: BTreeMap::from([(billing(), of_billing)]),
        quiet_hours: Some(QuietHours { from: "22:00".parse().unwrap(), to: "07:30".parse().unwrap() }),
    }
}

fn described(profile: Profile) -> Event {
    Event::ProfileChanged { tenant: tenant(), user_id: user(), profile }
}

fn preferring(preferences: Preferences) -> Event {
    Event::PreferencesChanged { tenant: tenant(), user_id: user(), preferences }
}

fn disabled() -> Event {
    Event::AddressDisabled { tenant: tenant(), user_id: user(), channel: Channel::Webhook }
}

fn decided(recipient: &Recipient, action: Action) -> Option<Event> {
    recipient.decide(&Command { tenant: tenant(), user: user(), action })
}

#[test]
fn the_log_is_read_for_ever() {
    let expectations = BTreeMap::from([
        ("recipient.profile_changed@1.0.0", described(profile())),
        ("recipient.profile_changed@1.0.0-minimal", described(Profile::default())),
        ("recipient.preferences_changed@1.0.0", preferring(preferences())),
        ("recipient.preferences_changed@1.0.0-minimal", preferring(Preferences::default())),
        ("recipient.address_disabled@1.0.0", disabled()),
    ]);
    let contract = Contract { families: &["recipient."], expectations };
    contract.check(&[described(profile()), preferring(preferences()), disabled()]);
}

#[test]
fn a_change_replaces_the_whole_and_leaves_the_other_half_alone() {
    let mut ada = Recipient::default();
    for action in [Action::ChangeProfile(profile()), Action::ChangePreferences(preferences())] {
        let event = decided(&ada, action.clone()).unwrap();
        ada.evolve(&event);
        assert_eq!(decided(&ada, action), None);
    }
    assert_eq!(ada, Recipient { profile: profile(), preferences: preferences() });
    let event = decided(&ada, Action::ChangeProfile(Profile::default())).unwrap();
    ada.evolve(&event);
    assert_eq!(ada, Recipient { profile: Profile::default(), preferences: preferences() });
}

#[test]
fn whom_nobody_has_described_is_not_described_by_saying_nothing() {
    assert_eq!(decided(&Recipient::default(), Action::ChangeProfile(Profile::default())), None);
}

#[test]
fn the_word_on_a_category_counts_before_the_general_one() {
    let (preferences, other) = (preferences(), Category::new("news".into()).unwrap());
    assert_eq!(preferences.wants(Some(&billing()), Channel::Email), Some(true));
    assert_eq!(preferences.wants(Some(&other), Channel::Email), Some(false));
    assert_eq!(preferences.wants(Some(&billing()), Channel::Webhook), Some(true));
    assert_eq!(preferences.wants(None, Channel::Email), Some(false));
    assert_eq!(preferences.wants(None, Channel::InApp), None);
}

#[test]
fn times_of_day_have_one_spelling() {
    for text in ["00:00", "07:30", "23:59"] {
        assert_eq!(text.parse::<LocalTime>().unwrap().to_string(), text);
    }
    for text in ["", "7:30", "24:00", "23:60", "+1:00", "07:3", "07-30", "07:30:00", "０7:30"] {
        assert!(text.parse::<LocalTime>().is_err(), "{text}");
    }
}

#[test]
fn what_would_break_out_of_a_header_is_no_address() {
    let email = |text: &str| Addresses::new(Some(text.into()), None, None);
    assert!(email("ada@example.com").is_ok());
    for text in ["", "ada@example.com\r\nBcc: eve@example.com", "ada @example.com", "ada\u{2028}@example.com"]
    {
        assert_eq!(email(text).unwrap_err().pointer, "/addresses/email", "{text:?}");
    }
    assert!(email(&"a".repeat(255)).is_err());
    let url = Addresses::new(None, None, Some("https://ada.example/ x".into()));
    assert_eq!(url.unwrap_err().pointer, "/addresses/webhook");
}

#[test]
fn languages_and_time_zones_have_a_shape() {
    for text in ["de", "de-AT", "zh-Hant-TW", "ar"] {
        assert!(Locale::new(text.into()).is_ok(), "{text}");
    }
    for text in ["", "-", "de_AT", "de--AT", "languages-are", "de\n", &"a-".repeat(18)] {
        assert!(Locale::new(text.to_owned()).is_err(), "{text:?}");
    }
    for text in ["UTC", "Europe/Vienna", "America/Argentina/Buenos_Aires", "Etc/GMT+5"] {
        assert!(TimeZone::new(text.into()).is_ok(), "{text}");
    }
    for text in ["", "Europe Vienna", "../etc\0", &"a".repeat(65)] {
        assert!(TimeZone::new(text.to_owned()).is_err(), "{text:?}");
    }
}

#[test]
fn an_address_that_is_no_more_is_forgotten_and_another_is_not() {
    let mut recipient = Recipient::default();
    let mut profile = Profile::default();
    profile.addresses.webhook = Some("https://ada.example/in".into());
    profile.addresses.slack = Some("https://hooks.example/T1".into());
    recipient.evolve(&described(profile));
    let gone = |address: &str| {
        let action = Action::DisableAddress { channel: Channel::Webhook, address: address.into() };
        Command { tenant: tenant(), user: user(), action }
    };
    assert_eq!(recipient.decide(&gone("https://ada.example/before")), None, "another was called");
    assert_eq!(recipient.decide(&gone("https://ada.example/in")), Some(disabled()));
    recipient.evolve(&disabled());
    assert_eq!(recipient.decide(&gone("https://ada.example/in")), None);
    let Addresses { webhook, slack, .. } = recipient.profile.addresses;
    assert_eq!((webhook, slack.as_deref()), (None, Some("https://hooks.example/T1")));
}
