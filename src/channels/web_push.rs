//! Web Push (RFC 8030): to a browser by its push service, which cannot read it (RFC 8291) and keeps one message per
//! notification, however often it is sent.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use p256::PublicKey;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value};
use tidings_domain::notification::{FailureClass, Priority};
use tidings_domain::recipient::PushSubscription;
use tidings_projections::inbox::rfc3339;
use time::OffsetDateTime;

use super::post::{Answer, Post, excerpt};
use super::vapid::VapidKey;
use super::{Message, Sent, failed, without};
use crate::clock;

/// Bytes of a message before it is encrypted: with them it has the 4,096 that every push service takes (RFC 8291, 4).
const PAYLOAD_BYTES_MAX: usize = 3_993;
/// Bytes that are left for a title; for less the URL is left out.
const TITLE_BYTES_MIN: usize = 256;
const CUT: &str = "…";
/// How long a push service keeps what a browser that is not there has not fetched, in seconds. Some refuse more than four weeks.
const TTL_S_MAX: i64 = 28 * 24 * 3600;
const TTL_S_DEFAULT: i64 = 7 * 24 * 3600;
const P256DH_BYTES: usize = 65;
const AUTH_BYTES: usize = 16;

/// By whom it is signed.
pub struct Signer<'a> {
    pub private_key: Option<&'a str>,
    pub subject: &'a str,
}

/// What a browser gave to encrypt for it.
pub struct BrowserKeys {
    public: PublicKey,
    auth: web_push_native::Auth,
}

/// Which member of a subscription is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidKey {
    P256dh,
    Auth,
}

impl BrowserKeys {
    pub fn parse(subscription: &PushSubscription) -> Result<Self, InvalidKey> {
        let bytes = |text: &str| BASE64URL.decode(text).ok();
        // It says whether the point is on the curve, too.
        let public = bytes(&subscription.p256dh)
            .filter(|bytes| bytes.len() == P256DH_BYTES)
            .and_then(|bytes| PublicKey::from_sec1_bytes(&bytes).ok())
            .ok_or(InvalidKey::P256dh)?;
        let auth = bytes(&subscription.auth).and_then(|bytes| <[u8; AUTH_BYTES]>::try_from(bytes).ok());
        Ok(Self { public, auth: auth.ok_or(InvalidKey::Auth)?.into() })
    }
}

pub async fn send(
    post: &Post,
    to: &PushSubscription,
    signer: &Signer<'_>,
    message: &Message,
    time_limit: Duration,
) -> Sent {
    let (body, headers) = match (encrypted(to, message), headers(to, signer, message, clock::now())) {
        (Ok(body), Ok(headers)) => (body, headers),
        (Err(why), _) | (_, Err(why)) => return failed(FailureClass::Permanent, why.into()),
    };
    match post.send(&to.endpoint, headers, body, time_limit).await {
        Ok(answer) => judge(answer, &to.endpoint),
        Err(failure) => Sent::Failed { failure, retry_after_s: None },
    }
}

/// RFC 8030, 7.3: a subscription that has ended is 404 or 410.
fn judge(answer: Answer, endpoint: &str) -> Sent {
    match answer.status.as_u16() {
        200..=299 => {
            let told = answer.location.map(|it| excerpt(without(&it, endpoint).as_bytes()));
            Sent::Delivered { provider_ref: told }
        }
        404 => answer.fail(FailureClass::Gone),
        _ => answer.judge(),
    }
}

fn encrypted(to: &PushSubscription, message: &Message) -> Result<Vec<u8>, &'static str> {
    let keys = BrowserKeys::parse(to).map_err(|_| "it cannot be encrypted: the browser's keys are none")?;
    let body = web_push_native::encrypt(payload(message), &keys.public, &keys.auth);
    body.map_err(|_| "it cannot be encrypted")
}

fn headers(
    to: &PushSubscription,
    signer: &Signer<'_>,
    message: &Message,
    now: OffsetDateTime,
) -> Result<HeaderMap, &'static str> {
    let key = signer.private_key.and_then(VapidKey::parse).ok_or("it cannot be signed: no key is set")?;
    let authorization = key.authorization(&to.endpoint, signer.subject, now);
    let authorization = authorization.ok_or("it cannot be signed for this endpoint")?;
    let text = |text: &str| HeaderValue::from_str(text).expect("digits, base64url and dots fit a header");
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("aes128gcm"));
    headers.insert(AUTHORIZATION, text(&authorization));
    headers.insert("ttl", ttl_s(message.expires_at, now).into());
    headers.insert("urgency", HeaderValue::from_static(urgency(message.priority)));
    // RFC 8030, 5.4: one that a browser has not fetched is replaced by the next with the same. At most 32 characters: a UUID.
    headers.insert("topic", text(&message.notification.uuid().simple().to_string()));
    Ok(headers)
}

fn ttl_s(expires_at: Option<OffsetDateTime>, now: OffsetDateTime) -> i64 {
    expires_at.map_or(TTL_S_DEFAULT, |at| (at - now).whole_seconds().clamp(0, TTL_S_MAX))
}

/// RFC 8030, 5.3.
fn urgency(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "low",
        Priority::Normal => "normal",
        Priority::High | Priority::Urgent => "high",
    }
}

/// JSON for the page's service worker. What does not fit is cut from the body, then from the title; a URL is there whole or
/// not at all.
fn payload(message: &Message) -> Vec<u8> {
    let mut members = Map::new();
    let id = Value::from(message.notification.to_string());
    members.insert("notification_id".into(), id.clone());
    members.insert("tag".into(), id);
    members.insert("priority".into(), message.priority.as_str().into());
    members.insert("timestamp".into(), rfc3339(message.created_at).into());
    let optional = [
        ("category", message.category.as_ref().map(|category| category.as_str())),
        ("locale", message.locale.as_ref().map(|locale| locale.as_str())),
        ("action_url", message.words.action_url.as_deref()),
    ];
    for (name, value) in optional {
        value.into_iter().for_each(|value| _ = members.insert(name.into(), value.into()));
    }
    members.insert("title".into(), "".into());
    members.insert("body".into(), "".into());
    let room = |members: &Map<String, Value>| PAYLOAD_BYTES_MAX.checked_sub(written(members).len());
    if room(&members).is_none_or(|room| room < TITLE_BYTES_MIN) {
        members.remove("action_url");
    }
    for (name, text) in [("title", &message.words.title), ("body", &message.words.body)] {
        let room = room(&members).unwrap_or_default();
        members.insert(name.into(), fitted(text, room).into());
    }
    written(&members)
}

fn written(members: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(members).expect("strings and JSON values always serialise")
}

/// As much of it as needs so many bytes in JSON.
fn fitted(text: &str, bytes_max: usize) -> String {
    let (mut bytes, mut end) = (0, 0);
    for (at, c) in text.char_indices() {
        if bytes + CUT.len() <= bytes_max {
            end = at;
        }
        bytes += bytes_in_json(c);
        if bytes > bytes_max {
            return if CUT.len() <= bytes_max { format!("{}{CUT}", &text[..end]) } else { String::new() };
        }
    }
    text.to_owned()
}

/// RFC 8259, 7.
fn bytes_in_json(c: char) -> usize {
    match c {
        '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
        '\0'..='\u{1f}' => 6,
        _ => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    //! What a browser is told, how long and how urgently, and what its push service says.
    #![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

    use reqwest::StatusCode;
    use time::macros::datetime;

    use super::super::message::sample;
    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

    fn browser() -> PushSubscription {
        // RFC 8291, section 5.
        PushSubscription {
            endpoint: "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV".into(),
            p256dh: "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
                .into(),
            auth: "BTBZMqHH6r4Tts7J_aSIgg".into(),
        }
    }

    fn told(message: &Message) -> Value {
        let bytes = payload(message);
        assert!(bytes.len() <= PAYLOAD_BYTES_MAX, "{}", bytes.len());
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn what_does_not_fit_is_cut_the_body_first_and_never_a_url() {
        let mut message = sample();
        let all = told(&message);
        assert_eq!(
            (&all["title"], &all["body"]),
            (&"Your invoice is ready".into(), &"It is due on 1 December.".into())
        );
        assert_eq!(
            (&all["action_url"], &all["tag"]),
            (&"https://acme.example/7".into(), &all["notification_id"])
        );
        for unit in ["a", "ä", "\"", "\n", "\0", "😀", "a\u{1}ß"] {
            message.words.body = unit.repeat(4_000);
            let all = told(&message);
            let body = all["body"].as_str().unwrap();
            assert!(
                body.ends_with(CUT) && message.words.body.starts_with(body.trim_end_matches(CUT)),
                "{body}"
            );
            assert!(payload(&message).len() > PAYLOAD_BYTES_MAX - 8, "no room is left");
            assert_eq!(all["action_url"], "https://acme.example/7");
        }
        message.words.title = "😀".repeat(1_000);
        let all = told(&message);
        assert!(all["title"].as_str().unwrap().ends_with(CUT) && all["body"].as_str().unwrap().is_empty());
        message.words.action_url = Some(format!("/{}", "ä".repeat(2_047)));
        let all = told(&message);
        assert!(all.get("action_url").is_none() && all["title"].as_str().unwrap().len() > 3_000);
    }

    #[test]
    fn a_text_fits_or_is_cut_to_the_byte() {
        for (text, bytes_max, expected) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "…"),
            ("abcde", 4, "a…"),
            ("a\"cd", 4, "a…"),
            ("ab", 1, ""),
            ("", 0, ""),
        ] {
            assert_eq!(fitted(text, bytes_max), expected, "{text} in {bytes_max}");
        }
        for c in (0..0x3000).filter_map(char::from_u32) {
            assert_eq!(bytes_in_json(c), serde_json::to_string(&c).unwrap().len() - 2, "{c:?}");
        }
    }

    #[test]
    fn it_is_kept_until_it_expires_and_is_as_urgent_as_it_is() {
        let at = |days| Some(NOW + time::Duration::days(days));
        assert_eq!((ttl_s(None, NOW), ttl_s(at(1), NOW)), (TTL_S_DEFAULT, 86_400));
        assert_eq!((ttl_s(at(40), NOW), ttl_s(at(-1), NOW)), (TTL_S_MAX, 0));
        assert_eq!(Priority::ALL.map(urgency), ["low", "normal", "high", "high"]);
    }

    #[test]
    fn keys_are_what_they_should_be_and_on_the_curve() {
        let key = |p256dh: &str, auth: &str| {
            let subscription = PushSubscription { p256dh: p256dh.into(), auth: auth.into(), ..browser() };
            BrowserKeys::parse(&subscription).err()
        };
        let PushSubscription { p256dh, auth, .. } = browser();
        assert_eq!(key(&p256dh, &auth), None);
        let off_the_curve = p256dh.replace("Aiw4", "Aiw8");
        let compressed = &BASE64URL.encode(&BASE64URL.decode(&p256dh).unwrap()[..33]);
        for wrong in ["", "BCVx", &off_the_curve, compressed, &format!("{p256dh}="), &auth] {
            assert_eq!(key(wrong, &auth), Some(InvalidKey::P256dh), "{wrong}");
        }
        for wrong in ["", "BTBZMqHH6r4Tts7J_aSI", "BTBZMqHH6r4Tts7J/aSIgg", &p256dh] {
            assert_eq!(key(&p256dh, wrong), Some(InvalidKey::Auth), "{wrong}");
        }
    }

    #[test]
    fn a_subscription_that_has_ended_is_gone() {
        let judged = |status: u16| {
            let location = Some(format!("https://push.example.net/m/7?of={}", browser().endpoint));
            let status = StatusCode::from_u16(status).unwrap();
            judge(
                Answer { status, retry_after_s: None, location, excerpt: String::new() },
                &browser().endpoint,
            )
        };
        let class = |status| match judged(status) {
            Sent::Delivered { provider_ref } => Err(provider_ref),
            Sent::Failed { failure, .. } | Sent::Refused { failure } => Ok(failure.class),
        };
        let reference = "https://push.example.net/m/7?of=(the address)".to_owned();
        for status in [200, 201, 202, 204] {
            assert_eq!(class(status), Err(Some(reference.clone())));
        }
        assert_eq!((class(404), class(410)), (Ok(FailureClass::Gone), Ok(FailureClass::Gone)));
        for status in [400, 401, 403, 413] {
            assert_eq!(class(status), Ok(FailureClass::Permanent), "{status}");
        }
        assert_eq!((class(429), class(503)), (Ok(FailureClass::Transient), Ok(FailureClass::Transient)));
    }
}
