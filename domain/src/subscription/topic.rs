//! What a topic is called.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text names no topic; the sentence is meant for the caller of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a topic is 1 to 128 characters of A-Z, a-z, 0-9, ., _, : and -, the first of them a letter or a digit"
)]
pub struct InvalidTopic;

/// A name to subscribe to: 1 to 128 characters of `A-Z`, `a-z`, `0-9`, `.`, `_`, `:` and `-`. The first is a letter or a
/// digit, because a path that ends in `.` or `..` is another one by the time it arrives (RFC 3986, 5.2.4). Nobody makes
/// a topic: it is there for as long as somebody is subscribed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Topic(String);

impl Topic {
    pub const CHARS_MAX: usize = 128;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Topic {
    type Error = InvalidTopic;

    fn try_from(text: String) -> Result<Self, InvalidTopic> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if begins && text.len() <= Self::CHARS_MAX && text.bytes().all(allowed) {
            Ok(Self(text))
        } else {
            Err(InvalidTopic)
        }
    }
}

impl From<Topic> for String {
    fn from(topic: Topic) -> Self {
        topic.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
