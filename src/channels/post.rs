//! Calls of webhooks, Slack's too: one POST, judged by its status, bounded in time and in what is read.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use tidings_domain::notification::{Failure, FailureClass};
use time::OffsetDateTime;

use super::guard::{OutgoingPolicy, Refused, Resolver};
use super::{Sent, failed};
use crate::{clock, outgoing};

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Characters of it that are told.
const EXCERPT_CHARS_MAX: usize = 4_096;
/// How long the body of a success is waited for, so that its connection serves again.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// An endpoint's answer.
pub struct Answer {
    pub status: StatusCode,
    pub retry_after_s: Option<u32>,
    /// What a `Location` says (RFC 9110, 10.2.2), as it came.
    pub location: Option<String>,
    /// What can be shown of the body of a refusal.
    pub excerpt: String,
}

pub struct Post {
    /// Calls with TLS, and without.
    clients: [Client; 2],
    policy: OutgoingPolicy,
}

impl Post {
    pub fn new(policy: &OutgoingPolicy) -> Result<Self, reqwest::Error> {
        let client = |plain| {
            let resolver = Resolver { policy: policy.clone(), plain };
            // Each call brings its own limit; this one is for what forgets it.
            outgoing::client(Duration::from_secs(60)).dns_resolver(resolver).build()
        };
        Ok(Self { clients: [client(false)?, client(true)?], policy: policy.clone() })
    }

    /// The answer, whatever it says; or why there is none.
    pub async fn send(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Vec<u8>,
        time_limit: Duration,
    ) -> Result<Answer, Failure> {
        let failure = |class, detail: String| Failure { class, detail };
        let url = Url::parse(url).map_err(|error| failure(FailureClass::Permanent, error.to_string()))?;
        // A literal address is not asked of any resolver.
        self.policy.check_url(&url).map_err(|why| failure(FailureClass::Permanent, why.to_string()))?;
        let client = &self.clients[usize::from(url.scheme() != "https")];
        let request = client.post(url).headers(headers).body(body).timeout(time_limit);
        let response = request.send().await.map_err(|error| {
            if let Some(refused) = cause::<Refused>(&error) {
                return failure(FailureClass::Permanent, refused.to_string());
            }
            let class = if error.is_builder() { FailureClass::Permanent } else { FailureClass::Transient };
            match error.is_timeout() {
                true => failure(class, format!("no answer within {} ms", time_limit.as_millis())),
                false => failure(class, outgoing::reason(error)),
            }
        })?;
        let (status, now) = (response.status(), clock::instant());
        let retry_after_s = retry_after(response.headers(), now);
        let location = response.headers().get(LOCATION);
        let location = location.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let excerpt = if status.is_success() {
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, read(response)).await;
            String::new()
        } else {
            excerpt(&read(response).await)
        };
        Ok(Answer { status, retry_after_s, location, excerpt })
    }
}

impl Answer {
    /// What becomes of the message, by the status alone.
    pub fn judge(self) -> Sent {
        let Self { status, retry_after_s, .. } = self;
        let class = match status.as_u16() {
            200..=299 => return Sent::Delivered { provider_ref: None },
            410 => FailureClass::Gone,
            408 | 425 | 429 | 500..=599 => FailureClass::Transient,
            // A redirect, too: nobody follows it.
            _ => FailureClass::Permanent,
        };
        let retry_after_s = retry_after_s.filter(|_| class == FailureClass::Transient);
        Sent::Failed { failure: Failure { class, detail: self.told() }, retry_after_s }
    }

    pub fn fail(self, class: FailureClass) -> Sent {
        failed(class, self.told())
    }

    fn told(&self) -> String {
        let Self { status, excerpt, .. } = self;
        if excerpt.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {excerpt}") }
    }
}

/// At most [`ANSWER_BYTES_MAX`], and what came until the time was up.
async fn read(mut response: Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - bytes.len())]);
        if bytes.len() == ANSWER_BYTES_MAX {
            break;
        }
    }
    bytes
}

/// Its printable characters, with single spaces for what lies between.
pub fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let printable = |c: char| if c.is_control() || c == char::REPLACEMENT_CHARACTER { ' ' } else { c };
    let text: String = text.chars().map(printable).collect();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(EXCERPT_CHARS_MAX).collect()
}

/// RFC 9110, 10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<u32> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse::<u64>().ok().or_else(|| {
        let at = OffsetDateTime::from(httpdate::parse_http_date(text).ok()?);
        // Not before it: a part of a second counts.
        u64::try_from((at - now + Duration::from_millis(999)).whole_seconds().max(0)).ok()
    })?;
    Some(u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// An error of this type among the causes.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    //! How an answer is judged.
    #![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

    use reqwest::header::HeaderValue;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn the_status_says_what_becomes_of_it() {
        let class = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            let answer = Answer { status, retry_after_s: Some(7), location: None, excerpt: "why".into() };
            match answer.judge() {
                Sent::Failed { failure, retry_after_s } => Some((failure.class, retry_after_s)),
                Sent::Delivered { .. } | Sent::Refused { .. } => None,
            }
        };
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(class(status), None, "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert_eq!(class(status), Some((FailureClass::Transient, Some(7))), "{status}");
        }
        for status in [301, 302, 307, 308, 400, 401, 403, 404, 422, 451] {
            assert_eq!(class(status), Some((FailureClass::Permanent, None)), "{status}");
        }
        assert_eq!(class(410), Some((FailureClass::Gone, None)));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = datetime!(2026-11-22 12:00 UTC);
        let after = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            retry_after(&headers, now)
        };
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
        assert_eq!((after("0"), after("120"), after(" 7 ")), (Some(0), Some(120), Some(7)));
        assert_eq!(after("99999999999999"), Some(u32::MAX));
        assert_eq!(after("Sun, 22 Nov 2026 12:00:30 GMT"), Some(30));
        assert_eq!(after("Sunday, 22-Nov-26 12:00:30 GMT"), Some(30));
        let late = retry_after(
            &HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("Sun, 22 Nov 2026 12:00:30 GMT"))]),
            now + Duration::from_millis(900),
        );
        assert_eq!(late, Some(30), "not before it");
        assert_eq!(after("Sat, 21 Nov 2026 12:00:30 GMT"), Some(0), "it has passed");
        for text in ["", "soon", "-1", "1.5", "2026-11-22T12:00:00Z"] {
            assert_eq!(after(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_told_of_an_answer_is_short_and_printable() {
        assert_eq!(excerpt(b" no\r\n\tsuch\0\x1b[31m \xff hook "), "no such [31m hook");
        assert_eq!(excerpt("ä".repeat(5_000).as_bytes()), "ä".repeat(4_096));
    }
}
