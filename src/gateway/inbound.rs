//! What a client sends: one JSON object per text frame, told apart by `type`.
//!
//! A text that is no such object says nothing that could be answered, so it ends the connection. Whatever is wrong
//! inside of one is a problem with this frame alone.

use serde::Deserialize;
use serde_json::Value;
use tidings_domain::NotificationId;
use tidings_domain::notification::{Action, Category};
use tidings_projections::log::{Cursor, CursorError};
use time::OffsetDateTime;

use super::frame::Close;
use crate::api::{Kind, Problem};
use crate::commands::BulkKind;
use crate::{instant, json};

/// Characters of a `ref`.
const REFERENCE_CHARS_MAX: usize = 128;

/// A frame that was understood.
#[derive(Debug)]
pub enum Inbound {
    Auth {
        token: Result<String, Problem>,
        reference: Option<String>,
    },
    Ping,
    Ack(Cursor),
    Order {
        order: Result<Order, Problem>,
        reference: Option<String>,
    },
    /// A newer client may know more than this node.
    Unknown,
}

/// What a frame asks for, roughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboundKind {
    Auth,
    Ping,
    Ack,
    Command,
    Unknown,
}

impl Inbound {
    pub fn kind(&self) -> InboundKind {
        match self {
            Self::Auth { .. } => InboundKind::Auth,
            Self::Ping => InboundKind::Ping,
            Self::Ack(_) => InboundKind::Ack,
            Self::Order { .. } => InboundKind::Command,
            Self::Unknown => InboundKind::Unknown,
        }
    }
}

/// A command.
#[derive(Clone, Debug)]
pub enum Order {
    /// On one notification.
    One { id: NotificationId, action: Action },
    /// On whatever is in the inbox: up to a position, of a category, where they are given.
    All { mark: BulkKind, up_to: Option<Cursor>, category: Option<Category> },
}

/// All members that any frame has; the others are passed over. What they must be depends on the type.
#[derive(Deserialize)]
struct Members {
    r#type: String,
    r#ref: Option<String>,
    token: Option<Value>,
    cursor: Option<Value>,
    id: Option<Value>,
    until: Option<Value>,
    up_to: Option<Value>,
    category: Option<Value>,
}

/// `now` is what `until` is compared with.
pub fn parse(text: &str, now: OffsetDateTime) -> Result<Inbound, Close> {
    let members: Members = json::from_str(text).map_err(|_| Close::BadRequest)?;
    let reference = members.r#ref.clone();
    if reference.as_ref().is_some_and(|text| text.chars().count() > REFERENCE_CHARS_MAX) {
        return Err(Close::BadRequest);
    }
    let order = |order| Inbound::Order { order, reference: reference.clone() };
    let act = |action| order(members.one(action));
    Ok(match members.r#type.as_str() {
        "auth" => Inbound::Auth { token: text_of("/token", members.token.as_ref()), reference },
        "ping" => Inbound::Ping,
        "ack" => {
            let cursor = text_of("/cursor", members.cursor.as_ref()).map_err(|_| Close::BadRequest)?;
            Inbound::Ack(cursor.parse().map_err(|_| Close::BadRequest)?)
        }
        "read" => act(Action::MarkRead),
        "unread" => act(Action::MarkUnread),
        "seen" => act(Action::MarkSeen),
        "archive" => act(Action::Archive),
        "unarchive" => act(Action::Unarchive),
        "snooze" => order(members.until(now).and_then(|until| members.one(Action::Snooze { until }))),
        "read_all" => order(members.all(BulkKind::Read)),
        "seen_all" => order(members.all(BulkKind::Seen)),
        "archive_all" => order(members.all(BulkKind::Archive)),
        _ => Inbound::Unknown,
    })
}

impl Members {
    fn one(&self, action: Action) -> Result<Order, Problem> {
        let id = text_of("/id", self.id.as_ref())?;
        let id = id.parse().map_err(|error: tidings_domain::InvalidIdentity| {
            Problem::at(Kind::Malformed, "/id", error.to_string())
        })?;
        Ok(Order::One { id, action })
    }

    fn all(&self, mark: BulkKind) -> Result<Order, Problem> {
        let given = |pointer, member: &Option<Value>| {
            member.as_ref().map(|value| text_of(pointer, Some(value))).transpose()
        };
        let cursor = |text: String| {
            let malformed = |error: CursorError| Problem::at(Kind::Malformed, "/up_to", error.to_string());
            text.parse::<Cursor>().map_err(malformed)
        };
        let up_to = given("/up_to", &self.up_to)?.map(cursor).transpose()?;
        let category = given("/category", &self.category)?.map(Category::new).transpose()?;
        Ok(Order::All { mark, up_to, category })
    }

    fn until(&self, now: OffsetDateTime) -> Result<OffsetDateTime, Problem> {
        let refuse = |detail: String| Problem::at(Kind::Invalid, "/until", detail);
        let text = text_of("/until", self.until.as_ref())?;
        let until = instant::parse(&text).map_err(|error| refuse(error.to_string()))?;
        if until > now { Ok(until) } else { Err(refuse("must lie in the future".into())) }
    }
}

fn text_of(pointer: &str, member: Option<&Value>) -> Result<String, Problem> {
    match member {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(Problem::at(Kind::Invalid, pointer, "must be a string")),
        None => Err(Problem::at(Kind::Invalid, pointer, "is missing")),
    }
}

#[cfg(test)]
mod tests {
    //! What is understood, what is refused, and what ends a connection.
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-22 10:00 UTC);

    fn refused(text: &str) -> String {
        match parse(text, NOW) {
            Ok(Inbound::Order { order: Err(problem), .. } | Inbound::Auth { token: Err(problem), .. }) => {
                problem.to_json()
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn an_instant_is_cut_to_the_milliseconds_that_are_kept_and_must_come_after_now() {
        let snooze = |until: &str| {
            let id = "ntf_01890a5d-ac96-774b-bcce-b302099a8057";
            format!(r#"{{"type":"snooze","id":"{id}","until":"{until}"}}"#)
        };
        let until = |text: &str| match parse(&snooze(text), NOW) {
            Ok(Inbound::Order { order: Ok(Order::One { action: Action::Snooze { until }, .. }), .. }) => {
                until
            }
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(until("2026-11-22T12:00:00.123456789+01:00"), datetime!(2026-11-22 11:00:00.123 UTC));
        for bad in [
            "2026-11-22T10:00:00.0009Z",
            "2026-11-22T09:00:00Z",
            "tomorrow",
            "2026-11-23",
            "",
            // In UTC, as it is kept, this is the year 10000.
            "9999-12-31T23:59:59-01:00",
        ] {
            assert!(refused(&snooze(bad)).contains("/until"), "{bad}");
        }
    }

    #[test]
    fn a_member_that_is_missing_or_of_another_kind_is_named() {
        for (text, named) in [
            (r#"{"type":"read"}"#, "/id"),
            (r#"{"type":"read","id":null}"#, "/id"),
            (r#"{"type":"read","id":7}"#, "/id"),
            (r#"{"type":"read","id":"ntf_1"}"#, "/id"),
            (r#"{"type":"snooze","id":"ntf_01890a5d-ac96-774b-bcce-b302099a8057"}"#, "/until"),
            (r#"{"type":"auth"}"#, "/token"),
            (r#"{"type":"auth","token":["x"]}"#, "/token"),
        ] {
            assert!(refused(text).contains(&format!(r#""pointer":"{named}""#)), "{text}");
        }
    }

    #[test]
    fn what_could_not_be_answered_ends_the_connection() {
        let long = format!(r#"{{"type":"wave","ref":"{}"}}"#, "x".repeat(129));
        for text in [
            "{",
            "[]",
            r#"{"type":7}"#,
            r#"{"type":"wave","type":"wave"}"#,
            r#"{"type":"wave","ref":7}"#,
            &long,
            r#"{"type":"ack"}"#,
            r#"{"type":"ack","cursor":7}"#,
            r#"{"type":"ack","cursor":"1."}"#,
        ] {
            assert!(matches!(parse(text, NOW), Err(Close::BadRequest)), "{text}");
        }
        assert!(matches!(parse(r#"{"type":"wave","ref":"1","x":[{}]}"#, NOW), Ok(Inbound::Unknown)));
    }
}
