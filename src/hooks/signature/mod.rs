//! Signatures of webhooks: Standard Webhooks (<https://www.standardwebhooks.com>), GitHub's `X-Hub-Signature-256` and Stripe's
//! `Stripe-Signature`. All are HMAC-SHA256 (RFC 2104) over the body, two of them with a timestamp before it.
//!
//! A source that is not there is checked like any other, with a key that nobody has: what it takes tells nothing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use poem::http::HeaderMap;
use sha2::Sha256;
use tidings_domain::source::{Configured, Scheme, Secrets};

/// Characters of what a provider calls a delivery.
pub const DELIVERY_ID_CHARS_MAX: usize = 255;
/// Signatures of one request that are looked at.
const SIGNATURES_MAX: usize = 10;
/// Bytes of a key: what Standard Webhooks asks for, and what is no guess.
const STANDARD_KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const KEY_CHARS: std::ops::RangeInclusive<usize> = 16..=256;
/// Stands for a key where there is none.
const NO_KEY: &[u8] = &[0; 32];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Signature,
    /// The signature is right, and made too long ago or too far ahead.
    Timestamp,
}

/// What a request claims to be.
struct Claim {
    /// What is signed before the body.
    prefix: Vec<u8>,
    timestamp: Option<i64>,
    signatures: Vec<Vec<u8>>,
}

/// Fails for what is not signed with a key of the source, or not around now (Unix seconds).
pub fn verify(
    source: Option<&Configured>,
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
) -> Result<(), Refused> {
    let scheme = source.map_or_else(|| scheme_of(headers), |source| source.settings.scheme);
    let claim = match scheme {
        Scheme::StandardWebhooks => standard_webhooks(headers),
        Scheme::Github => github(headers),
        Scheme::Stripe => stripe(headers),
    };
    let claim = claim.unwrap_or(Claim { prefix: Vec::new(), timestamp: None, signatures: Vec::new() });
    let secrets = source.map_or(&[][..], |source| &source.secrets.0);
    let mut is_right = false;
    for number in 0..Secrets::MAX {
        let key = secrets.get(number).and_then(|secret| key(scheme, secret));
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_deref().unwrap_or(NO_KEY))
            .expect("a key of HMAC has any length");
        mac.update(&claim.prefix);
        mac.update(body);
        // In constant time, and all of them.
        let fits = claim.signatures.iter().filter(|it| mac.clone().verify_slice(it).is_ok()).count() > 0;
        is_right |= fits && key.is_some();
    }
    match (is_right, claim.timestamp, source) {
        (true, None, Some(_)) => Ok(()),
        (true, Some(at), Some(source)) => {
            let within = now.abs_diff(at) <= source.settings.tolerance_s.into();
            if within { Ok(()) } else { Err(Refused::Timestamp) }
        }
        _ => Err(Refused::Signature),
    }
}

/// What the provider calls the delivery, where a header says so; Stripe says it in the body.
pub fn delivery_id(scheme: Scheme, headers: &HeaderMap) -> Option<String> {
    let name = match scheme {
        Scheme::StandardWebhooks => "webhook-id",
        Scheme::Github => "x-github-delivery",
        Scheme::Stripe => return None,
    };
    only(headers, name).filter(|id| (1..=DELIVERY_ID_CHARS_MAX).contains(&id.len())).map(str::to_owned)
}

/// What is wrong with a secret.
pub fn check_secret(scheme: Scheme, secret: &str) -> Result<(), &'static str> {
    let is_good = match scheme {
        Scheme::StandardWebhooks => {
            key(scheme, secret).is_some_and(|key| STANDARD_KEY_BYTES.contains(&key.len()))
        }
        Scheme::Github | Scheme::Stripe => {
            KEY_CHARS.contains(&secret.len()) && secret.bytes().all(|b| (0x20..0x7f).contains(&b))
        }
    };
    match scheme {
        _ if is_good => Ok(()),
        Scheme::StandardWebhooks => Err("must be `whsec_` and 24 to 64 bytes in base64"),
        Scheme::Github | Scheme::Stripe => Err("must have 16 to 256 printable ASCII characters"),
    }
}

fn key(scheme: Scheme, secret: &str) -> Option<Vec<u8>> {
    match scheme {
        Scheme::StandardWebhooks => BASE64.decode(secret.strip_prefix("whsec_")?).ok(),
        Scheme::Github | Scheme::Stripe => Some(secret.as_bytes().to_vec()),
    }
}

/// Which scheme a request to nobody speaks.
fn scheme_of(headers: &HeaderMap) -> Scheme {
    if headers.contains_key("x-hub-signature-256") {
        Scheme::Github
    } else if headers.contains_key("stripe-signature") {
        Scheme::Stripe
    } else {
        Scheme::StandardWebhooks
    }
}

/// A header that is there once, as text.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Seconds, as digits only: what stands there is what was signed.
fn seconds(text: &str) -> Option<i64> {
    let is_number = (1..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn standard_webhooks(headers: &HeaderMap) -> Option<Claim> {
    let (id, at) = (only(headers, "webhook-id")?, only(headers, "webhook-timestamp")?);
    let signatures = only(headers, "webhook-signature")?.split(' ').filter_map(|it| it.strip_prefix("v1,"));
    Some(Claim {
        prefix: format!("{id}.{at}.").into_bytes(),
        timestamp: Some(seconds(at)?),
        signatures: signatures.take(SIGNATURES_MAX).filter_map(|text| BASE64.decode(text).ok()).collect(),
    })
}

fn github(headers: &HeaderMap) -> Option<Claim> {
    let signature = only(headers, "x-hub-signature-256")?.strip_prefix("sha256=")?;
    Some(Claim { prefix: Vec::new(), timestamp: None, signatures: vec![hex::decode(signature).ok()?] })
}

fn stripe(headers: &HeaderMap) -> Option<Claim> {
    let parts = || only(headers, "stripe-signature").into_iter().flat_map(|it| it.split(','));
    let named =
        |name: &'static str| parts().filter_map(move |part| part.strip_prefix(name)?.strip_prefix('='));
    let mut timestamps = named("t");
    let at = timestamps.next()?;
    if timestamps.next().is_some() {
        return None;
    }
    Some(Claim {
        prefix: format!("{at}.").into_bytes(),
        timestamp: Some(seconds(at)?),
        signatures: named("v1").take(SIGNATURES_MAX).filter_map(|text| hex::decode(text).ok()).collect(),
    })
}

#[cfg(test)]
mod tests;
