//! What an inbox must show after each event of the log, folded as plainly as can be. It shares no code with the
//! service: two folds that agree are both right, or wrong in the same way for different reasons.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::position;

/// Which items a page is to show.
#[derive(Clone, Debug)]
pub struct Filter {
    pub state: &'static str,
    pub category: Option<&'static str>,
    pub tag: Option<&'static str>,
}

impl Filter {
    pub fn query(&self) -> String {
        let part = |name, value: Option<&str>| value.map_or_else(String::new, |it| format!("&{name}={it}"));
        format!("state={}{}{}", self.state, part("category", self.category), part("tag", self.tag))
    }
}

struct Item {
    /// As clients see it.
    shown: Map<String, Value>,
    /// Where it entered the inbox.
    listed: Option<i64>,
    ended: bool,
    release_at: Option<OffsetDateTime>,
    expire_at: Option<OffsetDateTime>,
    wake_at: Option<OffsetDateTime>,
}

impl Item {
    fn has(&self, member: &str) -> bool {
        self.shown.contains_key(member)
    }

    fn is_in(&self, state: &str) -> bool {
        let active = !self.has("archived_at") && !self.has("snoozed_until");
        let visible = self.listed.is_some() && !self.ended;
        visible
            && match state {
                "active" => active,
                "unread" => active && !self.has("read_at"),
                "unseen" => active && !self.has("seen_at"),
                "read" => active && self.has("read_at"),
                "archived" => self.has("archived_at"),
                "snoozed" => self.has("snoozed_until") && !self.has("archived_at"),
                "all" => true,
                other => panic!("{other}"),
            }
    }

    /// The timer that this event says has fired, at the instant it was for.
    fn fires(&mut self, name: &str) -> Option<OffsetDateTime> {
        let timer = match name {
            "released" => &mut self.release_at,
            "woken" => &mut self.wake_at,
            "expired" => &mut self.expire_at,
            _ => return None,
        };
        Some(timer.take().unwrap_or_else(|| panic!("{name} fired twice, or for nothing: {:?}", self.shown)))
    }
}

/// One user's inbox.
#[derive(Default)]
pub struct Model {
    items: BTreeMap<String, Item>,
    /// The frames that tell of it, in order.
    pub frames: Vec<Value>,
    /// Every event name of every notification, so far.
    pub happened: BTreeMap<String, BTreeSet<String>>,
    /// By how much timers were late.
    pub late_ms: Vec<i128>,
}

impl Model {
    /// Folds the next event of the log that concerns this user.
    pub fn fold(&mut self, event: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{event}")).to_owned();
        let (id, kind) = (text(&event["aggregate_id"]), text(&event["type"]));
        self.happened.entry(id.clone()).or_default().insert(kind.clone());
        let Some(name) = kind.strip_prefix("notification.") else { return };
        if name == "created" {
            let before = self.items.insert(id.clone(), created(event));
            assert!(before.is_none(), "created twice: {event}");
        }
        let at = position(&text(&event["cursor"]));
        let item = self.items.get_mut(&id).unwrap_or_else(|| panic!("never created: {event}"));
        assert!(!item.ended, "after its end: {event}");
        if let Some(due) = item.fires(name) {
            let late = (instant(&event["recorded_at"]) - due).whole_milliseconds();
            assert!(late >= 0, "{late} ms late: {event}");
            self.late_ms.push(late);
        }
        let told = item.listed.is_some();
        alter(item, name, event, at);
        if told || item.listed.is_some() {
            let (shown, cursor) = (Value::from(item.shown.clone()), &event["cursor"]);
            let (unread, unseen) = self.counts();
            self.frames.push(json!({
                "type": "event", "cursor": cursor, "event": kind, "unread": unread, "unseen": unseen,
                "notification": shown,
            }));
        }
    }

    pub fn counts(&self) -> (i64, i64) {
        let count = |state| self.items.values().filter(|item| item.is_in(state)).count() as i64;
        (count("unread"), count("unseen"))
    }

    /// The items of a whole list, newest first.
    pub fn list(&self, filter: &Filter) -> Vec<Value> {
        let fits = |item: &&Item| {
            let tags = item.shown.get("tags").and_then(Value::as_array);
            item.is_in(filter.state)
                && filter.category.is_none_or(|it| item.shown.get("category").is_some_and(|of| of == it))
                && filter.tag.is_none_or(|it| tags.is_some_and(|tags| tags.iter().any(|tag| tag == it)))
        };
        let mut found: Vec<&Item> = self.items.values().filter(fits).collect();
        found.sort_by_key(|item| std::cmp::Reverse(item.listed));
        found.into_iter().map(|item| item.shown.clone().into()).collect()
    }

    /// Ids of what was listed up to a position and is not gone.
    pub fn listed_up_to(&self, at: i64, category: Option<&str>) -> Vec<&String> {
        let is_meant = |item: &Item| {
            !item.ended
                && item.listed.is_some_and(|listed| listed <= at)
                && category.is_none_or(|it| item.shown.get("category").is_some_and(|of| of == it))
        };
        self.items.iter().filter(|(_, item)| is_meant(item)).map(|(id, _)| id).collect()
    }

    /// When the last of the timers is due that have not fired yet.
    pub fn last_due(&self) -> Option<OffsetDateTime> {
        let alive = self.items.values().filter(|item| !item.ended);
        alive
            .flat_map(|item| {
                let awake = if item.listed.is_some() { item.wake_at } else { None };
                [item.release_at, awake, item.expire_at]
            })
            .flatten()
            .max()
    }
}

fn created(event: &Value) -> Item {
    let data = &event["data"];
    let mut shown = data["content"].as_object().unwrap().clone();
    for member in ["category", "priority", "data", "tags"] {
        if let Some(value) = data.get(member) {
            shown.insert(member.into(), value.clone());
        }
    }
    shown.insert("id".into(), event["aggregate_id"].clone());
    shown.insert("created_at".into(), event["recorded_at"].clone());
    let at = |member: &str| data.get(member).map(instant);
    Item {
        shown,
        listed: None,
        ended: false,
        release_at: at("deliver_at"),
        expire_at: at("expires_at"),
        wake_at: None,
    }
}

fn alter(item: &mut Item, name: &str, event: &Value, at: i64) {
    let (now, shown) = (&event["recorded_at"], &mut item.shown);
    shown.insert("cursor".into(), event["cursor"].clone());
    let has = |member: &str| shown.contains_key(member);
    let changes = match name {
        "seen" => !has("seen_at"),
        "read" => !has("read_at"),
        "unread" => has("read_at"),
        "archived" => !has("archived_at"),
        "unarchived" => has("archived_at"),
        _ => true,
    };
    assert!(changes, "a second effect: {event}");
    let mut set = |member: &str| shown.insert(member.into(), now.clone());
    match name {
        "created" if item.release_at.is_none() => item.listed = Some(at),
        "created" => {}
        "released" => item.listed = Some(at),
        "seen" => _ = set("seen_at"),
        "read" => {
            set("read_at");
            shown.entry("seen_at").or_insert_with(|| now.clone());
        }
        "unread" => _ = shown.remove("read_at"),
        "archived" => _ = set("archived_at"),
        "unarchived" => _ = shown.remove("archived_at"),
        "snoozed" => {
            let until = instant(&event["data"]["until"]);
            item.wake_at = Some(until);
            shown.insert("snoozed_until".into(), written(until).into());
        }
        "woken" => _ = shown.remove("snoozed_until"),
        "cancelled" | "expired" => item.ended = true,
        other => panic!("the model does not know {other}"),
    }
}

pub fn instant(value: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(value.as_str().unwrap(), &Rfc3339).unwrap()
}

/// As the API writes it: always with three digits of a second.
pub fn written(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let (date, (hour, minute, second, ms)) = (at.date(), at.time().as_hms_milli());
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}
