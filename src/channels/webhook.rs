//! Webhooks, as Standard Webhooks has them (<https://www.standardwebhooks.com>): signed, with an id that stays the same, and a
//! body that says what happened and when.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};
use sha2::Sha256;
use tidings_domain::notification::FailureClass;
use tidings_domain::settings::Secrets;
use tidings_projections::inbox::rfc3339;
use time::OffsetDateTime;

use super::post::Post;
use super::{Message, Sent, failed};
use crate::clock;

/// What a body says that it is.
const TYPE: &str = "notification.created";

pub async fn send(
    post: &Post,
    url: &str,
    secrets: &Secrets,
    message: &Message,
    time_limit: Duration,
) -> Sent {
    let body = body(message).to_string().into_bytes();
    let Some(headers) = headers(&message.idempotency_key(), clock::now(), &body, secrets) else {
        return failed(FailureClass::Permanent, "it cannot be signed: no secret is set".into());
    };
    match post.send(url, headers, body, time_limit).await {
        Ok(answer) => answer.judge(),
        Err(failure) => Sent::Failed { failure, retry_after_s: None },
    }
}

/// The same in each attempt.
fn body(message: &Message) -> Value {
    let Message { words, .. } = message;
    let mut data = json!({
        "notification_id": message.notification,
        "user_id": message.user,
        "priority": message.priority,
        "title": words.title,
        "body": words.body,
    });
    let optional = [
        ("category", message.category.as_ref().map(|category| category.as_str().into())),
        ("action_url", words.action_url.clone().map(Value::from)),
        ("locale", message.locale.as_ref().map(|locale| locale.as_str().into())),
        ("data", message.data.clone().map(Value::Object)),
    ];
    for (name, value) in optional {
        value.into_iter().for_each(|value| data[name] = value);
    }
    json!({"type": TYPE, "timestamp": rfc3339(message.created_at), "data": data})
}

/// `None` where nothing signs.
fn headers(id: &str, now: OffsetDateTime, body: &[u8], secrets: &Secrets) -> Option<HeaderMap> {
    let timestamp = now.unix_timestamp().to_string();
    let signatures: Vec<String> =
        secrets.signing_at(now).filter_map(|secret| signature(secret, id, &timestamp, body)).collect();
    if signatures.is_empty() {
        return None;
    }
    let text = |text: &str| HeaderValue::from_str(text).expect("ids, digits and base64 fit a header");
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    headers.insert("webhook-id", text(id));
    headers.insert("webhook-timestamp", text(&timestamp));
    headers.insert("webhook-signature", text(&signatures.join(" ")));
    Some(headers)
}

/// `v1,` and the base64 of HMAC-SHA256 over id, timestamp and body.
fn signature(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> Option<String> {
    let key = BASE64.decode(secret.strip_prefix("whsec_")?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", BASE64.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    //! Signatures, by the specification's own example.
    #![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

    use tidings_domain::settings::SigningSecret;
    use time::macros::datetime;

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_signature_is_the_one_of_the_specification() {
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signed = signature(SECRET, id, "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signed.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_signs_until_its_end() {
        let now = datetime!(2026-11-22 12:00 UTC);
        let secret = |secret: &str, until| SigningSecret { secret: secret.into(), until };
        let old = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let signing = vec![secret(SECRET, None), secret(old, Some(now))];
        let secrets = Secrets { signing, ..Secrets::default() };
        let signatures = |now| {
            let headers = headers("ntf_1/webhook", now, b"{}", &secrets).unwrap();
            headers["webhook-signature"].to_str().unwrap().split(' ').count()
        };
        assert_eq!((signatures(now - time::Duration::SECOND), signatures(now)), (2, 1));
        assert!(headers("ntf_1/webhook", now, b"{}", &Secrets::default()).is_none());
    }
}
