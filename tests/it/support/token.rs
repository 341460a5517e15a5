//! Tokens of end users: good ones, and any kind of bad one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::Service;

/// When tokens expire: in the year 2096, or in 2001.
pub const NEVER: i64 = 4_000_000_000;
pub const LONG_AGO: i64 = 1_000_000_000;

impl Service {
    pub fn token(&self, user: &str) -> String {
        self.token_of("default", user)
    }

    pub fn token_of(&self, tenant: &str, user: &str) -> String {
        signed(&self.jwt_secret(), &json!({"sub": user, "exp": NEVER, "tenant": tenant}))
    }
}

/// Signed by HS256.
pub fn signed(secret: &str, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// Without a signature, under a header of the forger's choice.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}.", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}
