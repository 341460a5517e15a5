//! What a notification says, and the limits of each part. Parsed at the edge, trusted ever after.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::template::TemplateKey;

/// Which member is not acceptable, and why; `pointer` is a JSON Pointer (RFC 6901) below the notification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {detail}")]
pub struct InvalidContent {
    pub pointer: String,
    pub detail: &'static str,
}

impl InvalidContent {
    pub(super) fn at(pointer: &str, detail: &'static str) -> Self {
        Self { pointer: pointer.into(), detail }
    }
}

/// What it says: words as they are, or a template's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, try_from = "AsStored")]
pub enum Content {
    Words(Words),
    Template { template: Templated },
}

/// The words themselves. The body has no limit of its own beyond that of the request that carries it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    pub title: String,
    pub body: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_url: Option<String>,
}

/// A version of one of the tenant's templates, and what goes into its places. Whoever makes a notification has checked
/// that they go together; each reader is told in a language of the version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Templated {
    pub key: TemplateKey,
    /// The latest when the notification was made, and for ever after.
    pub version: u32,
    pub args: Map<String, Value>,
    /// Instead of one that the template makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_url: Option<String>,
}

impl Content {
    pub fn new(title: String, body: String, action_url: Option<String>) -> Result<Self, InvalidContent> {
        Words::new(title, body, action_url).map(Self::Words)
    }
}

impl Words {
    pub const TITLE_CHARS_MAX: usize = 1_000;
    pub const ACTION_URL_CHARS_MAX: usize = 2_048;
    /// Schemes that run code in the reader's page when a bell makes a link of them.
    const FORBIDDEN_SCHEMES: [&str; 3] = ["javascript", "data", "vbscript"];

    pub fn new(title: String, body: String, action_url: Option<String>) -> Result<Self, InvalidContent> {
        if !has_chars(&title, 1, Self::TITLE_CHARS_MAX) {
            return Err(InvalidContent::at("/content/title", "must have 1 to 1,000 characters"));
        }
        if let Some(url) = &action_url {
            Self::check_action_url(url)
                .map_err(|detail| InvalidContent::at("/content/action_url", detail))?;
        }
        Ok(Self { title, body, action_url })
    }

    /// Why it is none, if it is none.
    pub fn check_action_url(url: &str) -> Result<(), &'static str> {
        if !has_chars(url, 1, Self::ACTION_URL_CHARS_MAX) {
            return Err("must have 1 to 2,048 characters");
        }
        if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("must not contain white space or control characters");
        }
        // Without a colon there is no scheme (RFC 3986, 4.2): `data/42` is a path.
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        if Self::FORBIDDEN_SCHEMES.iter().any(|s| scheme.eq_ignore_ascii_case(s)) {
            return Err("must not use a scheme that runs code");
        }
        Ok(())
    }
}

impl Templated {
    pub fn new(
        key: TemplateKey,
        version: u32,
        args: Map<String, Value>,
        action_url: Option<String>,
    ) -> Result<Self, InvalidContent> {
        if let Some(url) = &action_url {
            Words::check_action_url(url)
                .map_err(|detail| InvalidContent::at("/template/action_url", detail))?;
        }
        Ok(Self { key, version, args, action_url })
    }
}

/// Both at once: told apart without a copy of either.
#[derive(Deserialize)]
struct AsStored {
    title: Option<String>,
    body: Option<String>,
    action_url: Option<String>,
    template: Option<Templated>,
}

impl TryFrom<AsStored> for Content {
    type Error = &'static str;

    fn try_from(stored: AsStored) -> Result<Self, Self::Error> {
        let AsStored { title, body, action_url, template } = stored;
        match (title.zip(body), template) {
            (Some((title, body)), None) => Ok(Self::Words(Words { title, body, action_url })),
            (None, Some(template)) => Ok(Self::Template { template }),
            _ => Err("neither a title and a body nor a template"),
        }
    }
}

/// How soon and how loudly; also the order in which outside channels are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
    Urgent,
}

impl Priority {
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Urgent];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Urgent => "urgent",
        }
    }
}

/// A kind of notification, such as `billing`: 1 to 64 characters without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Category(String);

impl Category {
    pub fn new(text: String) -> Result<Self, InvalidContent> {
        if is_label(&text) { Ok(Self(text)) } else { Err(InvalidContent::at("/category", LABEL)) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A free label: the same shape as a category.
pub type Tag = String;

/// At most 20 distinct tags, in the order given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tags(Vec<Tag>);

impl Tags {
    pub const COUNT_MAX: usize = 20;

    pub fn new(tags: Vec<Tag>) -> Result<Self, InvalidContent> {
        if tags.len() > Self::COUNT_MAX {
            return Err(InvalidContent::at("/tags", "must have at most 20 members"));
        }
        for (index, tag) in tags.iter().enumerate() {
            let refuse = |detail| Err(InvalidContent::at(&format!("/tags/{index}"), detail));
            if !is_label(tag) {
                return refuse(LABEL);
            }
            if tags[..index].contains(tag) {
                return refuse("must not repeat another tag");
            }
        }
        Ok(Self(tags))
    }

    pub fn as_slice(&self) -> &[Tag] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

const LABEL: &str = "must have 1 to 64 characters, none of them a control character";

fn is_label(text: &str) -> bool {
    has_chars(text, 1, 64) && !text.chars().any(char::is_control)
}

fn has_chars(text: &str, min: usize, max: usize) -> bool {
    (min..=max).contains(&text.chars().take(max + 1).count())
}
