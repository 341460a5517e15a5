//! JSON Web Tokens (RFC 7519) of end users, signed with a shared secret (HS256).

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use tidings_domain::{Tenant, UserId};

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

/// What a token must satisfy. The algorithm is fixed here, never taken from the token.
#[derive(Clone)]
pub struct TokenRules {
    key: DecodingKey,
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
    pub fn hs256(secret: &str, audience: Option<&str>, issuer: Option<&str>) -> Self {
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
        Self { key: DecodingKey::from_secret(secret.as_bytes()), validation }
    }

    pub fn check(&self, token: &str) -> Result<Principal, Denied> {
        let claims = jsonwebtoken::decode::<Checked>(token, &self.key, &self.validation)
            .map_err(|error| Denied::Token(reason(error.kind())))?
            .claims;
        let tenant = match claims.tenant {
            Some(tenant) => Tenant::try_from(tenant).map_err(|_| Denied::Token("its tenant is malformed"))?,
            None => Tenant::default_tenant(),
        };
        let user = UserId::try_from(claims.sub).map_err(|_| Denied::Token("its subject is no user id"))?;
        Ok(Principal::User { tenant, user, expires_at_unix_seconds: Some(claims.exp) })
    }
}

fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidAudience => "it is meant for another audience",
        ErrorKind::InvalidIssuer => "it comes from another issuer",
        ErrorKind::MissingRequiredClaim(_) => "a required claim is missing",
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => "its algorithm is not accepted",
        ErrorKind::InvalidSignature => "its signature does not match",
        _ => "it is malformed",
    }
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

    fn check(claims: &Value) -> Result<Principal, Denied> {
        TokenRules::hs256(SECRET, None, None).check(&signed(claims))
    }

    #[test]
    fn a_token_names_a_user_of_its_tenant() {
        let user = |tenant: &str| Principal::User {
            tenant: Tenant::try_from(tenant.to_owned()).expect("a tenant"),
            user: UserId::try_from("alice".to_owned()).expect("a user"),
            expires_at_unix_seconds: Some(LATER),
        };
        assert_eq!(check(&json!({"sub": "alice", "exp": LATER})), Ok(user("default")));
        assert_eq!(check(&json!({"sub": "alice", "exp": LATER, "tenant": "acme"})), Ok(user("acme")));
        assert_eq!(
            check(&json!({"sub": "alice", "exp": LATER, "aud": ["any"], "iss": "any"})),
            Ok(user("default"))
        );
    }

    #[test]
    fn a_token_without_subject_or_expiry_or_with_bad_ones_is_refused() {
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
            assert!(matches!(check(&claims), Err(Denied::Token(_))), "{claims}");
        }
    }

    #[test]
    fn a_forged_token_is_refused_whatever_algorithm_it_names() {
        let rules = TokenRules::hs256(SECRET, None, None);
        let claims = BASE64.encode(json!({"sub": "alice", "exp": LATER}).to_string());
        for header in [json!({"alg": "none"}), json!({"alg": "RS256"}), json!({"alg": "HS512"}), json!({})] {
            let token = format!("{}.{claims}.", BASE64.encode(header.to_string()));
            assert!(rules.check(&token).is_err(), "{header}");
        }
        let other = jsonwebtoken::encode(
            &Header::default(),
            &json!({"sub": "alice", "exp": LATER}),
            &EncodingKey::from_secret(b"another secret of thirty-two bytes or so"),
        );
        assert_eq!(rules.check(&other.expect("encodes")), Err(Denied::Token("its signature does not match")));
        for garbage in ["", "a.b.c", "...", "\u{fffd}"] {
            assert!(rules.check(garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn audience_and_issuer_are_required_where_configured() {
        let rules = TokenRules::hs256(SECRET, Some("tidings"), Some("idp"));
        let check = |claims: Value| rules.check(&signed(&claims));
        assert!(check(json!({"sub": "a", "exp": LATER, "aud": "tidings", "iss": "idp"})).is_ok());
        assert!(check(json!({"sub": "a", "exp": LATER, "aud": ["x", "tidings"], "iss": "idp"})).is_ok());
        for claims in [
            json!({"sub": "a", "exp": LATER}),
            json!({"sub": "a", "exp": LATER, "aud": "other", "iss": "idp"}),
            json!({"sub": "a", "exp": LATER, "aud": "tidings", "iss": "other"}),
            json!({"sub": "a", "exp": LATER, "aud": "tidings"}),
            json!({"sub": "a", "exp": LATER, "iss": "idp"}),
        ] {
            assert!(check(claims.clone()).is_err(), "{claims}");
        }
    }

    #[test]
    fn an_issued_token_is_accepted() {
        let user = UserId::try_from("alice".to_owned()).expect("a user");
        let token = issue(SECRET, &Tenant::default_tenant(), &user, LATER, (Some("tidings"), None));
        let rules = TokenRules::hs256(SECRET, Some("tidings"), None);
        assert!(rules.check(&token.expect("issues")).is_ok());
    }
}
