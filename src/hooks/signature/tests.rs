//! The vectors that the schemes publish, and everything that is nearly right.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use poem::http::{HeaderName, HeaderValue};
use tidings_domain::source::{Mapping, Settings};

use super::*;

const GITHUB_SECRET: &str = "It's a Secret to Everybody";
const GITHUB: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
const STANDARD_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const STANDARD_AT: i64 = 1_649_367_553;
const STANDARD_BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;
const STANDARD: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";

fn source(scheme: Scheme, secrets: &[&str]) -> Configured {
    let settings = Settings {
        scheme,
        tolerance_s: 300,
        mapping: Mapping::default(),
        requests_per_second: None,
        burst: None,
    };
    Configured { settings, secrets: Secrets(secrets.iter().map(|it| (*it).to_owned()).collect()) }
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
    };
    let mut headers = HeaderMap::new();
    pairs.iter().map(pair).for_each(|(name, value)| _ = headers.append(name, value));
    headers
}

fn standard(signature: &str) -> HeaderMap {
    let (id, at) = ("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", STANDARD_AT.to_string());
    headers(&[("webhook-id", id), ("webhook-timestamp", &at), ("webhook-signature", signature)])
}

fn stripe_signature(secret: &str, at: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(at.as_bytes());
    mac.update(b".");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

#[test]
fn the_published_vector_of_github_is_right_and_nothing_near_it() {
    let verify = |secrets: &[&str], pairs: &[(&str, &str)], body: &[u8]| {
        super::verify(Some(&source(Scheme::Github, secrets)), &headers(pairs), body, 0)
    };
    let (name, body) = ("x-hub-signature-256", b"Hello, World!");
    assert_eq!(verify(&[GITHUB_SECRET], &[(name, GITHUB)], body), Ok(()));
    assert_eq!(verify(&["another secret", GITHUB_SECRET], &[(name, GITHUB)], body), Ok(()));
    let refused = Err(Refused::Signature);
    assert_eq!(verify(&["another secret"], &[(name, GITHUB)], body), refused);
    assert_eq!(verify(&[], &[(name, GITHUB)], body), refused);
    assert_eq!(verify(&[GITHUB_SECRET], &[(name, GITHUB)], b"Hello, World?"), refused);
    assert_eq!(verify(&[GITHUB_SECRET], &[], body), refused);
    assert_eq!(verify(&[GITHUB_SECRET], &[(name, GITHUB), (name, GITHUB)], body), refused, "twice");
    for wrong in ["", "sha256=", &GITHUB[..GITHUB.len() - 2], &GITHUB[7..], &format!("{GITHUB}00"), "sha1=00"]
    {
        assert_eq!(verify(&[GITHUB_SECRET], &[(name, wrong)], body), refused, "{wrong}");
    }
    assert_eq!(super::verify(None, &headers(&[(name, GITHUB)]), body, 0), refused, "nobody's");
    // What an empty key would sign.
    let none = source(Scheme::Github, &[]);
    let mut mac = Hmac::<Sha256>::new_from_slice(NO_KEY).unwrap();
    mac.update(body);
    let forged = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    for source in [None, Some(&none)] {
        assert_eq!(super::verify(source, &headers(&[(name, &forged)]), body, 0), refused);
    }
}

#[test]
fn the_published_vector_of_standard_webhooks_is_right_within_the_tolerance() {
    let source = source(Scheme::StandardWebhooks, &[STANDARD_SECRET]);
    let verify = |headers: &HeaderMap, now| verify(Some(&source), headers, STANDARD_BODY, now);
    for now in [STANDARD_AT - 300, STANDARD_AT, STANDARD_AT + 300] {
        assert_eq!(verify(&standard(STANDARD), now), Ok(()));
    }
    for now in [STANDARD_AT - 301, STANDARD_AT + 301, 0, i64::MAX] {
        assert_eq!(verify(&standard(STANDARD), now), Err(Refused::Timestamp));
    }
    let among = format!("v1a,AAAA v1,AAAA v2,{} {STANDARD}", &STANDARD[3..]);
    assert_eq!(verify(&standard(&among), STANDARD_AT), Ok(()), "several signatures");
    for wrong in ["", "v1,", &STANDARD[3..], &STANDARD.replace("v1,", "v2,"), "v1,not base64"] {
        assert_eq!(verify(&standard(wrong), STANDARD_AT), Err(Refused::Signature), "{wrong}");
    }
    let mut other = standard(STANDARD);
    other.insert("webhook-id", HeaderValue::from_static("msg_other"));
    assert_eq!(verify(&other, STANDARD_AT), Err(Refused::Signature), "the id is signed, too");
    for at in ["", "+1649367553", "1649367553.0", " 1649367553", "01649367553", "99999999999999999999"] {
        let mut other = standard(STANDARD);
        other.insert("webhook-timestamp", HeaderValue::from_str(at).unwrap());
        assert_eq!(verify(&other, STANDARD_AT), Err(Refused::Signature), "{at}");
    }
}

#[test]
fn stripe_signs_the_timestamp_and_may_sign_twice() {
    let secret = "whsec_test_secret_of_stripe";
    let source = source(Scheme::Stripe, &[secret]);
    let body = br#"{"id":"evt_1"}"#;
    let right = stripe_signature(secret, "1000", body);
    let verify =
        |value: &str, now| verify(Some(&source), &headers(&[("stripe-signature", value)]), body, now);
    for value in [
        format!("t=1000,v1={right}"),
        format!("v1={right},t=1000"),
        format!("t=1000,v1={},v1={right},v0=00", stripe_signature("another", "1000", body)),
    ] {
        assert_eq!(verify(&value, 1300), Ok(()), "{value}");
        assert_eq!(verify(&value, 1301), Err(Refused::Timestamp), "{value}");
    }
    for value in [
        format!("t=1001,v1={right}"),
        format!("t=1000,v0={right}"),
        format!("v1={right}"),
        format!("t=1000,t=1000,v1={right}"),
        "t=1000".to_owned(),
        String::new(),
    ] {
        assert_eq!(verify(&value, 1000), Err(Refused::Signature), "{value}");
    }
}

#[test]
fn a_secret_is_what_its_scheme_writes() {
    for (scheme, secret, is_good) in [
        (Scheme::StandardWebhooks, STANDARD_SECRET, true),
        (Scheme::StandardWebhooks, &STANDARD_SECRET[6..], false),
        (Scheme::StandardWebhooks, "whsec_AAAA", false),
        (Scheme::StandardWebhooks, "whsec_?", false),
        (Scheme::Github, GITHUB_SECRET, true),
        (Scheme::Github, "fifteen letters", false),
        (Scheme::Github, "", false),
        (Scheme::Stripe, "with a line break\n", false),
    ] {
        assert_eq!(check_secret(scheme, secret).is_ok(), is_good, "{secret}");
    }
}

#[test]
fn a_delivery_has_the_name_that_its_header_gives_it() {
    let named = |scheme, pairs: &[(&str, &str)]| delivery_id(scheme, &headers(pairs));
    assert_eq!(named(Scheme::Github, &[("x-github-delivery", "72d3162e")]), Some("72d3162e".into()));
    assert_eq!(named(Scheme::StandardWebhooks, &[("webhook-id", "msg_1")]), Some("msg_1".into()));
    assert_eq!(named(Scheme::Github, &[]), None);
    assert_eq!(named(Scheme::Github, &[("x-github-delivery", "")]), None);
    assert_eq!(named(Scheme::Github, &[("x-github-delivery", &"d".repeat(256))]), None);
    assert_eq!(named(Scheme::Github, &[("x-github-delivery", "a"), ("x-github-delivery", "b")]), None);
}
