//! Channels call: signed, bounded in time, only where they may, and what happened is told.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{PATIENCE, Service};

pub const LOOPBACK: (&str, &str) = ("TIDINGS_OUTGOING_ALLOW_PRIVATE", "127.0.0.0/8");
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub const NEXT_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
pub const OK: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

/// A server whose answers are bytes: with `*` at their end they never end.
pub struct Server {
    pub url: String,
    requests: mpsc::UnboundedReceiver<String>,
    _accepting: AbortOnDropHandle<()>,
}

impl Server {
    pub async fn answering(answers: Vec<String>) -> Self {
        Self::at("127.0.0.1:0", answers).await
    }

    pub async fn at(address: &str, answers: Vec<String>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        let (seen, requests) = mpsc::unbounded_channel();
        let accepting = tokio::spawn(async move {
            let mut held = Vec::new();
            let mut answers = answers.into_iter().peekable();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read(&mut stream).await;
                let answer = if answers.len() > 1 { answers.next() } else { answers.peek().cloned() };
                let answer = answer.unwrap();
                let _ = stream.write_all(answer.trim_end_matches('*').as_bytes()).await;
                if answer.ends_with('*') {
                    held.push(stream);
                }
                if seen.send(request).is_err() {
                    return;
                }
            }
        });
        Self { url, requests, _accepting: AbortOnDropHandle::new(accepting) }
    }

    pub async fn saying(answer: &str) -> Self {
        Self::answering(vec![answer.to_owned()]).await
    }

    pub async fn request(&mut self) -> String {
        tokio::time::timeout(PATIENCE, self.requests.recv()).await.unwrap().unwrap()
    }

    /// Calls nobody has looked at.
    fn unread(&mut self) -> usize {
        std::iter::from_fn(|| self.requests.try_recv().ok()).count()
    }
}

/// A request with its body.
async fn read(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.len() >= header(head, "content-length").parse().unwrap_or(0)
        {
            return text;
        }
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return text;
        }
    }
}

pub fn header(request: &str, name: &str) -> String {
    let lines = request.lines().filter_map(|line| line.split_once(": "));
    let mut values = lines.filter(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    values.next().unwrap_or_default().to_owned()
}

pub fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

async fn configure(service: &Service, channel: &str, providers: Value, timeout: &str) {
    let body = json!({"providers": providers, "timeout": timeout});
    let put = service.request("PUT", &format!("/v1/channels/{channel}")).json(&body);
    service.send(put.header("x-api-key", service.root_key())).await.expect(200);
}

pub async fn webhook(service: &Service, url: &str, mut members: Value) {
    members["url"] = url.into();
    let providers = json!([{"name": "main", "webhook": members}]);
    configure(service, "webhook", providers, "500ms").await;
}

pub async fn test(service: &Service, channel: &str, body: &Value) -> Value {
    service.post(&format!("/v1/channels/{channel}/test"), body).await.expect(200).json()
}

fn failed(class: &str, detail: &str) -> Value {
    json!({"outcome": "failed", "error": {"class": class, "detail": detail}})
}

#[tokio::test]
async fn a_webhook_is_signed_by_every_secret_that_overlaps() {
    let service = Service::start_with(&[LOOPBACK]).await;
    assert_eq!(
        test(&service, "webhook", &Value::Null).await,
        json!({"outcome": "skipped", "reason": "not_configured"})
    );
    let mut server = Server::saying(OK).await;
    webhook(&service, &server.url, json!({"secret": SECRET})).await;
    let told = test(&service, "webhook", &json!({"title": "Hi", "body": "There"})).await;
    assert_eq!(told, json!({"outcome": "delivered"}));
    let request = server.request().await;
    assert!(request.starts_with("POST /in HTTP/1.1\r\n"), "{request}");
    let id = header(&request, "webhook-id");
    assert!(id.starts_with("ntf_") && id.ends_with("/webhook"), "{id}");
    let sent = body(&request);
    assert_eq!(sent["type"], "notification.created");
    assert_eq!((&sent["data"]["title"], &sent["data"]["body"]), (&json!("Hi"), &json!("There")));
    assert_eq!(format!("{}/webhook", sent["data"]["notification_id"].as_str().unwrap()), id);
    assert_eq!(header(&request, "webhook-signature").split(' ').count(), 1);

    let rotated = json!([{"name": "main", "webhook": {"url": server.url, "secret": NEXT_SECRET}}]);
    configure(&service, "webhook", rotated, "500ms").await;
    test(&service, "webhook", &Value::Null).await;
    let signatures = header(&server.request().await, "webhook-signature");
    assert!(signatures.split(' ').all(|it| it.starts_with("v1,")), "{signatures}");
    assert_eq!(signatures.split(' ').count(), 2);
}

#[tokio::test]
async fn what_an_endpoint_does_is_told_and_bounded() {
    let service = Service::start_with(&[LOOPBACK]).await;
    let answer = |status: &str, head: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\n{head}content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let late = failed("transient", "no answer within 500 ms");
    let mut busy = failed("transient", "HTTP 429 Too Many Requests: slow down");
    busy["retry_after"] = "2m".into();
    let cases = [
        (answer("200 OK", "", "ok"), json!({"outcome": "delivered"})),
        (
            answer("500 Internal Server Error", "", "bo\tom"),
            failed("transient", "HTTP 500 Internal Server Error: bo om"),
        ),
        (answer("429 Too Many Requests", "retry-after: 120\r\n", "slow down"), busy),
        (answer("404 Not Found", "", ""), failed("permanent", "HTTP 404 Not Found")),
        (answer("302 Found", "location: http://127.0.0.1:1/\r\n", ""), failed("permanent", "HTTP 302 Found")),
        // It hangs, and bytes that trickle help it nothing.
        ("*".into(), late.clone()),
        ("HTTP/1.1 200 OK\r\nx-slow: *".into(), late),
        // The status is known, whatever becomes of the body.
        ("HTTP/1.1 400 Bad Request\r\n\r\nno*".into(), failed("permanent", "HTTP 400 Bad Request: no")),
    ];
    for (bytes, expected) in cases {
        let server = Server::saying(&bytes).await;
        webhook(&service, &server.url, json!({"secret": SECRET})).await;
        let begun = Instant::now();
        assert_eq!(test(&service, "webhook", &Value::Null).await, expected, "{bytes}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{bytes}");
    }
    let garbage = Server::saying("SMTP ready\r\n").await;
    webhook(&service, &garbage.url, json!({"secret": SECRET})).await;
    let told = test(&service, "webhook", &Value::Null).await;
    assert_eq!(
        (&told["outcome"], &told["error"]["class"]),
        (&json!("failed"), &json!("transient")),
        "{told}"
    );
    assert!(!told.to_string().contains("/in"), "no URL is told: {told}");
}

#[tokio::test]
async fn an_endpoint_that_is_no_more_is_disabled_until_it_is_configured_again() {
    let service = Service::start_with(&[LOOPBACK]).await;
    let mut server = Server::saying("HTTP/1.1 410 Gone\r\nconnection: close\r\n\r\n").await;
    webhook(&service, &server.url, json!({"secret": SECRET})).await;
    assert_eq!(test(&service, "webhook", &Value::Null).await, failed("gone", "HTTP 410 Gone"));
    let skipped = json!({"outcome": "skipped", "reason": "not_configured"});
    assert_eq!(test(&service, "webhook", &Value::Null).await, skipped);
    assert_eq!(server.unread(), 1);
    let shown = service.get("/v1/channels/webhook").await.expect(200).json();
    assert_eq!(shown["providers"][0]["disabled"], true);
    let events = service.events("type=settings.endpoint_disabled").await;
    assert_eq!((events.len(), &events[0]["data"]["provider"]), (1, &json!("main")));
    webhook(&service, &server.url, json!({"secret": SECRET})).await;
    assert_eq!(test(&service, "webhook", &Value::Null).await["error"]["class"], "gone");
}

#[tokio::test]
async fn who_fails_is_passed_over_and_left_alone_after_a_while() {
    let service = Service::start_with(&[LOOPBACK]).await;
    let mut down = Server::saying("HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\n").await;
    let mut up = Server::saying(OK).await;
    let provider = |name: &str, url: &str| json!({"name": name, "webhook": {"url": url, "secret": SECRET}});
    let both = json!([provider("first", &down.url), provider("second", &up.url)]);
    configure(&service, "webhook", both, "2s").await;
    for _ in 0..7 {
        assert_eq!(test(&service, "webhook", &Value::Null).await, json!({"outcome": "delivered"}));
    }
    assert_eq!((down.unread(), up.unread()), (5, 7), "five failures in a row open the breaker");
    let metrics = service.send(service.request("GET", "/metrics")).await.body;
    assert!(metrics.contains(r#"tidings_breaker_open{channel="webhook"} 1"#), "{metrics}");

    configure(&service, "webhook", json!([provider("first", &down.url)]), "2s").await;
    let told = test(&service, "webhook", &Value::Null).await;
    assert!(told["outcome"] == "deferred" && told["until"].is_string(), "{told}");
    assert_eq!(down.unread(), 0);
}

#[tokio::test]
async fn nothing_private_is_called_by_name_by_number_or_in_the_clear() {
    let service = Service::start().await;
    let mut server = Server::saying(OK).await;
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    let providers = json!([{"name": "main", "webhook": {"secret": SECRET}}]);
    configure(&service, "webhook", providers, "2s").await;
    configure(&service, "slack", json!([{"name": "main", "slack": {}}]), "2s").await;
    let no_address = json!({"outcome": "skipped", "reason": "no_address"});
    assert_eq!(test(&service, "slack", &Value::Null).await, no_address);
    let private = failed("permanent", "its address is private; the operator may allow it");
    for host in ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "2130706433"] {
        let address = json!({"address": format!("https://{host}:{port}")});
        for channel in ["webhook", "slack"] {
            assert_eq!(test(&service, channel, &address).await, private, "{address}");
        }
    }
    let plain = failed("permanent", "without TLS only what the operator allows may be called");
    assert_eq!(test(&service, "webhook", &json!({"address": "http://hooks.example/"})).await, plain);
    assert_eq!(server.unread(), 0);
}

#[tokio::test]
async fn slack_gets_a_text_and_a_rate_holds_back() {
    let service = Service::start_with(&[LOOPBACK]).await;
    let mut server =
        Server::saying("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
    let providers = json!([{"name": "main", "slack": {"url": server.url}}]);
    let body = json!({"providers": providers, "rate": {"per_second": 1}});
    let put = service.request("PUT", "/v1/channels/slack").json(&body);
    service.send(put.header("x-api-key", service.root_key())).await.expect(200);
    let asked = json!({"title": "a < b", "body": "now"});
    assert_eq!(test(&service, "slack", &asked).await, json!({"outcome": "delivered"}));
    assert_eq!(self::body(&server.request().await), json!({"text": "*a &lt; b*\nnow"}));
    let told = [test(&service, "slack", &asked).await, test(&service, "slack", &asked).await];
    assert!(told.iter().any(|told| told["outcome"] == "deferred"), "{told:?}");
}
