//! One user of a history: what is known of her inbox while it is written, and what everybody was told of it.

use std::cell::{Cell, RefCell};

use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::Notify;

use super::model::{Filter, Model, written};
use crate::support::{Answer, Service, Xorshift, position};

pub const CATEGORIES: [&str; 2] = ["billing", "news"];
pub const TAGS: [&str; 3] = ["vip", "q3", "eu"];
pub const STATES: [&str; 7] = ["active", "unread", "unseen", "read", "archived", "snoozed", "all"];

/// What an answer of the service says about the log.
pub enum Claim {
    /// One of these happened to it.
    Happened { id: String, any_of: &'static [&'static str] },
    /// One of these happened to each that was listed up to there and is not gone.
    HappenedToAll { up_to: i64, category: Option<&'static str>, any_of: &'static [&'static str] },
}

/// A page or the counts, as they were shown at a cursor.
pub struct Look {
    pub at: i64,
    pub counts: (i64, i64),
    /// With the limit that was asked for, and whether there was a next page.
    pub page: Option<(Filter, usize, Vec<Value>, bool)>,
}

impl Look {
    pub fn of(shown: &Value, page: Option<(Filter, usize)>) -> Self {
        let page = page.map(|(filter, limit)| {
            (filter, limit, shown["items"].as_array().unwrap().clone(), shown["next"].is_string())
        });
        Self { at: position(shown["cursor"].as_str().unwrap()), counts: counts_in(shown), page }
    }

    /// The model has folded everything up to the look's cursor.
    pub fn check(&self, model: &Model) {
        assert_eq!(self.counts, model.counts(), "the counts at {}", self.at);
        let Some((filter, limit, items, more)) = &self.page else { return };
        let mut list = model.list(filter);
        assert_eq!(*more, list.len() > *limit, "{filter:?} at {}", self.at);
        list.truncate(*limit);
        assert_eq!(*items, list, "{filter:?} at {}", self.at);
    }
}

pub fn counts_in(shown: &Value) -> (i64, i64) {
    (shown["unread"].as_i64().unwrap(), shown["unseen"].as_i64().unwrap())
}

#[derive(Default)]
pub struct User {
    pub name: String,
    /// Of notifications that were created.
    pub ids: RefCell<Vec<String>>,
    pub looks: RefCell<Vec<Look>>,
    pub claims: RefCell<Vec<Claim>>,
    /// The newest cursor of a command.
    pub cursor: RefCell<Option<String>>,
    /// Requests that were answered with 503.
    pub put_off: Cell<usize>,
    over: Cell<bool>,
    ended: Notify,
}

impl User {
    pub fn new(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    /// It goes on.
    pub fn begin(&self) {
        self.over.set(false);
    }

    /// Nothing more is going to be done.
    pub fn end(&self) {
        self.over.set(true);
        self.ended.notify_waiters();
    }

    pub fn is_over(&self) -> bool {
        self.over.get()
    }

    pub async fn over(&self) {
        let ended = self.ended.notified();
        if !self.is_over() {
            ended.await;
        }
    }

    pub fn some_id(&self, random: &mut Xorshift) -> Option<String> {
        let ids = self.ids.borrow();
        (!ids.is_empty()).then(|| ids[random.below(ids.len())].clone())
    }

    pub fn claim(&self, claim: Claim) {
        self.claims.borrow_mut().push(claim);
    }

    pub fn knows(&self, cursor: &str) {
        let mut known = self.cursor.borrow_mut();
        if known.as_deref().is_none_or(|known| position(known) < position(cursor)) {
            *known = Some(cursor.to_owned());
        }
    }
}

/// A mark that a user makes; `members` are those of its frame, besides type and id.
pub struct Mark {
    pub word: &'static str,
    pub members: Value,
    /// What must have happened then; nothing in particular where it may have been so already.
    pub any_of: &'static [&'static str],
}

pub fn some_mark(random: &mut Xorshift) -> Mark {
    let mark = |word, any_of| Mark { word, members: json!({}), any_of };
    match random.below(8) {
        0 | 1 => mark("read", &["notification.read"]),
        2 => mark("seen", &["notification.seen", "notification.read"]),
        3 => mark("unread", &["notification.created"]),
        4 => mark("archive", &["notification.archived"]),
        5 => mark("unarchive", &["notification.created"]),
        _ => Mark {
            members: json!({"until": soon(random, 150..700)}),
            ..mark("snooze", &["notification.snoozed"])
        },
    }
}

/// For a whole inbox: the word, and what it does.
pub fn some_bulk(random: &mut Xorshift) -> (&'static str, &'static [&'static str]) {
    [
        ("read", &["notification.read"] as &[_]),
        ("seen", &["notification.seen", "notification.read"]),
        ("archive", &["notification.archived"]),
    ][random.below(3)]
}

pub fn some_category(random: &mut Xorshift) -> Option<&'static str> {
    CATEGORIES.get(random.below(CATEGORIES.len() * 2)).copied()
}

pub fn some_filter(random: &mut Xorshift) -> Filter {
    Filter {
        state: STATES[random.below(STATES.len())],
        category: some_category(random),
        tag: TAGS.get(random.below(TAGS.len() * 2)).copied(),
    }
}

/// Of any kind, now or in a moment, for ever or not.
pub fn some_notification(user: &str, random: &mut Xorshift) -> Value {
    let title = random.below(1000).to_string();
    let content = json!({"title": title, "body": "x".repeat(random.below(200))});
    let mut body = json!({"user_id": user, "content": content});
    body["priority"] = ["low", "normal", "high", "urgent"][random.below(4)].into();
    if let Some(category) = some_category(random) {
        body["category"] = category.into();
    }
    let tags: Vec<&str> = TAGS.into_iter().filter(|_| random.below(2) == 0).collect();
    if random.below(2) == 0 {
        body["tags"] = json!(tags);
        body["data"] = json!({"n": random.below(9), "nested": {"list": [1, null, "x"]}});
    }
    if random.below(4) == 0 {
        body["deliver_at"] = soon(random, 100..700).into();
    }
    if random.below(4) == 0 {
        body["expires_at"] = soon(random, 800..2_000).into();
    }
    body
}

/// So many milliseconds from now.
pub fn soon(random: &mut Xorshift, ms: std::ops::Range<usize>) -> String {
    let ms = ms.start + random.below(ms.len());
    written(OffsetDateTime::now_utc() + time::Duration::milliseconds(ms as i64))
}

/// A backend that writes to the user and acts for her, at either node.
pub struct Actor<'a> {
    pub user: &'a User,
    pub nodes: [&'a Service; 2],
    pub random: Xorshift,
}

impl Actor<'_> {
    pub async fn work(mut self, operations: usize) {
        for _ in 0..operations {
            match self.random.below(20) {
                0..7 => self.create().await,
                7..14 => self.mark().await,
                14..16 => self.mark_all().await,
                16 => self.cancel().await,
                _ => self.look().await,
            }
        }
    }

    fn node(&mut self) -> usize {
        self.random.below(2)
    }

    /// The answer to a command, unless it was put off.
    async fn command(&mut self, path: &str, body: &Value, statuses: &[u16]) -> Option<Answer> {
        let node = self.node();
        let answer = self.nodes[node].post(path, body).await;
        if self.is_put_off(&answer) {
            return None;
        }
        assert!(statuses.contains(&answer.status), "{path} {body}: {answer:?}");
        if let Some(cursor) = answer.header("tidings-cursor") {
            self.user.knows(cursor);
        }
        matches!(answer.status, 200 | 201).then_some(answer)
    }

    /// On a machine with other things to do the inbox may take longer than a request waits.
    fn is_put_off(&self, answer: &Answer) -> bool {
        let is_put_off = answer.status == 503;
        if is_put_off {
            assert_eq!(answer.problem(503), "projection-behind");
            self.user.put_off.set(self.user.put_off.get() + 1);
        }
        is_put_off
    }

    async fn create(&mut self) {
        let body = some_notification(&self.user.name, &mut self.random);
        // An instant may have passed on the way.
        if let Some(answer) = self.command("/v1/notifications", &body, &[201, 422]).await {
            let id = answer.text("id");
            self.user.claim(Claim::Happened { id: id.clone(), any_of: &["notification.created"] });
            self.user.ids.borrow_mut().push(id);
        }
    }

    async fn mark(&mut self) {
        let Some(id) = self.user.some_id(&mut self.random) else { return };
        let Mark { word, members, any_of } = some_mark(&mut self.random);
        let path = format!("/v1/notifications/{id}/{word}");
        let body = if word == "snooze" { members } else { Value::Null };
        let statuses: &[u16] = if word == "snooze" { &[200, 409, 422] } else { &[200, 409] };
        if self.command(&path, &body, statuses).await.is_some() {
            self.user.claim(Claim::Happened { id, any_of });
        }
    }

    async fn cancel(&mut self) {
        let Some(id) = self.user.some_id(&mut self.random) else { return };
        let path = format!("/v1/notifications/{id}/cancel");
        if self.command(&path, &Value::Null, &[200, 409]).await.is_some() {
            self.user.claim(Claim::Happened { id, any_of: &["notification.cancelled"] });
        }
    }

    async fn mark_all(&mut self) {
        let (word, any_of) = some_bulk(&mut self.random);
        let category = some_category(&mut self.random);
        let known = self.user.cursor.borrow().clone();
        let mut body = json!({});
        if let Some(category) = category {
            body["category"] = category.into();
        }
        if let Some(known) = known.as_ref().filter(|_| self.random.below(3) == 0) {
            body["up_to"] = known.as_str().into();
        }
        let path = format!("/v1/users/{}/inbox/{word}-all", self.user.name);
        if self.command(&path, &body, &[200]).await.is_some() {
            let up_to = known.map_or(0, |known| position(&known));
            self.user.claim(Claim::HappenedToAll { up_to, category, any_of });
        }
    }

    /// Reads what it wrote, at whichever node.
    async fn look(&mut self) {
        let (filter, limit) = (some_filter(&mut self.random), 1 + self.random.below(6));
        let counts = self.random.below(3) == 0;
        let query = if counts { "/counts".into() } else { format!("?{}&limit={limit}", filter.query()) };
        let node = self.nodes[self.node()];
        let request = node.request("GET", &format!("/v1/users/{}/inbox{query}", self.user.name));
        let mut request = request.header("x-api-key", node.root_key());
        let known = self.user.cursor.borrow().clone();
        if let Some(known) = &known {
            request = request.header("tidings-min-cursor", known);
        }
        let answer = node.send(request).await;
        if self.is_put_off(&answer) {
            return;
        }
        let shown = answer.expect(200).json();
        let look = Look::of(&shown, (!counts).then_some((filter, limit)));
        assert!(known.is_none_or(|known| look.at >= position(&known)), "asked to wait: {shown}");
        self.user.looks.borrow_mut().push(look);
    }
}
