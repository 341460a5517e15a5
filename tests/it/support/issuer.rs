//! An identity provider: it publishes a JWKS over HTTP, signs tokens, and can be in any bad state.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use poem::http::StatusCode;
use poem::listener::TcpAcceptor;
use poem::{IntoResponse, Response, Server, endpoint};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{NEVER, PATIENCE};

/// A key of the issuer, under tests/keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    Rsa,
    P256,
    P256Next,
    Ed25519,
}

impl Signer {
    pub fn algorithm(self) -> Algorithm {
        match self {
            Self::Rsa => Algorithm::RS256,
            Self::P256 | Self::P256Next => Algorithm::ES256,
            Self::Ed25519 => Algorithm::EdDSA,
        }
    }

    fn key(self) -> EncodingKey {
        let key = match self {
            Self::Rsa => EncodingKey::from_rsa_pem(include_bytes!("../../keys/rsa.pem")),
            Self::P256 => EncodingKey::from_ec_pem(include_bytes!("../../keys/p256.pem")),
            Self::P256Next => EncodingKey::from_ec_pem(include_bytes!("../../keys/p256_next.pem")),
            Self::Ed25519 => EncodingKey::from_ed_pem(include_bytes!("../../keys/ed25519.pem")),
        };
        key.unwrap()
    }

    pub fn kid(self) -> String {
        format!("{self:?}")
    }

    pub fn token(self, user: &str) -> String {
        self.sign(&self.kid(), &json!({"sub": user, "exp": NEVER}))
    }

    pub fn sign(self, kid: &str, claims: &Value) -> String {
        let header = Header { kid: Some(kid.into()), ..Header::new(self.algorithm()) };
        jsonwebtoken::encode(&header, claims, &self.key()).unwrap()
    }
}

/// The set of these keys' public halves.
pub fn jwks(signers: &[Signer]) -> String {
    let public = |signer: &Signer| {
        let mut jwk = Jwk::from_encoding_key(&signer.key(), signer.algorithm()).unwrap();
        jwk.common.key_id = Some(signer.kid());
        jwk
    };
    json!({"keys": signers.iter().map(public).collect::<Vec<_>>()}).to_string()
}

/// What it answers.
#[derive(Clone, Debug)]
pub enum Says {
    Text(String),
    Status(u16),
    /// Nothing, for ever.
    Nothing,
}

pub struct Issuer {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
    /// How often, and when last.
    asked: watch::Receiver<(usize, Instant)>,
    _server: AbortOnDropHandle<()>,
}

impl Issuer {
    pub async fn with(signers: &[Signer]) -> Self {
        Self::start(Says::Text(jwks(signers))).await
    }

    pub async fn start(says: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let says = Arc::new(Mutex::new(says));
        let (count, asked) = watch::channel((0, Instant::now()));
        let answer = {
            let says = says.clone();
            endpoint::make(move |_| {
                let says = says.lock().unwrap().clone();
                count.send_modify(|(count, at)| (*count, *at) = (*count + 1, Instant::now()));
                respond(says)
            })
        };
        let acceptor = TcpAcceptor::from_tokio(listener).unwrap();
        let server =
            tokio::spawn(async move { Server::new_with_acceptor(acceptor).run(answer).await.unwrap() });
        Self { address, says, asked, _server: AbortOnDropHandle::new(server) }
    }

    pub fn url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    pub fn publish(&self, signers: &[Signer]) {
        self.say(Says::Text(jwks(signers)));
    }

    pub fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    /// How often so far.
    pub fn asked(&self) -> usize {
        self.asked.borrow().0
    }

    /// When last.
    pub fn asked_at(&self) -> Instant {
        self.asked.borrow().1
    }

    /// Waits until it was asked so often.
    pub async fn asked_times(&self, times: usize) {
        let mut asked = self.asked.clone();
        let asked = asked.wait_for(|(asked, _)| *asked >= times);
        tokio::time::timeout(PATIENCE, asked).await.expect("it is asked").unwrap();
    }
}

async fn respond(says: Says) -> poem::Result<Response> {
    Ok(match says {
        Says::Text(text) => text.into_response(),
        Says::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Says::Nothing => std::future::pending().await,
    })
}
