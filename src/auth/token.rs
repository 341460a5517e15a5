//! JSON Web Tokens (RFC 7519) of end users, signed with a shared secret (HS256) or by a key of the issuer's JWKS.
//!
//! The invariant: the secret checks HS256 and nothing else, the JWKS everything else and never HS256. So no public key is
//! ever taken for a secret.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use tidings_domain::{Tenant, UserId};

use super::jwks::Jwks;
use super::{Denied, Principal};

/// Clocks of issuers may differ from ours by this much.
pub const LEEWAY_SECONDS: u64 = 30;

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
}

/// What a token must satisfy.
#[derive(Clone)]
pub struct TokenRules {
    secret: Option<DecodingKey>,
    jwks: Option<Jwks>,
    /// For HS256; the JWKS fixes its own algorithms.
    validation: Validation,
}

/// Only what is needed of a checked token; `aud` and `iss` were checked by then and may have any shape.
#[derive(Deserialize)]
struct Checked {
    sub: String,
    exp: i64,
    tenant: Option<String>,
}

impl TokenRules {
    /// `sub` and `exp` are always required, `aud` and `iss` where one is configured.
    pub fn new(
        secret: Option<&str>,
        jwks: Option<Jwks>,
        audience: Option<&str>,
        issuer: Option<&str>,
    ) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        let mut required = vec!["exp", "sub"];
        match audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                required.push("aud");
            }
            // Without this a token that names any audience would be refused.
            None => validation.validate_aud = false,
        }
        if let Some(issuer) = issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        let secret = secret.map(|secret| DecodingKey::from_secret(secret.as_bytes()));
        Self { secret, jwks, validation }
    }

    pub async fn check(&self, token: &str) -> Result<Principal, Denied> {
        let header = jsonwebtoken::decode_header(token).map_err(refused)?;
        // RFC 7515, section 4.1.11: what must be understood and is not, refuses the token.
        if header.crit.is_some() {
            return Err(Denied::Token("it has critical extensions"));
        }
        if header.alg.family() == AlgorithmFamily::Hmac {
            let secret = self.secret.as_ref().ok_or(NOT_ACCEPTED)?;
            return principal(token, secret, &self.validation);
        }
        let jwks = self.jwks.as_ref().ok_or(NOT_ACCEPTED)?;
        let key = jwks.find(token, header.kid.as_deref(), header.alg).await?;
        let validation = Validation { algorithms: vec![header.alg], ..self.validation.clone() };
        principal(token, &key, &validation)
    }
}

const NOT_ACCEPTED: Denied = Denied::Token("its algorithm is not accepted");

fn principal(token: &str, key: &DecodingKey, validation: &Validation) -> Result<Principal, Denied> {
    let claims = jsonwebtoken::decode::<Checked>(token, key, validation).map_err(refused)?.claims;
    let tenant = match claims.tenant {
        Some(tenant) => Tenant::try_from(tenant).map_err(|_| Denied::Token("its tenant is malformed"))?,
        None => Tenant::default_tenant(),
    };
    let user = UserId::try_from(claims.sub).map_err(|_| Denied::Token("its subject is no user id"))?;
    Ok(Principal::User { tenant, user, expires_at_unix_seconds: Some(claims.exp), vouched_by: None })
}

fn refused(error: jsonwebtoken::errors::Error) -> Denied {
    Denied::Token(match error.kind() {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidAudience => "it is meant for another audience",
        ErrorKind::InvalidIssuer => "it comes from another issuer",
        ErrorKind::MissingRequiredClaim(_) => "a required claim is missing",
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => "its algorithm is not accepted",
        ErrorKind::InvalidSignature => "its signature does not match",
        _ => "it is malformed",
    })
}

/// A token for `user`, for trying things out and for backends without a JWT library at hand.
pub fn issue(
    secret: &str,
    tenant: &Tenant,
    user: &UserId,
    expires_at_unix_seconds: i64,
    (audience, issuer): (Option<&str>, Option<&str>),
) -> Result<String, jsonwebtoken::errors::Error> {
    let claims = Claims {
        sub: user.as_str().into(),
        exp: expires_at_unix_seconds,
        tenant: Some(tenant.as_str().into()),
        aud: audience.map(str::to_owned),
        iss: issuer.map(str::to_owned),
    };
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    //! Which tokens are accepted.
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "a secret of at least thirty-two bytes";
    const LATER: i64 = 4_000_000_000;

    fn signed(claims: &Value) -> String {
        jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes()))
            .expect("claims serialise")
    }

    async fn check(claims: &Value) -> Result<Principal, Denied> {
        TokenRules::new(Some(SECRET), None, None, None).check(&signed(claims)).await
    }

    #[tokio::test]
    async fn a_token_names_a_user_of_its_tenant() {
        let user = |tenant: &str| Principal::User {
            tenant: Tenant::try_from(tenant.to_owned()).expect("a tenant"),
            user: UserId::try_from("alice".to_owned()).expect("a user"),
            expires_at_unix_seconds: Some(LATER),
            vouched_by: None,
        };
        assert_eq!(check(&json!({"sub": "alice", "exp": LATER})).await, Ok(user("default")));
        assert_eq!(check(&json!({"sub": "alice", "exp": LATER, "tenant": "acme"})).await, Ok(user("acme")));
        assert_eq!(
            check(&json!({"sub": "alice", "exp": LATER, "aud": ["any"], "iss": "any"})).await,
            Ok(user("default"))
        );
    }

    #[tokio::test]
    async fn a_token_without_subject_or_expiry_or_with_bad_ones_is_refused() {
        for claims in [
            json!({"sub": "alice"}),
            json!({"exp": LATER}),
            json!({"sub": "alice", "exp": 1_000}),
            json!({"sub": "alice", "exp": "tomorrow"}),
            json!({"sub": "", "exp": LATER}),
            json!({"sub": 7, "exp": LATER}),
            json!({"sub": "alice", "exp": LATER, "nbf": LATER}),
            json!({"sub": "alice", "exp": LATER, "tenant": "No Tenant"}),
        ] {
            assert!(matches!(check(&claims).await, Err(Denied::Token(_))), "{claims}");
        }
    }

    #[tokio::test]
    async fn a_forged_token_is_refused_whatever_algorithm_it_names() {
        let rules = TokenRules::new(Some(SECRET), None, None, None);
        let claims = BASE64.encode(json!({"sub": "alice", "exp": LATER}).to_string());
        for header in [json!({"alg": "none"}), json!({"alg": "RS256"}), json!({"alg": "HS512"}), json!({})] {
            let token = format!("{}.{claims}.", BASE64.encode(header.to_string()));
            assert!(rules.check(&token).await.is_err(), "{header}");
        }
        let other = jsonwebtoken::encode(
            &Header::default(),
            &json!({"sub": "alice", "exp": LATER}),
            &EncodingKey::from_secret(b"another secret of thirty-two bytes or so"),
        );
        assert_eq!(
            rules.check(&other.expect("encodes")).await,
            Err(Denied::Token("its signature does not match"))
        );
        for garbage in ["", "a.b.c", "...", "\u{fffd}"] {
            assert!(rules.check(garbage).await.is_err(), "{garbage}");
        }
    }

    #[tokio::test]
    async fn audience_and_issuer_are_required_where_configured() {
        let rules = TokenRules::new(Some(SECRET), None, Some("tidings"), Some("idp"));
        let check = async |claims: Value| rules.check(&signed(&claims)).await;
        assert!(check(json!({"sub": "a", "exp": LATER, "aud": "tidings", "iss": "idp"})).await.is_ok());
        assert!(
            check(json!({"sub": "a", "exp": LATER, "aud": ["x", "tidings"], "iss": "idp"})).await.is_ok()
        );
        for claims in [
            json!({"sub": "a", "exp": LATER}),
            json!({"sub": "a", "exp": LATER, "aud": "other", "iss": "idp"}),
            json!({"sub": "a", "exp": LATER, "aud": "tidings", "iss": "other"}),
            json!({"sub": "a", "exp": LATER, "aud": "tidings"}),
            json!({"sub": "a", "exp": LATER, "iss": "idp"}),
        ] {
            assert!(check(claims.clone()).await.is_err(), "{claims}");
        }
    }

    #[tokio::test]
    async fn an_issued_token_is_accepted() {
        let user = UserId::try_from("alice".to_owned()).expect("a user");
        let token = issue(SECRET, &Tenant::default_tenant(), &user, LATER, (Some("tidings"), None));
        let rules = TokenRules::new(Some(SECRET), None, Some("tidings"), None);
        assert!(rules.check(&token.expect("issues")).await.is_ok());
    }
}
