//! What a tenant says of how a category is collected.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::notification::{Create, Priority};
use crate::template::TemplateKey;

/// Notifications of the category come as one per window, with all that was asked for meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestSettings {
    /// From the first on, so many seconds.
    pub window_s: u32,
    /// What has another value there is collected apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<DigestKey>,
    /// A digest that has so many is full, and the next begins.
    pub items_max: u32,
    /// Says what was collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateKey>,
}

impl DigestSettings {
    /// A day.
    pub const WINDOW_S_MAX: u32 = 24 * 60 * 60;
    pub const ITEMS_MAX_DEFAULT: u32 = 100;
    pub const ITEMS_MAX_MAX: u32 = 1_000;

    /// What is urgent waits for nobody, and what has instants of its own keeps them.
    pub fn collects(&self, create: &Create) -> bool {
        let Create { priority, deliver_at, expires_at, .. } = create;
        *priority != Priority::Urgent && deliver_at.is_none() && expires_at.is_none()
    }

    /// What it is collected by; empty where nothing stands there.
    pub fn key_of(&self, data: Option<&Map<String, Value>>) -> String {
        self.key.as_ref().zip(data).map(|(key, data)| key.of(data)).unwrap_or_default()
    }
}

/// Where the key of an item stands: `data.` and the name of a member of its `data`, or of a member within that, with a dot
/// between them. 6 to 128 characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DigestKey(String);

/// Why a text is no key; the sentence is meant for the caller of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest's key is `data.` and the name of a member of `data`, in at most 128 characters")]
pub struct InvalidDigestKey;

impl DigestKey {
    pub const CHARS_MAX: usize = 128;
    const PREFIX: &str = "data.";

    /// A text is its own key, a number or a boolean the text that it is written as. Anything else is none.
    fn of(&self, data: &Map<String, Value>) -> String {
        let mut names = self.0[Self::PREFIX.len()..].split('.');
        let first = names.next().and_then(|name| data.get(name));
        match names.try_fold(first, |at, name| Some(at?.get(name))).flatten() {
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => String::new(),
        }
    }
}

impl TryFrom<String> for DigestKey {
    type Error = InvalidDigestKey;

    fn try_from(text: String) -> Result<Self, InvalidDigestKey> {
        let names = text.strip_prefix(Self::PREFIX).map(|names| names.split('.'));
        let named = names.is_some_and(|mut names| names.all(|name| !name.is_empty()));
        let fits = text.chars().take(Self::CHARS_MAX + 1).count() <= Self::CHARS_MAX;
        if named && fits && !text.chars().any(char::is_control) {
            Ok(Self(text))
        } else {
            Err(InvalidDigestKey)
        }
    }
}

impl From<DigestKey> for String {
    fn from(key: DigestKey) -> Self {
        key.0
    }
}

impl fmt::Display for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    //! Which items belong together.
    #![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_is_found_where_it_stands_and_is_a_text() {
        let data = json!({"thread": "t-1", "page": {"id": 42, "open": true, "tags": []}, "7": "seven", "none": null});
        for (key, found) in [
            ("data.thread", "t-1"),
            ("data.page.id", "42"),
            ("data.page.open", "true"),
            ("data.page.tags", ""),
            ("data.page", ""),
            ("data.7", "seven"),
            ("data.none", ""),
            ("data.absent", ""),
            ("data.thread.id", ""),
            ("data.absent.id", ""),
        ] {
            let key = Some(DigestKey::try_from(key.to_owned()).unwrap());
            let settings = DigestSettings { window_s: 60, key, items_max: 2, template: None };
            assert_eq!(settings.key_of(data.as_object()), found, "{settings:?}");
            assert_eq!(settings.key_of(None), "", "{settings:?}");
        }
    }

    #[test]
    fn what_names_no_member_of_data_is_no_key() {
        let long = format!("data.{}", "x".repeat(124));
        for text in
            ["", "data", "data.", "thread", "payload.thread", "data..x", "data.x.", "data.a\nb", &long]
        {
            assert_eq!(DigestKey::try_from(text.to_owned()), Err(InvalidDigestKey), "{text:?}");
        }
        assert!(DigestKey::try_from(format!("data.{}", "ä".repeat(123))).is_ok());
    }
}
