//! Incoming webhooks of Slack: a text, and an answer in words.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::json;
use tidings_domain::notification::FailureClass;

use super::post::{Answer, Post};
use super::{Message, Sent};
use crate::render::Markup;

/// What Slack says of a webhook or a channel that will never take anything again
/// (<https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>).
const GONE: [&str; 4] = ["no_service", "no_service_id", "channel_not_found", "channel_is_archived"];
/// Slack cuts what is longer.
const TEXT_CHARS_MAX: usize = 40_000;

pub async fn send(post: &Post, url: &str, message: &Message, time_limit: Duration) -> Sent {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let body = json!({"text": text(message)}).to_string().into_bytes();
    match post.send(url, headers, body, time_limit).await {
        Ok(answer) => judge(answer),
        Err(failure) => Sent::Failed { failure, retry_after_s: None },
    }
}

fn judge(answer: Answer) -> Sent {
    let refused = matches!(answer.status.as_u16(), 400 | 403 | 404 | 410);
    match refused && GONE.contains(&answer.excerpt.as_str()) {
        true => answer.fail(FailureClass::Gone),
        false => answer.judge(),
    }
}

/// The template's own part, in Slack's markup; else the words, in which nothing is markup.
fn text(message: &Message) -> String {
    let text = match message.part("slack") {
        Some(part) => part.to_owned(),
        None => {
            let (words, escaped) = (&message.words, |text: &str| Markup::Slack.escaped(text));
            let title = format!("*{}*", escaped(&words.title));
            let lines = [Some(title), Some(escaped(&words.body)), words.action_url.as_deref().map(escaped)];
            let lines: Vec<String> = lines.into_iter().flatten().filter(|line| !line.is_empty()).collect();
            lines.join("\n")
        }
    };
    text.chars().take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    //! What Slack is told, and what it says.

    use reqwest::StatusCode;

    use super::super::message::sample;
    use super::*;

    #[test]
    fn words_are_no_markup_and_a_template_s_part_is() {
        let mut message = sample();
        message.words.title = "a < b & c".into();
        message.words.body = "<!channel>".into();
        assert_eq!(text(&message), "*a &lt; b &amp; c*\n&lt;!channel&gt;\nhttps://acme.example/7");
        message.parts.insert("slack".into(), "*Due* <https://acme.example|here>".into());
        assert_eq!(text(&message), "*Due* <https://acme.example|here>");
    }

    #[test]
    fn a_webhook_that_slack_does_not_know_any_more_is_gone() {
        let class = |status, excerpt: &str| {
            let answer = Answer { status, retry_after_s: None, location: None, excerpt: excerpt.into() };
            judge(answer).class()
        };
        assert_eq!(class(StatusCode::OK, ""), None);
        assert_eq!(class(StatusCode::NOT_FOUND, "no_service"), Some(FailureClass::Gone));
        assert_eq!(class(StatusCode::GONE, "channel_is_archived"), Some(FailureClass::Gone));
        assert_eq!(class(StatusCode::NOT_FOUND, "not found"), Some(FailureClass::Permanent));
        assert_eq!(class(StatusCode::BAD_REQUEST, "invalid_payload"), Some(FailureClass::Permanent));
        assert_eq!(class(StatusCode::TOO_MANY_REQUESTS, ""), Some(FailureClass::Transient));
    }
}
