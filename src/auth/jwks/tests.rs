//! Which tokens a key set lets in, and what tokens can make the node ask its issuer. Time is paused: nothing here waits.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::key_set::KeySetError;
use super::*;
use crate::auth::{Principal, TokenRules};

const SECRET: &str = "a secret of at least thirty-two bytes";
const CLAIMS: &str = r#"{"sub":"alice","exp":4000000000}"#;

/// A pair of keys under tests/keys.
struct Pair {
    private: EncodingKey,
    /// As an issuer publishes it, with neither `alg` nor `kid`.
    public: Value,
}

fn pair(pem: &[u8], algorithm: Algorithm) -> Pair {
    let private = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(pem),
        _ => EncodingKey::from_rsa_pem(pem),
    };
    let private = private.unwrap();
    let mut public = serde_json::to_value(Jwk::from_encoding_key(&private, algorithm).unwrap()).unwrap();
    public.as_object_mut().unwrap().retain(|name, _| name != "alg");
    Pair { private, public }
}

fn rsa() -> Pair {
    pair(include_bytes!("../../../tests/keys/rsa.pem"), Algorithm::RS256)
}

fn p256() -> Pair {
    pair(include_bytes!("../../../tests/keys/p256.pem"), Algorithm::ES256)
}

fn p384() -> Pair {
    pair(include_bytes!("../../../tests/keys/p384.pem"), Algorithm::ES384)
}

fn ed25519() -> Pair {
    pair(include_bytes!("../../../tests/keys/ed25519.pem"), Algorithm::EdDSA)
}

/// The key with more members, or other ones.
fn with(key: &Value, members: Value) -> Value {
    let mut key = key.clone();
    key.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    key
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
}

fn signed(key: &EncodingKey, algorithm: Algorithm, kid: Option<&str>) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    let claims: Value = serde_json::from_str(CLAIMS).unwrap();
    jsonwebtoken::encode(&header, &claims, key).unwrap()
}

/// A header of the forger's choice, over a signature that some algorithm made of it.
fn forged(header: Value, sign: impl FnOnce(&[u8]) -> String) -> String {
    let message = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(CLAIMS));
    let signature = sign(message.as_bytes());
    format!("{message}.{signature}")
}

/// Nobody looks for newer keys.
fn rules(secret: Option<&str>, keys: &[Value]) -> TokenRules {
    let later = Instant::now() + ASKED_EVERY;
    let known = Known { ask_again_at: later, due: later, ..Known::new(Some(set(keys))) };
    let jwks = Jwks { known: Arc::new(watch::Sender::new(known)), last_read: LastRead::default() };
    TokenRules::new(secret, Some(jwks), None, None)
}

async fn reason(rules: &TokenRules, token: &str) -> &'static str {
    match rules.check(token).await {
        Err(Denied::Token(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn each_algorithm_is_checked_by_its_kind_of_key() {
    let (rsa, p256, p384, ed25519) = (rsa(), p256(), p384(), ed25519());
    let keys = [
        with(&rsa.public, json!({"kid": "r", "use": "sig"})),
        with(&p256.public, json!({"kid": "e", "alg": "ES256", "key_ops": ["verify"]})),
        with(&p384.public, json!({"kid": "f"})),
        with(&ed25519.public, json!({"kid": "d", "alg": "EdDSA"})),
    ];
    let rules = rules(None, &keys);
    let rsas = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"].map(|name| (&rsa, "r", name));
    let others = [(&p256, "e", "ES256"), (&p384, "f", "ES384"), (&ed25519, "d", "EdDSA")];
    for (pair, kid, name) in rsas.into_iter().chain(others) {
        let algorithm = name.parse().unwrap();
        for kid in [Some(kid), None] {
            let token = signed(&pair.private, algorithm, kid);
            let Ok(Principal::User { user, .. }) = rules.check(&token).await else {
                panic!("{name} {kid:?}")
            };
            assert_eq!(user.as_str(), "alice");
            let (message, signature) = token.rsplit_once('.').unwrap();
            let (header, _) = message.split_once('.').unwrap();
            let bob = BASE64.encode(CLAIMS.replace("alice", "mallory"));
            let changed = format!("{header}.{bob}.{signature}");
            assert_eq!(reason(&rules, &changed).await, "its signature does not match", "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_header_makes_one_kind_of_key_into_another() {
    let (rsa, p256, ed25519) = (rsa(), p256(), ed25519());
    let keys = [
        with(&rsa.public, json!({"kid": "r", "alg": "RS256"})),
        with(&p256.public, json!({"kid": "e"})),
        with(&ed25519.public, json!({"kid": "d"})),
    ];
    // The public key as the secret of HS256, in each form in which a library might take it.
    let pem = include_str!("../../../tests/keys/rsa.pem");
    let jwk = keys[0].to_string();
    let n = keys[0]["n"].as_str().unwrap();
    for secret in [pem.as_bytes(), jwk.as_bytes(), n.as_bytes(), &BASE64.decode(n).unwrap()] {
        let key = EncodingKey::from_secret(secret);
        for (rules, why) in [
            (rules(None, &keys), "its algorithm is not accepted"),
            (rules(Some(SECRET), &keys), "its signature does not match"),
        ] {
            let header = json!({"alg": "HS256", "kid": "r"});
            let token = forged(header, |message| {
                jsonwebtoken::crypto::sign(message, &key, Algorithm::HS256).unwrap()
            });
            assert_eq!(reason(&rules, &token).await, why);
        }
    }

    let rules = rules(Some(SECRET), &keys);
    let other = "its algorithm is not that of its key";
    for (pair, algorithm, kid) in [
        (&p256, Algorithm::ES256, "r"),
        (&ed25519, Algorithm::EdDSA, "e"),
        (&rsa, Algorithm::RS256, "e"),
        (&rsa, Algorithm::RS512, "r"),
        (&rsa, Algorithm::PS256, "r"),
    ] {
        assert_eq!(reason(&rules, &signed(&pair.private, algorithm, Some(kid))).await, other, "{kid}");
    }
    for alg in ["none", "None", "HS512", "RS257", ""] {
        for kid in ["r", "e", "d"] {
            let token = forged(json!({"alg": alg, "kid": kid}), |_| String::new());
            assert!(matches!(rules.check(&token).await, Err(Denied::Token(_))), "{alg}");
        }
    }
    // The secret and the set go side by side, and neither answers for the other.
    let by_secret = signed(&EncodingKey::from_secret(SECRET.as_bytes()), Algorithm::HS256, Some("r"));
    assert!(rules.check(&by_secret).await.is_ok());
    assert!(rules.check(&signed(&rsa.private, Algorithm::RS256, Some("r"))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_a_token_brings_along_is_not_used_and_what_it_calls_critical_refuses_it() {
    let (ours, theirs) =
        (p256(), pair(include_bytes!("../../../tests/keys/p256_next.pem"), Algorithm::ES256));
    let rules = rules(None, &[with(&ours.public, json!({"kid": "e"}))]);
    let sign = |key: &EncodingKey, header: Value| {
        forged(header, |message| jsonwebtoken::crypto::sign(message, key, Algorithm::ES256).unwrap())
    };
    let brought =
        json!({"alg": "ES256", "kid": "e", "jwk": theirs.public, "jku": "https://mallory.example/"});
    assert_eq!(reason(&rules, &sign(&theirs.private, brought)).await, "its signature does not match");
    let critical = json!({"alg": "ES256", "kid": "e", "crit": ["b64"], "b64": false});
    assert_eq!(reason(&rules, &sign(&ours.private, critical)).await, "it has critical extensions");
    assert!(rules.check(&sign(&ours.private, json!({"alg": "ES256", "kid": "e"}))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_token_without_a_kid_is_checked_only_by_the_one_key_for_its_algorithm() {
    let (first, second) =
        (p256(), pair(include_bytes!("../../../tests/keys/p256_next.pem"), Algorithm::ES256));
    let unnamed = signed(&first.private, Algorithm::ES256, None);
    let two = [with(&first.public, json!({"kid": "1"})), with(&second.public, json!({"kid": "2"}))];
    assert!(rules(None, &two[..1]).check(&unnamed).await.is_ok());
    for keys in [&two[..], &[rsa().public], &[]] {
        assert_eq!(reason(&rules(None, keys), &unnamed).await, "it names no key, and not exactly one fits");
    }
    // Nor does a key without a kid answer to any.
    let named = signed(&first.private, Algorithm::ES256, Some("1"));
    assert_eq!(rules(None, &[first.public]).check(&named).await, Err(UNDECIDED));
}

#[test]
fn keys_that_are_of_no_use_are_passed_over() {
    let (rsa, p256, ed25519) = (rsa().public, p256().public, ed25519().public);
    let short = pair(include_bytes!("../../../tests/keys/rsa_short.pem"), Algorithm::RS256).public;
    let long = BASE64.encode([0xff; 513]);
    let useless = [
        ("symmetric", json!({"kty": "oct", "k": BASE64.encode(SECRET), "alg": "HS256"})),
        ("an unknown type", json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"})),
        ("no type", json!({"n": "AA", "e": "AQAB"})),
        ("for encryption", with(&rsa, json!({"use": "enc"}))),
        ("for wrapping", with(&rsa, json!({"key_ops": ["wrapKey"]}))),
        ("another's algorithm", with(&rsa, json!({"alg": "ES256"}))),
        ("an algorithm to encrypt", with(&rsa, json!({"alg": "RSA-OAEP"}))),
        ("an algorithm of secrets", with(&rsa, json!({"alg": "HS256"}))),
        ("the other curve's", with(&p256, json!({"alg": "ES384"}))),
        ("no modulus", json!({"kty": "RSA", "e": "AQAB"})),
        ("a short modulus", short),
        ("a long modulus", with(&rsa, json!({"n": long}))),
        ("no base64", with(&rsa, json!({"n": "%%%"}))),
        ("a number", with(&rsa, json!({"n": 7}))),
        ("another curve", with(&p256, json!({"crv": "P-521"}))),
        ("beside the curve", with(&p256, json!({"x": BASE64.encode([1; 32])}))),
        ("a short coordinate", with(&p256, json!({"x": "AA"}))),
        ("half a point", json!({"kty": "EC", "crv": "P-256", "x": p256["x"]})),
        ("a short Ed25519", with(&ed25519, json!({"x": "AA"}))),
        ("a long Ed25519", with(&ed25519, json!({"x": BASE64.encode([1; 33])}))),
        ("Ed448", json!({"kty": "OKP", "crv": "Ed448", "x": BASE64.encode([1; 57])})),
        ("for key agreement", json!({"kty": "OKP", "crv": "X25519", "x": BASE64.encode([1; 32])})),
    ];
    for (what, key) in &useless {
        assert!(set(std::slice::from_ref(key)).is_empty(), "{what}");
    }
    let keys: Vec<Value> =
        useless.into_iter().map(|(_, key)| key).chain([with(&rsa, json!({"kid": "r"}))]).collect();
    assert!(set(&keys).find(Some("r"), Algorithm::RS256).is_ok(), "the others do no harm");
}

#[test]
fn what_is_no_key_set_is_refused_as_a_whole() {
    let good = p256().public;
    for text in ["", "{}", "[]", "null", "<html>", r#"{"keys":{}}"#, r#"{"keys":[1]}"#, r#"{"keys":[{}]"#] {
        assert!(matches!(KeySet::parse(text.as_bytes()), Err(KeySetError::Malformed(_))), "{text}");
    }
    assert!(matches!(KeySet::parse(good.to_string().as_bytes()), Err(KeySetError::Malformed(_))), "one key");
    let many = json!({"keys": vec![json!({"kty": "RSA"}); 257]}).to_string();
    assert!(matches!(KeySet::parse(many.as_bytes()), Err(KeySetError::TooMany)));
}

/// An issuer of the test's making.
#[derive(Clone, Default)]
struct Issuer {
    answers: Arc<Mutex<Answers>>,
}

#[derive(Default)]
struct Answers {
    looks: usize,
    /// `None`: it is down.
    kid: Option<&'static str>,
    takes: Duration,
}

impl Issuer {
    fn with(kid: Option<&'static str>, takes: Duration) -> Self {
        Self { answers: Arc::new(Mutex::new(Answers { looks: 0, kid, takes })) }
    }

    fn rotate(&self, kid: Option<&'static str>) {
        self.answers.lock().unwrap().kid = kid;
    }

    fn looks(&self) -> usize {
        self.answers.lock().unwrap().looks
    }
}

impl Source for Issuer {
    async fn look(&mut self, _anew: bool) -> Result<Seen, LookError> {
        let (kid, takes) = {
            let mut answers = self.answers.lock().unwrap();
            answers.looks += 1;
            (answers.kid, answers.takes)
        };
        tokio::time::sleep(takes).await;
        let kid = kid.ok_or_else(|| LookError::Unreachable("it is down".into()))?;
        let keys = Some(set(&[with(&p256().public, json!({"kid": kid}))]));
        Ok(Seen { keys, again_in: Duration::from_secs(300) })
    }

    fn retry_max(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// Ends with the test.
fn refreshed(issuer: &Issuer) -> (Jwks, JoinSet<()>) {
    let (jwks, refresher) = Jwks::of(None, issuer.clone(), "an issuer".into());
    let mut tasks = JoinSet::new();
    tasks.spawn(refresher.run());
    (jwks, tasks)
}

const UNKNOWN: Denied = Denied::Token("its key is not known");
const UNAVAILABLE: Denied = Denied::Unavailable("the issuer's keys cannot be fetched");
const UNDECIDED: Denied = Denied::Unavailable("the issuer was not asked for its key yet");

/// Why a token with this kid is not accepted; `None` if there is a key. A kid has one token here.
async fn why_not(jwks: &Jwks, kid: &str) -> Option<Denied> {
    jwks.find(&format!("token of {kid}"), Some(kid), Algorithm::ES256).await.err()
}

#[tokio::test(start_paused = true)]
async fn the_first_tokens_wait_for_the_first_look() {
    let issuer = Issuer::with(Some("a"), Duration::from_secs(1));
    let (jwks, _tasks) = refreshed(&issuer);
    let first = futures_util::future::join_all((0..50).map(|_| why_not(&jwks, "a"))).await;
    assert!(first.iter().all(Option::is_none));
    assert_eq!(issuer.looks(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_kid_is_asked_for_once_in_ten_seconds_whoever_waits() {
    let issuer = Issuer::with(Some("a"), Duration::from_millis(500));
    let (jwks, _tasks) = refreshed(&issuer);
    assert_eq!(why_not(&jwks, "a").await, None);

    // The new key works at its first try, for everybody who shows it at that moment.
    issuer.rotate(Some("b"));
    let began = Instant::now();
    let all = futures_util::future::join_all((0..50).map(|_| why_not(&jwks, "b"))).await;
    assert!(all.iter().all(Option::is_none));
    assert_eq!((issuer.looks(), began.elapsed()), (2, Duration::from_millis(500)));
    assert_eq!(why_not(&jwks, "a").await, Some(UNDECIDED), "its key is gone, or comes back");

    // Random ones cost nothing more, and wait for nothing.
    let began = Instant::now();
    for n in 0..10_000 {
        assert_eq!(why_not(&jwks, &format!("random {n}")).await, Some(UNDECIDED));
    }
    assert_eq!((issuer.looks(), began.elapsed()), (2, Duration::ZERO));
    for n in 1..=600 {
        tokio::time::advance(Duration::from_millis(100)).await;
        why_not(&jwks, &format!("another {n}")).await;
    }
    let looks_max = began.elapsed().as_secs() as usize / 10 + 1;
    assert!((5..=looks_max).contains(&(issuer.looks() - 2)), "{} of {looks_max}", issuer.looks() - 2);
}

#[tokio::test(start_paused = true)]
async fn a_made_up_kid_does_not_have_the_tokens_of_a_new_key_refused() {
    let issuer = Issuer::with(Some("a"), Duration::from_millis(300));
    let (jwks, _tasks) = refreshed(&issuer);
    assert_eq!(why_not(&jwks, "a").await, None);
    assert_eq!(why_not(&jwks, "made up").await, Some(UNKNOWN), "a look has begun since");
    assert_eq!(issuer.looks(), 2);
    tokio::time::sleep(Duration::from_millis(100)).await;
    issuer.rotate(Some("b"));
    let began = Instant::now();
    let mut put_off = 0;
    while let Some(why_not) = why_not(&jwks, "b").await {
        assert_eq!(why_not, UNDECIDED);
        put_off += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(put_off > 0 && began.elapsed() <= ASKED_EVERY, "{put_off} {:?}", began.elapsed());
    assert_eq!(issuer.looks(), 3);

    // Who comes back is told that it was in vain, once the issuer was asked; nobody else had it refused before.
    assert_eq!(why_not(&jwks, "a").await, Some(UNDECIDED));
    assert_eq!(why_not(&jwks, "made up").await, Some(UNKNOWN), "as it was");
    tokio::time::sleep(ASKED_EVERY).await;
    assert_eq!(issuer.looks(), 4, "without another question");
    assert_eq!(why_not(&jwks, "a").await, Some(UNKNOWN));
}

#[tokio::test(start_paused = true)]
async fn more_made_up_tokens_than_are_remembered_are_put_off() {
    let issuer = Issuer::with(Some("a"), Duration::ZERO);
    let (jwks, _tasks) = refreshed(&issuer);
    assert_eq!(why_not(&jwks, "made up").await, Some(UNKNOWN));
    for n in 0..5_000 {
        assert_eq!(why_not(&jwks, &format!("{n}")).await, Some(UNDECIDED));
    }
    tokio::time::sleep(ASKED_EVERY).await;
    assert_eq!(why_not(&jwks, "0").await, Some(UNKNOWN));
    assert_eq!(why_not(&jwks, "4999").await, Some(UNDECIDED), "it was too much");
    assert_eq!(why_not(&jwks, "made up").await, Some(UNDECIDED), "it made room");
}

#[tokio::test(start_paused = true)]
async fn who_asks_while_a_look_is_under_way_gets_one_that_begins_later() {
    let issuer = Issuer::with(Some("a"), Duration::from_secs(1));
    let (jwks, _tasks) = refreshed(&issuer);
    assert_eq!(why_not(&jwks, "a").await, None);
    // The regular look has begun, and has not seen what comes now.
    tokio::time::sleep(Duration::from_millis(300_500)).await;
    assert_eq!(issuer.looks(), 2);
    issuer.rotate(Some("b"));
    assert_eq!(why_not(&jwks, "b").await, None);
    assert_eq!(issuer.looks(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_or_slow_leaves_the_known_keys_and_makes_the_others_wait_two_seconds() {
    let issuer = Issuer::with(None, Duration::ZERO);
    let (jwks, _tasks) = refreshed(&issuer);
    assert_eq!(why_not(&jwks, "a").await, Some(UNAVAILABLE), "nothing is known yet");
    issuer.rotate(Some("a"));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(why_not(&jwks, "a").await, None, "it is tried again after a second");

    issuer.answers.lock().unwrap().takes = Duration::from_secs(5);
    issuer.rotate(None);
    let began = Instant::now();
    assert_eq!(why_not(&jwks, "b").await, Some(UNDECIDED));
    assert_eq!(began.elapsed(), PATIENCE);
    assert_eq!(why_not(&jwks, "a").await, None);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(why_not(&jwks, "a").await, None, "for as long as it is down");
    let looks = issuer.looks();
    tokio::time::sleep(Duration::from_secs(350)).await;
    assert_eq!(issuer.looks() - looks, 10, "every thirty seconds, and five for each");
}

#[tokio::test(start_paused = true)]
async fn the_keys_are_looked_at_again_when_the_issuer_says() {
    let issuer = Issuer::with(Some("a"), Duration::ZERO);
    let (jwks, _tasks) = refreshed(&issuer);
    assert_eq!(why_not(&jwks, "a").await, None);
    issuer.rotate(Some("b"));
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert_eq!((why_not(&jwks, "a").await, issuer.looks()), (None, 1));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((why_not(&jwks, "b").await, issuer.looks()), (None, 2), "nobody had to ask");
}
