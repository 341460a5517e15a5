//! A notification that collects until its release: what goes into it, and what it says in the end.
//!
//! Each item stands in an event of its own, which carries the totals. So a digest is open for as long as its last event is one
//! of those, and that event is all it takes to add the next.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Content, Templated, Words};
use crate::template::{ArgumentType, TemplateKey};

/// How a digest says what it has collected; fixed when it is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Without one it is said in the items' own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<DigestTemplate>,
}

/// A version of a template that fits a digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestTemplate {
    pub key: TemplateKey,
    /// The latest when the digest was opened.
    pub version: u32,
    /// All that it declares.
    pub arguments: BTreeSet<DigestArgument>,
}

/// What a digest puts into the places of its template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DigestArgument {
    /// How many items there are.
    Count,
    /// All but the last.
    Others,
    /// The titles, one per line, oldest first.
    Items,
    /// The title of the oldest item.
    First,
    /// The title of the newest item.
    Last,
    /// Where the newest item leads; empty where it leads nowhere.
    ActionUrl,
}

impl DigestArgument {
    pub const ALL: [Self; 6] =
        [Self::Count, Self::Others, Self::Items, Self::First, Self::Last, Self::ActionUrl];

    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Others => "others",
            Self::Items => "items",
            Self::First => "first",
            Self::Last => "last",
            Self::ActionUrl => "action_url",
        }
    }

    pub fn kind(self) -> ArgumentType {
        match self {
            Self::Count | Self::Others => ArgumentType::Number,
            Self::Items | Self::First | Self::Last | Self::ActionUrl => ArgumentType::String,
        }
    }

    /// Those that a template declares. Fails with the name of one that no digest can give.
    pub fn declared(arguments: &BTreeMap<String, ArgumentType>) -> Result<BTreeSet<Self>, &str> {
        let given = |(name, kind): (&String, &ArgumentType)| {
            Self::ALL.into_iter().find(|it| it.name() == name && it.kind() == *kind)
        };
        arguments.iter().map(|declared| given(declared).ok_or(declared.0.as_str())).collect()
    }
}

/// A notification that is not made, because a digest takes it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// As its reader is told when it is collected.
    pub words: Words,
    /// Whose words they are, where they are a template's.
    pub template: Option<TemplateVersion>,
    pub data: Option<Map<String, Value>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateVersion {
    pub key: TemplateKey,
    pub version: u32,
}

/// One item, and the totals with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Counted from 1.
    pub number: u32,
    /// What all of them take as JSON, with each title once more: it stands in the digest's own words, too.
    pub bytes: u64,
    /// `None` once the recipient's key was destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Words>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateVersion>,
}

impl Collected {
    /// Of a digest with more than one item, with all that it says: a socket's queue holds it several times.
    pub const BYTES_MAX: u64 = 128 << 10;

    /// The item that opens a digest.
    pub fn first(item: Item) -> Self {
        Self::new(1, bytes_of(&item), item)
    }

    /// The item after this one; `None` where the digest is full.
    pub fn then(&self, item: Item, items_max: u32) -> Option<Self> {
        let (number, bytes) = (self.number + 1, self.bytes + bytes_of(&item));
        // The newest item's data are the digest's own, too.
        let fits = bytes + json_bytes(&item.data) <= Self::BYTES_MAX;
        (number <= items_max && fits).then(|| Self::new(number, bytes, item))
    }

    fn new(number: u32, bytes: u64, Item { words, template, data }: Item) -> Self {
        Self { number, bytes, content: Some(words), data, template }
    }
}

fn bytes_of(Item { words, data, .. }: &Item) -> u64 {
    json_bytes(&(words, data, &words.title))
}

fn json_bytes(value: &impl Serialize) -> u64 {
    serde_json::to_vec(value).expect("strings and JSON values always serialise").len() as u64
}

/// What a digest says: the content and the data of its notification from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digested {
    pub count: u32,
    /// `None` where nothing of it is known any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Map<String, Value>>,
}

/// What a digest holds until its release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gathering {
    digest: Digest,
    /// In the order in which they came, but for what was forgotten.
    items: Vec<(Words, Option<Map<String, Value>>)>,
}

impl Gathering {
    pub(super) fn new(digest: Digest) -> Self {
        Self { digest, items: Vec::new() }
    }

    pub(super) fn add(&mut self, Collected { content, data, .. }: &Collected) {
        self.items.extend(content.clone().map(|words| (words, data.clone())));
    }

    /// What it says in the end. A single item says itself, unless a template says it.
    pub(super) fn digested(&self) -> Option<Digested> {
        let Self { digest: Digest { template }, items } = self;
        let Some(newest) = items.last() else {
            return Some(Digested { count: 0, content: None, data: None });
        };
        let content = match template {
            None if items.len() == 1 => return None,
            None => Content::Words(Words {
                title: newest.0.title.clone(),
                body: self.titles(),
                action_url: newest.0.action_url.clone(),
            }),
            Some(DigestTemplate { key, version, arguments }) => {
                let args = arguments.iter().map(|it| (it.name().to_owned(), self.argument(*it))).collect();
                let template = Templated { key: key.clone(), version: *version, args, action_url: None };
                Content::Template { template }
            }
        };
        let mut data = newest.1.clone().unwrap_or_default();
        data.insert("items".into(), items.iter().map(shown).collect());
        Some(Digested { count: items.len() as u32, content: Some(content), data: Some(data) })
    }

    fn argument(&self, argument: DigestArgument) -> Value {
        let (count, newest) = (self.items.len(), self.items.last().map(|(words, _)| words));
        match argument {
            DigestArgument::Count => json!(count),
            DigestArgument::Others => json!(count.saturating_sub(1)),
            DigestArgument::Items => json!(self.titles()),
            DigestArgument::First => json!(self.items.first().map_or("", |(words, _)| &words.title)),
            DigestArgument::Last => json!(newest.map_or("", |words| &words.title)),
            DigestArgument::ActionUrl => {
                json!(newest.and_then(|words| words.action_url.as_deref()).unwrap_or_default())
            }
        }
    }

    /// One per line, whatever white space is in them.
    fn titles(&self) -> String {
        let line = |(words, _): &(Words, _)| words.title.split_whitespace().collect::<Vec<_>>().join(" ");
        self.items.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// An item as front ends see it.
fn shown((Words { title, body, action_url }, data): &(Words, Option<Map<String, Value>>)) -> Value {
    let mut item = Map::from_iter([("title".to_owned(), json!(title)), ("body".to_owned(), json!(body))]);
    item.extend(action_url.as_ref().map(|url| ("action_url".to_owned(), json!(url))));
    item.extend(data.as_ref().map(|data| ("data".to_owned(), json!(data))));
    Value::Object(item)
}
