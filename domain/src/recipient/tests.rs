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
            Vec::new(),
        )
        .unwrap(),
    }
}

fn device(number: usize) -> PushSubscription {
    PushSubscription {
        endpoint: format!("https://push.example/{number}"),
        p256dh: "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8"
            .into(),
        auth: "BTBZMqHH6r4Tts7J_aSIgg".into(),
    }
}

fn with_devices(numbers: impl IntoIterator<Item = usize>) -> Profile {
    let web_push = numbers.into_iter().map(device).collect();
    Profile { addresses: Addresses { web_push, ..Addresses::default() }, ..Profile::default() }
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
    disabled_on(Channel::Webhook, Addresses::default())
}

fn disabled_on(channel: Channel, addresses: Addresses) -> Event {
    Event::AddressDisabled { tenant: tenant(), user_id: user(), channel, addresses }
}

fn change(profile: Profile) -> Action {
    Action::ChangeProfile { profile, keeps_push: false }
}

fn decided(recipient: &Recipient, action: Action) -> Option<Event> {
    recipient.decide(&Command { tenant: tenant(), user: user(), action })
}

#[test]
fn the_log_is_read_for_ever() {
    let expectations = BTreeMap::from([
        ("recipient.profile_changed@1.0.0", described(profile())),
        ("recipient.profile_changed@1.0.0-minimal", described(Profile::default())),
        ("recipient.profile_changed@1.0.0-web_push", described(with_devices([1, 2]))),
        ("recipient.preferences_changed@1.0.0", preferring(preferences())),
        ("recipient.preferences_changed@1.0.0-minimal", preferring(Preferences::default())),
        ("recipient.address_disabled@1.0.0", disabled()),
        (
            "recipient.address_disabled@1.0.0-web_push",
            disabled_on(Channel::WebPush, with_devices([1]).addresses),
        ),
    ]);
    let contract = Contract { families: &["recipient."], expectations };
    contract.check(&[described(profile()), preferring(preferences()), disabled()]);
}

#[test]
fn a_change_replaces_the_whole_and_leaves_the_other_half_alone() {
    let mut ada = Recipient::default();
    for action in [change(profile()), Action::ChangePreferences(preferences())] {
        let event = decided(&ada, action.clone()).unwrap();
        ada.evolve(&event);
        assert_eq!(decided(&ada, action), None);
    }
    assert_eq!(ada, Recipient { profile: profile(), preferences: preferences() });
    let event = decided(&ada, change(Profile::default())).unwrap();
    ada.evolve(&event);
    assert_eq!(ada, Recipient { profile: Profile::default(), preferences: preferences() });
}

#[test]
fn whom_nobody_has_described_is_not_described_by_saying_nothing() {
    assert_eq!(decided(&Recipient::default(), change(Profile::default())), None);
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
    let email = |text: &str| Addresses::new(Some(text.into()), None, None, Vec::new());
    assert!(email("ada@example.com").is_ok());
    for text in ["", "ada@example.com\r\nBcc: eve@example.com", "ada @example.com", "ada\u{2028}@example.com"]
    {
        assert_eq!(email(text).unwrap_err().pointer, "/addresses/email", "{text:?}");
    }
    assert!(email(&"a".repeat(255)).is_err());
    let url = Addresses::new(None, None, Some("https://ada.example/ x".into()), Vec::new());
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

#[test]
fn browsers_come_and_go_and_the_newest_ten_stay() {
    let mut ada = Recipient::default();
    let mut act = |action: Action| {
        let event = decided(&ada, action);
        event.iter().for_each(|event| ada.evolve(event));
        event.map(|event| {
            let Event::ProfileChanged { profile, .. } = event else { panic!("{event:?}") };
            profile.addresses.web_push
        })
    };
    let add = |number| Action::AddPushSubscription(device(number));
    assert_eq!(act(add(1)), Some(vec![device(1)]));
    assert_eq!(act(add(1)), None, "it is there");
    for number in 2..=10 {
        act(add(number)).unwrap();
    }
    assert_eq!(act(add(11)), Some((2..=11).map(device).collect()), "instead of the oldest");
    let renewed = PushSubscription { auth: "AAAAAAAAAAAAAAAAAAAAAA".into(), ..device(2) };
    let after = act(Action::AddPushSubscription(renewed.clone())).unwrap();
    assert_eq!((after.len(), &after[0], &after[9]), (10, &device(3), &renewed), "one per endpoint");
    let remove = |endpoint: String| Action::RemovePushSubscription { endpoint };
    assert_eq!(act(remove(renewed.endpoint.clone())), Some((3..=11).map(device).collect()));
    assert_eq!(act(remove(renewed.endpoint)), None);
}

#[test]
fn a_profile_is_replaced_around_the_browsers_unless_it_names_them() {
    let mut ada = Recipient::default();
    ada.evolve(&described(with_devices([1, 2])));
    let keeping = Action::ChangeProfile { profile: profile(), keeps_push: true };
    let mut both = profile();
    both.addresses.web_push = vec![device(1), device(2)];
    assert_eq!(decided(&ada, keeping.clone()), Some(described(both.clone())));
    ada.evolve(&described(both));
    assert_eq!(decided(&ada, keeping), None);
    assert_eq!(decided(&ada, change(profile())), Some(described(profile())));
}

#[test]
fn a_browser_that_is_no_more_is_forgotten_and_the_others_are_not() {
    let mut ada = Recipient::default();
    ada.evolve(&described(with_devices([1, 2, 3])));
    let gone = |number| {
        let address = device(number).endpoint;
        Action::DisableAddress { channel: Channel::WebPush, address }
    };
    let disabled = disabled_on(Channel::WebPush, with_devices([2]).addresses);
    assert_eq!(decided(&ada, gone(2)), Some(disabled.clone()));
    ada.evolve(&disabled);
    assert_eq!(decided(&ada, gone(2)), None);
    assert_eq!(ada.profile, with_devices([1, 3]));
    // Of whom was forgotten nobody knows which it was.
    ada.evolve(&disabled_on(Channel::WebPush, Addresses::default()));
    assert_eq!(ada.profile, Profile::default());
}

#[test]
fn browsers_are_few_and_each_is_one() {
    let push = |numbers: Vec<usize>| {
        Addresses::new(None, None, None, with_devices(numbers).addresses.web_push)
            .map_err(|invalid| invalid.pointer)
    };
    assert!(push((1..=10).collect()).is_ok());
    assert_eq!(push((1..=11).collect()), Err("/addresses/web_push"));
    assert_eq!(push(vec![1, 2, 1]), Err("/addresses/web_push"));
    let far =
        PushSubscription { endpoint: format!("https://push.example/{}", "x".repeat(2_048)), ..device(1) };
    assert_eq!(Addresses::new(None, None, None, vec![far]).unwrap_err().pointer, "/addresses/web_push");
}
