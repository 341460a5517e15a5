//! A front end's stream of Server-Sent Events, read as the HTML standard says.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use reqwest::RequestBuilder;
use serde_json::Value;

use super::{Answer, Contract, Door, PATIENCE};

/// `None` where the connection broke.
type Bytes = Pin<Box<dyn Stream<Item = Option<Vec<u8>>> + Send>>;

pub struct Sse {
    bytes: Bytes,
    text: String,
}

/// One event of the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    pub event: String,
    pub id: Option<String>,
    pub data: Value,
}

impl Sse {
    /// A service's stream of one of its users.
    pub async fn of(service: &Door, user: &str, headers: &[(&str, &str)]) -> Self {
        let path = format!("/v1/users/{user}/inbox/stream");
        let mut request = service.request("GET", &path).header("x-api-key", service.root_key());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Self::open(request).await.unwrap()
    }

    pub async fn open(request: RequestBuilder) -> Result<Self, Answer> {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        if status != 200 {
            return Err(Answer { status, headers, body: response.text().await.unwrap() });
        }
        assert_eq!(headers["content-type"], "text/event-stream");
        // A stream that breaks ends like one that is over; tests that care look at what they got.
        let bytes = response.bytes_stream().map(|chunk| chunk.ok().map(Vec::from));
        Ok(Self { bytes: Box::pin(bytes), text: String::new() })
    }

    /// The next event; `None` when the stream is over.
    pub async fn next(&mut self) -> Option<Sent> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let sent = parse(block);
                self.text = rest.to_owned();
                if sent.is_some() {
                    return sent;
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.bytes.next()).await.expect("the stream goes on");
            self.text += &String::from_utf8(chunk.flatten()?).unwrap().replace("\r\n", "\n");
        }
    }

    /// The next event, which must be of this type.
    pub async fn event(&mut self, kind: &str) -> Sent {
        let sent = self.next().await.expect("the stream goes on");
        assert_eq!(sent.event, kind, "{sent:?}");
        sent
    }
}

/// `None` for a block of comments, which keep the connection alive.
fn parse(block: &str) -> Option<Sent> {
    let field = |name: &str| {
        let value = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(|value| value.strip_prefix(' ').unwrap_or(value).to_owned())
    };
    let data = serde_json::from_str(&field("data")?).unwrap();
    Contract::committed().check(&data);
    Some(Sent { event: field("event").unwrap_or_else(|| "message".into()), id: field("id"), data })
}
