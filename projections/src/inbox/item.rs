//! An item of an inbox: its state, whether it counts, and the one JSON form in which clients see it.

use std::fmt::Write;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidings_domain::NotificationId;
use tidings_domain::notification::{Content, Created, Templated, Words};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use uuid::Uuid;

use crate::log::Cursor;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub unread: i64,
    pub unseen: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Cancelled,
    Expired,
}

impl Ended {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        if text == "expired" { Self::Expired } else { Self::Cancelled }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ItemState {
    /// Where it entered the inbox; `None` while it is scheduled, and for ever where it is for other channels only.
    pub listed: Option<i64>,
    /// Its last change.
    pub position: i64,
    pub category: Option<Arc<str>>,
    pub tags: Arc<[String]>,
    /// [`Fixed`] as JSON; empty where it is for other channels only.
    pub content: Arc<str>,
    pub seen_at: Option<OffsetDateTime>,
    pub read_at: Option<OffsetDateTime>,
    pub archived_at: Option<OffsetDateTime>,
    pub snoozed_until: Option<OffsetDateTime>,
    pub ended: Option<Ended>,
}

/// Which lists show an item: three times the place (0 active, 1 archived, 2 snoozed) plus the state (0 unseen,
/// 1 seen, 2 read). A list is a merge of whole shelves, so a page of it never walks past what it does not show.
pub type Shelf = i16;

impl ItemState {
    /// What is left here of a notification that is delivered on other channels only: that it is known. It counts for
    /// nothing, and nothing that happens to it is seen in the inbox.
    pub(super) fn elsewhere(position: i64) -> Self {
        Self {
            listed: None,
            position,
            category: None,
            tags: Arc::new([]),
            content: Arc::from(""),
            seen_at: None,
            read_at: None,
            archived_at: None,
            snoozed_until: None,
            ended: None,
        }
    }

    pub(super) fn is_elsewhere(&self) -> bool {
        self.content.is_empty()
    }

    /// `None` while it is scheduled, and after its end.
    pub fn shelf(&self) -> Option<Shelf> {
        if self.listed.is_none() || self.ended.is_some() {
            return None;
        }
        let place = match (self.archived_at, self.snoozed_until) {
            (Some(_), _) => 1,
            (None, Some(_)) => 2,
            (None, None) => 0,
        };
        let state = match (self.seen_at, self.read_at) {
            (_, Some(_)) => 2,
            (Some(_), None) => 1,
            (None, None) => 0,
        };
        Some(place * 3 + state)
    }

    /// What this item adds to its user's counts: nothing unless it is visible, not archived and not snoozed.
    pub(super) fn counts(&self) -> Counts {
        let shelf = self.shelf();
        Counts { unread: i64::from(matches!(shelf, Some(0 | 1))), unseen: i64::from(shelf == Some(0)) }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub notification: Uuid,
    pub state: ItemState,
}

impl Item {
    /// The item as clients see it; a member without a value is left out. `content` is JSON already, so its
    /// members are spliced in instead of being parsed and written again for every frame.
    pub fn to_json(&self, cursor: Cursor) -> String {
        let state = &self.state;
        let members = state.content.strip_prefix('{').and_then(|c| c.strip_suffix('}')).unwrap_or_default();
        let mut json = String::with_capacity(members.len() + 256);
        let id = NotificationId::new(self.notification);
        // Writing to a String cannot fail.
        let _ = write!(json, r#"{{"id":"{id}",{members}"#);
        let instants = [
            ("seen_at", state.seen_at),
            ("read_at", state.read_at),
            ("archived_at", state.archived_at),
            ("snoozed_until", state.snoozed_until),
        ];
        for (name, at) in instants {
            if let Some(at) = at {
                let _ = write!(json, r#","{name}":"{}""#, rfc3339(at));
            }
        }
        let _ = write!(json, r#","cursor":"{cursor}"}}"#);
        json
    }
}

/// The members of an item that never change once it is shown. It has words, or a template whose words are made for each reader.
#[derive(Debug, Serialize, Deserialize)]
pub struct Fixed {
    /// First of all: [`Unsaid`] looks for it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Templated>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    pub priority: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    pub created_at: String,
}

impl Fixed {
    pub(super) fn of(created: &Created, created_at: OffsetDateTime) -> Self {
        let unsaid = Self {
            template: None,
            title: None,
            body: None,
            action_url: None,
            category: created.category.as_ref().map(|c| c.as_str().to_owned()),
            priority: created.priority.as_str().to_owned(),
            data: None,
            tags: created.tags.as_slice().to_vec(),
            created_at: rfc3339(created_at),
        };
        unsaid.saying(created.content.clone(), created.data.clone())
    }

    /// The same with something else to say.
    pub(super) fn saying(self, content: Option<Content>, data: Option<Map<String, Value>>) -> Self {
        // Without content the recipient was forgotten: what is left says nothing.
        let (template, words) = match content {
            None => (None, Words::default()),
            Some(Content::Words(words)) => (None, words),
            Some(Content::Template { template }) => (Some(template), Words::default()),
        };
        let (title, body) =
            if template.is_none() { (Some(words.title), Some(words.body)) } else { (None, None) };
        Self { template, title, body, action_url: words.action_url, data, ..self }
    }
}

/// What one event altered for one user: the item and the counts after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub tenant: String,
    pub user_id: String,
    /// The stored name of the event.
    pub event: String,
    pub item: Item,
    pub counts: Counts,
}

/// RFC 3339 in UTC with milliseconds, the one way instants are written.
pub fn rfc3339(at: OffsetDateTime) -> String {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at.to_offset(time::UtcOffset::UTC).format(FORMAT).expect("every field of the format is in the value")
}
