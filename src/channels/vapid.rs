//! VAPID (RFC 8292): a push service learns who sends by a key, and a browser takes only what is signed with the key that it
//! subscribed to.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::pkcs8::EncodePrivateKey;
use reqwest::Url;
use serde_json::json;
use time::{Duration, OffsetDateTime};

/// For how long a token is good; push services take at most 24 hours (RFC 8292, 2).
const TOKEN_GOOD_FOR: Duration = Duration::hours(12);
const PRIVATE_KEY_BYTES: usize = 32;

/// A tenant's key for Web Push.
pub struct VapidKey {
    secret: SecretKey,
}

impl VapidKey {
    /// Of 32 bytes in base64url, as the usual tools write it.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL.decode(text).ok().filter(|bytes| bytes.len() == PRIVATE_KEY_BYTES)?;
        Some(Self { secret: SecretKey::from_slice(&bytes).ok()? })
    }

    /// A new one, as [`Self::parse`] reads it.
    pub fn make() -> Result<String, getrandom::Error> {
        let mut bytes = [0; PRIVATE_KEY_BYTES];
        loop {
            getrandom::fill(&mut bytes)?;
            // All but one in 2^32 are a key of P-256.
            if SecretKey::from_slice(&bytes).is_ok() {
                return Ok(BASE64URL.encode(bytes));
            }
        }
    }

    /// What a page passes as `applicationServerKey`: an uncompressed point in base64url.
    pub fn public(&self) -> String {
        BASE64URL.encode(self.secret.public_key().to_encoded_point(false))
    }

    /// The `Authorization` of a call of an endpoint; `None` where that has no origin.
    pub fn authorization(&self, endpoint: &str, subject: &str, now: OffsetDateTime) -> Option<String> {
        let audience = Url::parse(endpoint).ok()?.origin().ascii_serialization();
        let claims = json!({"aud": audience, "exp": (now + TOKEN_GOOD_FOR).unix_timestamp(), "sub": subject});
        let der = self.secret.to_pkcs8_der().ok()?;
        let key = EncodingKey::from_ec_der(der.as_bytes());
        let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &key).ok()?;
        Some(format!("vapid t={token}, k={}", self.public()))
    }
}

#[cfg(test)]
mod tests {
    //! Keys, by the example of the RFC.
    #![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

    use super::*;

    #[test]
    fn a_key_that_is_made_is_read_and_no_two_are_the_same() {
        let [one, other] = [VapidKey::make().unwrap(), VapidKey::make().unwrap()];
        assert_ne!(one, other);
        let public = VapidKey::parse(&one).unwrap().public();
        assert_eq!(BASE64URL.decode(&public).unwrap().len(), 65);
        assert_eq!(VapidKey::parse(&one).unwrap().public(), public);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bytes in [vec![], vec![0; 32], vec![0xff; 32], vec![7; 31], vec![7; 33]] {
            assert!(VapidKey::parse(&BASE64URL.encode(&bytes)).is_none(), "{bytes:?}");
        }
        assert!(VapidKey::parse("not base64!").is_none());
        // RFC 8291, section 5: the keys of the application server.
        let key = VapidKey::parse("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw").unwrap();
        let public =
            "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8";
        assert_eq!(key.public(), public);
    }
}
