//! Somebody else's HTTP server that takes deliveries: it answers by a script, and remembers every call.

use std::net::SocketAddr;
use std::sync::Arc;

use poem::http::{HeaderMap, StatusCode};
use poem::listener::TcpAcceptor;
use poem::{Request, Response, Server, endpoint};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::PATIENCE;

/// One call, as it came in.
#[derive(Clone, Debug)]
pub struct Call {
    /// The idempotency key.
    pub id: String,
    pub headers: HeaderMap,
    /// Where it is text.
    pub body: String,
    pub bytes: Vec<u8>,
}

impl Call {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What it answers.
#[derive(Clone, Debug)]
pub enum Says {
    Status(u16),
    /// 201, with this `Location`.
    Created(&'static str),
    /// With `Retry-After`, in seconds.
    Busy(u16, u32),
    /// Nothing, until the test lets it.
    Gated,
}

pub struct Endpoint {
    address: SocketAddr,
    calls: watch::Receiver<Vec<Call>>,
    gate: watch::Sender<bool>,
    _server: AbortOnDropHandle<()>,
}

impl Endpoint {
    /// The script is told the number of the call, from 1.
    pub async fn start(script: impl Fn(usize, &Call) -> Says + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, calls) = watch::channel(Vec::new());
        let (gate, opened) = watch::channel(false);
        let script = Arc::new(script);
        let answer = endpoint::make(move |mut request: Request| {
            let (seen, script, mut opened) = (seen.clone(), script.clone(), opened.clone());
            async move {
                let headers = request.headers().clone();
                let id = request.header("webhook-id").unwrap_or_default().to_owned();
                let bytes = request.take_body().into_vec().await.unwrap_or_default();
                let body = String::from_utf8(bytes.clone()).unwrap_or_default();
                let (call, mut number) = (Call { id, headers, body, bytes }, 0);
                seen.send_modify(|calls: &mut Vec<Call>| {
                    calls.push(call.clone());
                    number = calls.len();
                });
                let says = script(number, &call);
                if matches!(says, Says::Gated) {
                    let _ = opened.wait_for(|open| *open).await;
                }
                Ok::<_, poem::Error>(respond(says))
            }
        });
        let acceptor = TcpAcceptor::from_tokio(listener).unwrap();
        let server =
            tokio::spawn(async move { Server::new_with_acceptor(acceptor).run(answer).await.unwrap() });
        Self { address, calls, gate, _server: AbortOnDropHandle::new(server) }
    }

    /// Every call is answered so.
    pub async fn saying(status: u16) -> Self {
        Self::start(move |_, _| Says::Status(status)).await
    }

    pub fn url(&self) -> String {
        format!("http://{}/deliveries", self.address)
    }

    /// The calls, once there are so many.
    pub async fn calls(&self, count: usize) -> Vec<Call> {
        let mut calls = self.calls.clone();
        let seen = tokio::time::timeout(PATIENCE, calls.wait_for(|calls| calls.len() >= count)).await;
        seen.unwrap_or_else(|_| panic!("not {count} calls: {:?}", self.so_far())).unwrap().clone()
    }

    pub fn so_far(&self) -> Vec<Call> {
        self.calls.borrow().clone()
    }

    /// Those that were held, and all that follow, are answered with success.
    pub fn open(&self) {
        self.gate.send_replace(true);
    }
}

fn respond(says: Says) -> Response {
    let status = |status| Response::builder().status(StatusCode::from_u16(status).unwrap());
    match says {
        Says::Status(code) => status(code).finish(),
        Says::Created(location) => status(201).header("location", location).finish(),
        Says::Busy(code, seconds) => status(code).header("retry-after", seconds).finish(),
        Says::Gated => status(200).finish(),
    }
}
