//! A collector of spans: OTLP over HTTP, as an OpenTelemetry Collector receives it.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use poem::http::StatusCode;
use poem::listener::TcpAcceptor;
use poem::{Request, Server, endpoint};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::PATIENCE;

/// A span as it was received.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub name: String,
    pub trace_id: String,
    pub id: String,
    /// Empty where it has none.
    pub parent: String,
    /// `service.instance.id`.
    pub node: String,
    pub began: u64,
    pub ended: u64,
    /// `name=value`.
    pub attributes: Vec<String>,
}

pub struct Collector {
    address: SocketAddr,
    spans: mpsc::UnboundedReceiver<Seen>,
    pub seen: Vec<Seen>,
    _server: AbortOnDropHandle<Result<(), std::io::Error>>,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, spans) = mpsc::unbounded_channel();
        let endpoint = endpoint::make(move |request: Request| {
            let sender = sender.clone();
            async move {
                assert_eq!((request.uri().path(), request.method().as_str()), ("/v1/traces", "POST"));
                assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
                let body = request.into_body().into_bytes().await.unwrap();
                for span in decode(&body) {
                    let _ = sender.send(span);
                }
                StatusCode::OK
            }
        });
        let server = Server::new_with_acceptor(TcpAcceptor::from_tokio(listener).unwrap()).run(endpoint);
        let server = AbortOnDropHandle::new(tokio::spawn(server));
        Self { address, spans, seen: Vec::new(), _server: server }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes spans until there are so many of this name in the trace.
    pub async fn until(&mut self, trace_id: &str, name: &str, count: usize) {
        let there =
            |seen: &[Seen]| seen.iter().filter(|it| it.trace_id == trace_id && it.name == name).count();
        while there(&self.seen) < count {
            let next = tokio::time::timeout(PATIENCE, self.spans.recv()).await;
            self.seen.push(next.unwrap_or_else(|_| panic!("{name} is not in {:#?}", self.seen)).unwrap());
        }
    }

    /// The spans of this name in the trace.
    pub fn named(&self, trace_id: &str, name: &str) -> Vec<Seen> {
        self.seen.iter().filter(|it| it.trace_id == trace_id && it.name == name).cloned().collect()
    }
}

fn decode(body: &[u8]) -> Vec<Seen> {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let mut seen = Vec::new();
    for of_node in request.resource_spans {
        let attributes = texts(&of_node.resource.unwrap().attributes);
        assert!(attributes.contains(&"service.name=tidings".to_owned()), "{attributes:?}");
        let node = attributes.iter().find_map(|it| it.strip_prefix("service.instance.id=")).unwrap();
        for span in of_node.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            seen.push(Seen {
                name: span.name,
                trace_id: hex::encode(span.trace_id),
                id: hex::encode(span.span_id),
                parent: hex::encode(span.parent_span_id),
                node: node.to_owned(),
                began: span.start_time_unix_nano,
                ended: span.end_time_unix_nano,
                attributes: texts(&span.attributes),
            });
        }
    }
    seen
}

fn texts(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> Vec<String> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let text = |it: &opentelemetry_proto::tonic::common::v1::KeyValue| {
        let value = match it.value.clone().and_then(|value| value.value) {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(number)) => number.to_string(),
            other => format!("{other:?}"),
        };
        format!("{}={value}", it.key)
    };
    attributes.iter().map(text).collect()
}
