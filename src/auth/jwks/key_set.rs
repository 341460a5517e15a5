//! A JSON Web Key Set (RFC 7517): which key, and with it which algorithms, a token may be checked by.
//!
//! The invariant: the algorithms of a key follow from the key alone. A token chooses among them, and never anything
//! else; a symmetric key in a set is none of ours, for whoever can read the set could sign with it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::{Map, Value};

/// More than any issuer has at a time; each costs a little to look at.
const KEYS_MAX: usize = 256;
/// RFC 7518, section 3.3: 2,048 bits or more. The verifier takes no more than 4,096.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;
const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    #[error("it is no JSON Web Key Set: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("it has more than {KEYS_MAX} keys")]
    TooMany,
}

/// The keys of a set that tokens can be checked with.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// Why there is no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKey {
    /// A newer set may have it.
    UnknownId,
    /// The key that it names is for other algorithms.
    OtherAlgorithm,
    /// It names none, and not exactly one key is for its algorithm.
    Unnamed,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// RFC 7517, section 5: keys that are not understood, incomplete or out of range are passed over, so that an issuer
    /// may add a kind that we do not know.
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let Document { keys: members } = serde_json::from_slice(text)?;
        if members.len() > KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let mut keys = Vec::new();
        for member in members {
            let id = member.get("kid").and_then(Value::as_str).unwrap_or_default().to_owned();
            match usable(member) {
                Ok(key) => keys.push(key),
                Err(reason) => tracing::debug!(kid = id, reason, "a key of the JWKS is passed over"),
            }
        }
        Ok(Self { keys })
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key for a token with this header.
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&DecodingKey, NoKey> {
        let mut fitting = self.keys.iter().filter(|key| key.algorithms.contains(&algorithm));
        let Some(id) = id else {
            return match (fitting.next(), fitting.next()) {
                (Some(only), None) => Ok(&only.key),
                _ => Err(NoKey::Unnamed),
            };
        };
        let is_named = |key: &&Key| key.id.as_deref() == Some(id);
        match fitting.find(is_named) {
            Some(key) => Ok(&key.key),
            None if self.keys.iter().any(|key| is_named(&key)) => Err(NoKey::OtherAlgorithm),
            None => Err(NoKey::UnknownId),
        }
    }
}

/// The key, or why it is of no use.
fn usable(member: Map<String, Value>) -> Result<Key, &'static str> {
    let jwk: Jwk = serde_json::from_value(member.into()).map_err(|_| "it is incomplete")?;
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err("it is not for signatures");
    }
    if jwk.key_ops.as_ref().is_some_and(|all| !all.iter().any(|one| one == "verify")) {
        return Err("it is not for verifying");
    }
    let (mut algorithms, key) = match jwk.kty.as_str() {
        "RSA" => (RSA.to_vec(), rsa(&jwk)?),
        "EC" => elliptic(&jwk)?,
        "OKP" => (vec![Algorithm::EdDSA], edwards(&jwk)?),
        "oct" => return Err("it is symmetric"),
        _ => return Err("its type is not known"),
    };
    if let Some(alg) = &jwk.alg {
        let alg: Algorithm = alg.parse().map_err(|_| "its algorithm is not known")?;
        algorithms.retain(|one| *one == alg);
    }
    let first = algorithms.first().ok_or("its algorithm does not fit its type")?;
    // What the verifier would find out anew for every token, such as a point beside the curve.
    jsonwebtoken::crypto::verify("", b"", &key, *first).map_err(|_| "it is out of range")?;
    Ok(Key { id: jwk.kid, algorithms, key })
}

fn rsa(jwk: &Jwk) -> Result<DecodingKey, &'static str> {
    let (modulus, exponent) = (bytes(&jwk.n)?, bytes(&jwk.e)?);
    let leading_zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    if !RSA_MODULUS_BYTES.contains(&(modulus.len() - leading_zeros)) {
        return Err("its modulus has not 2,048 to 4,096 bits");
    }
    Ok(DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

/// RFC 7518, section 6.2.1: coordinates have the full length of the curve, and its curve decides the algorithm.
fn elliptic(jwk: &Jwk) -> Result<(Vec<Algorithm>, DecodingKey), &'static str> {
    let (algorithm, length) = match jwk.crv.as_deref() {
        Some("P-256") => (Algorithm::ES256, 32),
        Some("P-384") => (Algorithm::ES384, 48),
        _ => return Err("its curve is not known"),
    };
    let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
    if (x.len(), y.len()) != (length, length) {
        return Err("its coordinates have not the length of its curve");
    }
    // SEC 1, section 2.3.3: 4 is for an uncompressed point.
    let point = [vec![4], x, y].concat();
    Ok((vec![algorithm], DecodingKey::from_ec_der(&point)))
}

fn edwards(jwk: &Jwk) -> Result<DecodingKey, &'static str> {
    if jwk.crv.as_deref() != Some("Ed25519") {
        return Err("its curve is not known");
    }
    let x = bytes(&jwk.x)?;
    // The verifier relies on it.
    if x.len() != 32 {
        return Err("its coordinate has not the length of its curve");
    }
    Ok(DecodingKey::from_ed_der(&x))
}

fn bytes(member: &Option<String>) -> Result<Vec<u8>, &'static str> {
    let text = member.as_ref().ok_or("it is incomplete")?;
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| "it is not base64url")
}
