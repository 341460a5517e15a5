//! What a tenant says of its channels is kept whole, secrets outlive what does not name them, and a secret that is replaced goes
//! on signing for a while.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use time::Duration;
use time::macros::datetime;

use super::*;
use crate::golden::Contract;
use crate::notification::{Backoff, RetryPolicy};

const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

fn tenant() -> Tenant {
    Tenant::try_from("acme".to_owned()).unwrap()
}

fn name(text: &str) -> ProviderName {
    ProviderName::new(text.into()).unwrap()
}

fn smtp() -> Smtp {
    Smtp {
        host: "mail.acme.example".into(),
        port: 587,
        security: Security::Starttls,
        username: Some("tidings".into()),
        from: "Acme <no-reply@acme.example>".into(),
        reply_to: Some("help@acme.example".into()),
        tls_ca: Some("-----BEGIN CERTIFICATE-----".into()),
        unsubscribe_url: Some("https://acme.example/u/{user_id}".into()),
        unsubscribe_one_click: true,
    }
}

fn webhook(url: &str) -> Endpoint {
    Endpoint::Webhook { url: Some(url.into()) }
}

fn settings(providers: Vec<(&str, Endpoint)>) -> ChannelSettings {
    let provider = |(text, endpoint)| Provider { name: name(text), endpoint };
    ChannelSettings {
        providers: providers.into_iter().map(provider).collect(),
        timeout_ms: 5_000,
        retry: RetryPolicy::STANDARD_WEBHOOKS,
        per_second: None,
        semantics: Semantics::AtLeastOnce,
    }
}

fn signed_by(secret: &str, overlap_until: OffsetDateTime) -> NewSecrets {
    let signing = Some(NewSigningSecret { secret: secret.into(), overlap_until });
    NewSecrets { signing, ..NewSecrets::default() }
}

fn password(text: &str) -> NewSecrets {
    NewSecrets { password: Some(text.into()), ..NewSecrets::default() }
}

fn email(providers: Vec<(&str, Endpoint)>) -> Event {
    let channel = ChannelSettings {
        retry: RetryPolicy {
            attempts_max: 4,
            backoff: Backoff::Exponential { base_ms: 250, cap_ms: 60_000 },
        },
        per_second: Some(20),
        semantics: Semantics::AtMostOnce,
        ..settings(providers)
    };
    let secrets = Secrets { password: Some("hush".into()), ..Secrets::default() };
    Event::ChannelConfigured {
        tenant: tenant(),
        channel: Channel::Email,
        settings: channel,
        secrets: BTreeMap::from([(name("main"), secrets)]),
    }
}

fn web_push() -> Endpoint {
    Endpoint::WebPush { subject: "mailto:ops@acme.example".into() }
}

fn web_push_configured(private_key: &str) -> Event {
    let secrets = Secrets { private_key: Some(private_key.into()), ..Secrets::default() };
    Event::ChannelConfigured {
        tenant: tenant(),
        channel: Channel::WebPush,
        settings: settings(vec![("main", web_push())]),
        secrets: BTreeMap::from([(name("main"), secrets)]),
    }
}

fn removed() -> Event {
    Event::ChannelRemoved { tenant: tenant(), channel: Channel::Slack }
}

fn disabled() -> Event {
    Event::EndpointDisabled { tenant: tenant(), channel: Channel::Webhook, provider: name("main") }
}

/// A tenant's settings, and what it says of them one after the other.
#[derive(Default)]
struct Told(Settings);

impl Told {
    fn act(&mut self, action: Action) -> Result<Option<Event>, Error> {
        let event = self.0.decide(&Command { tenant: tenant(), action })?;
        event.iter().for_each(|event| self.0.evolve(event));
        Ok(event)
    }

    fn configure(
        &mut self,
        channel: Channel,
        settings: ChannelSettings,
        secrets: &[(&str, NewSecrets)],
        now: OffsetDateTime,
    ) -> Result<Option<Event>, Error> {
        let secrets = secrets.iter().map(|(text, new)| (name(text), new.clone())).collect();
        self.act(Action::ConfigureChannel(Box::new(ConfigureChannel { channel, settings, secrets, now })))
    }

    fn signing(&self, now: OffsetDateTime) -> Vec<&str> {
        self.0.channels[&Channel::Webhook].secrets[&name("main")].signing_at(now).collect()
    }
}

fn pointer(result: Result<Option<Event>, Error>) -> String {
    match result {
        Err(Error::Invalid(invalid)) => invalid.pointer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_log_is_read_for_ever() {
    let signing = vec![
        SigningSecret { secret: "whsec_bmV3".into(), until: None },
        SigningSecret { secret: "whsec_b2xk".into(), until: Some(NOW) },
    ];
    let webhook = Event::ChannelConfigured {
        tenant: tenant(),
        channel: Channel::Webhook,
        settings: settings(vec![("main", webhook("https://acme.example/in"))]),
        secrets: BTreeMap::from([(name("main"), Secrets { signing, ..Secrets::default() })]),
    };
    let url = Secrets { url: Some("https://hooks.example/T1".into()), ..Secrets::default() };
    let slack = Event::ChannelConfigured {
        tenant: tenant(),
        channel: Channel::Slack,
        settings: settings(vec![("main", Endpoint::Slack {})]),
        secrets: BTreeMap::from([(name("main"), url)]),
    };
    let web_push = web_push_configured("yv66vg");
    let expectations = BTreeMap::from([
        ("settings.channel_configured@1.0.0-web_push", web_push),
        ("settings.channel_configured@1.0.0", email(vec![("main", Endpoint::Smtp(smtp()))])),
        ("settings.channel_configured@1.0.0-webhook", webhook.clone()),
        ("settings.channel_configured@1.0.0-slack", slack),
        ("settings.channel_removed@1.0.0", removed()),
        ("settings.endpoint_disabled@1.0.0", disabled()),
    ]);
    Contract { families: &["settings.channel", "settings.endpoint"], expectations }.check(&[
        webhook,
        removed(),
        disabled(),
    ]);
}

#[test]
fn what_stands_is_not_said_again_and_secrets_outlive_what_does_not_name_them() {
    let mut told = Told::default();
    let at = || settings(vec![("main", webhook("https://acme.example/in"))]);
    told.configure(Channel::Webhook, at(), &[("main", signed_by("a", NOW))], NOW).unwrap().unwrap();
    assert_eq!(told.configure(Channel::Webhook, at(), &[], NOW), Ok(None));
    assert_eq!(told.configure(Channel::Webhook, at(), &[("main", signed_by("a", NOW))], NOW), Ok(None));
    let elsewhere = settings(vec![("main", webhook("https://acme.example/there"))]);
    assert!(told.configure(Channel::Webhook, elsewhere, &[], NOW).unwrap().is_some());
    assert_eq!(told.signing(NOW), ["a"]);
    let renamed = settings(vec![("other", webhook("https://acme.example/in"))]);
    assert_eq!(pointer(told.configure(Channel::Webhook, renamed, &[], NOW)), "/providers/0/webhook/secret");
}

#[test]
fn a_replaced_secret_signs_until_its_overlap_ends() {
    let mut told = Told::default();
    let at = || settings(vec![("main", webhook("https://acme.example/in"))]);
    let later = NOW + Duration::hours(24);
    told.configure(Channel::Webhook, at(), &[("main", signed_by("a", NOW))], NOW).unwrap();
    told.configure(Channel::Webhook, at(), &[("main", signed_by("b", later))], NOW).unwrap();
    assert_eq!(told.signing(NOW), ["b", "a"]);
    assert_eq!(told.signing(later), ["b"]);
    // A longer overlap does not bring back what was about to end, and what has ended goes.
    let much_later = later + Duration::hours(24);
    told.configure(Channel::Webhook, at(), &[("main", signed_by("c", much_later))], NOW).unwrap();
    assert_eq!(told.signing(later - Duration::SECOND), ["c", "b", "a"]);
    assert_eq!(told.signing(later), ["c", "b"]);
    told.configure(Channel::Webhook, at(), &[("main", signed_by("d", much_later))], much_later).unwrap();
    assert_eq!(told.0.channels[&Channel::Webhook].secrets[&name("main")].signing.len(), 1);
    // One that comes back signs once.
    told.configure(
        Channel::Webhook,
        at(),
        &[("main", signed_by("e", much_later + Duration::DAY))],
        much_later,
    )
    .unwrap();
    let back = signed_by("d", much_later + Duration::DAY);
    told.configure(Channel::Webhook, at(), &[("main", back)], much_later).unwrap();
    assert_eq!(told.signing(much_later), ["d", "e"]);
}

#[test]
fn secrets_that_sign_at_once_are_few() {
    let mut told = Told::default();
    for secret in ["a", "b", "c", "d", "e", "f", "g"] {
        let at = settings(vec![("main", webhook("https://acme.example/in"))]);
        let new = signed_by(secret, NOW + Duration::DAY);
        told.configure(Channel::Webhook, at, &[("main", new)], NOW).unwrap();
    }
    assert_eq!(told.signing(NOW), ["g", "f", "e", "d", "c"]);
}

#[test]
fn a_password_stays_with_the_account_it_opens() {
    let mut told = Told::default();
    let at = |smtp| settings(vec![("main", Endpoint::Smtp(smtp))]);
    let bare = || Smtp { username: None, ..smtp() };
    assert_eq!(pointer(told.configure(Channel::Email, at(smtp()), &[], NOW)), "/providers/0/smtp/password");
    let hush = [("main", password("hush"))];
    assert_eq!(pointer(told.configure(Channel::Email, at(bare()), &hush, NOW)), "/providers/0/smtp/username");
    told.configure(Channel::Email, at(smtp()), &hush, NOW).unwrap().unwrap();
    let renamed = Smtp { from: "a@acme.example".into(), ..smtp() };
    assert!(told.configure(Channel::Email, at(renamed), &[], NOW).unwrap().is_some());
    let elsewhere = Smtp { host: "mail.eve.example".into(), ..smtp() };
    assert_eq!(
        pointer(told.configure(Channel::Email, at(elsewhere), &[], NOW)),
        "/providers/0/smtp/password"
    );
    assert!(told.configure(Channel::Email, at(bare()), &[], NOW).unwrap().is_some());
    assert!(told.0.channels[&Channel::Email].secrets.is_empty());
}

#[test]
fn a_key_is_made_once_and_stays_until_another_is_named() {
    let mut told = Told::default();
    let at = || settings(vec![("main", web_push())]);
    let made = |made: &str| NewSecrets { private_key_made: Some(made.into()), ..NewSecrets::default() };
    let named = |named: &str| NewSecrets { private_key: Some(named.into()), ..made("unused") };
    let mut configure = |new: NewSecrets| told.configure(Channel::WebPush, at(), &[("main", new)], NOW);
    assert_eq!(pointer(configure(NewSecrets::default())), "/providers/0/web_push/private_key");
    assert_eq!(configure(made("first")), Ok(Some(web_push_configured("first"))));
    assert_eq!(configure(made("second")), Ok(None));
    assert_eq!(configure(named("third")), Ok(Some(web_push_configured("third"))));
    assert_eq!(configure(made("fourth")), Ok(None));
}

#[test]
fn an_endpoint_that_is_no_more_is_left_alone_until_it_is_said_again() {
    let mut told = Told::default();
    let at = || settings(vec![("main", webhook("https://acme.example/in"))]);
    let gone = |url: &str| Action::DisableEndpoint {
        channel: Channel::Webhook,
        provider: name("main"),
        url: url.into(),
    };
    assert_eq!(told.act(gone("https://acme.example/in")), Ok(None));
    told.configure(Channel::Webhook, at(), &[("main", signed_by("a", NOW))], NOW).unwrap();
    assert_eq!(told.act(gone("https://acme.example/before")), Ok(None), "another was called");
    assert_eq!(told.act(gone("https://acme.example/in")), Ok(Some(disabled())));
    assert_eq!(told.act(gone("https://acme.example/in")), Ok(None));
    assert_eq!(told.0.channels[&Channel::Webhook].disabled, [name("main")]);
    assert!(told.configure(Channel::Webhook, at(), &[], NOW).unwrap().is_some(), "the same again");
    assert!(told.0.channels[&Channel::Webhook].disabled.is_empty());
}

#[test]
fn a_channel_is_removed_once() {
    let mut told = Told::default();
    let remove = Action::RemoveChannel { channel: Channel::Slack };
    assert_eq!(told.act(remove.clone()), Ok(None));
    let at = settings(vec![("main", Endpoint::Slack {})]);
    told.configure(Channel::Slack, at, &[], NOW).unwrap().unwrap();
    assert_eq!(told.act(remove.clone()), Ok(Some(removed())));
    assert_eq!(told.act(remove), Ok(None));
}

#[test]
fn what_could_not_be_used_is_refused_by_its_name() {
    let good = || settings(vec![("main", webhook("https://acme.example/in"))]);
    let cases: Vec<(&str, Channel, ChannelSettings)> = vec![
        ("/providers", Channel::Webhook, settings(Vec::new())),
        (
            "/providers",
            Channel::Slack,
            settings(["a", "b", "c", "d", "e", "f"].map(|name| (name, Endpoint::Slack {})).into()),
        ),
        (
            "/providers/1/name",
            Channel::Slack,
            settings(vec![("a", Endpoint::Slack {}), ("a", Endpoint::Slack {})]),
        ),
        ("/providers/0/webhook", Channel::Email, good()),
        ("/providers/0/web_push", Channel::Webhook, settings(vec![("a", web_push())])),
        ("/providers", Channel::WebPush, settings(vec![("a", web_push()), ("b", web_push())])),
        ("/providers/0/webhook", Channel::InApp, good()),
        ("/timeout", Channel::Webhook, ChannelSettings { timeout_ms: 99, ..good() }),
        ("/timeout", Channel::Webhook, ChannelSettings { timeout_ms: 60_001, ..good() }),
        ("/rate/per_second", Channel::Webhook, ChannelSettings { per_second: Some(0), ..good() }),
        ("/semantics", Channel::Webhook, ChannelSettings { semantics: Semantics::AtMostOnce, ..good() }),
    ];
    assert_eq!(good().check(Channel::Webhook), Ok(()));
    for (pointer, channel, settings) in cases {
        assert_eq!(settings.check(channel).unwrap_err().pointer, pointer, "{settings:?}");
    }
    let retry = |attempts_max, base_ms, cap_ms| {
        let retry = RetryPolicy { attempts_max, backoff: Backoff::Exponential { base_ms, cap_ms } };
        ChannelSettings { retry, ..good() }.check(Channel::Webhook).map_err(|invalid| invalid.pointer)
    };
    assert_eq!(retry(50, 1, ChannelSettings::CAP_MS_MAX), Ok(()));
    assert_eq!(retry(0, 1, 1), Err("/retry/attempts_max".into()));
    assert_eq!(retry(51, 1, 1), Err("/retry/attempts_max".into()));
    assert_eq!(retry(1, 0, 1), Err("/retry/base".into()));
    assert_eq!(retry(1, 2, 1), Err("/retry/base".into()));
    assert_eq!(retry(1, 1, ChannelSettings::CAP_MS_MAX + 1), Err("/retry/cap".into()));
    for text in ["", "Main", "a b", &"a".repeat(64)] {
        assert_eq!(ProviderName::new(text.to_owned()), None);
    }
}

#[test]
fn nothing_that_prints_prints_a_secret() {
    let told = format!("{:?} {:?}", email(vec![("main", Endpoint::Smtp(smtp()))]), password("hush"));
    assert!(!told.contains("hush"), "{told}");
}
