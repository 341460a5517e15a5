//! A backend that writes to a user and acts for her, whatever happens to the service: each request has a key and is sent
//! until it is done, at whichever door opens.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::histories::user::{Claim, Mark, User, some_bulk, some_category, some_mark, some_notification};
use crate::support::{Answer, Door, PATIENCE, Xorshift};

/// The body of a large notification.
const LARGE_BYTES: usize = 120 << 10;

pub struct Backend<'a> {
    name: String,
    user: &'a User,
    doors: Vec<&'a Door>,
    random: Xorshift,
    large: bool,
    requests: usize,
    /// Requests that were sent again, because they were refused or nobody answered.
    pub sent_again: usize,
    /// Requests that were sent once more though they had been answered.
    pub repeated: usize,
}

impl<'a> Backend<'a> {
    pub fn new(name: String, user: &'a User, doors: Vec<&'a Door>, random: Xorshift, large: bool) -> Self {
        Self { name, user, doors, random, large, requests: 0, sent_again: 0, repeated: 0 }
    }

    /// Works until all is over, and then until its last request is done.
    pub async fn work(&mut self) {
        while !self.user.is_over() {
            match self.random.below(20) {
                0..8 => self.create().await,
                8..16 => self.mark().await,
                16..18 => self.mark_all().await,
                _ => self.cancel().await,
            }
            self.breathe(5, 30).await;
        }
    }

    /// The pace of a backend; it does not wait for anything.
    async fn breathe(&mut self, from_ms: u64, to_ms: u64) {
        let ms = from_ms + self.random.below((to_ms - from_ms) as usize) as u64;
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    async fn command(&mut self, path: &str, body: &Value, statuses: &[u16]) -> Option<Answer> {
        self.requests += 1;
        let key = format!("{}-{}", self.name, self.requests);
        let answer = self.insist(path, body, &key).await;
        assert!(statuses.contains(&answer.status), "{path} {body}: {answer:?}");
        let is_done = matches!(answer.status, 200 | 201);
        if is_done && self.random.below(6) == 0 {
            self.repeated += 1;
            let again = self.insist(path, body, &key).await;
            assert_eq!((again.status, &again.body), (answer.status, &answer.body), "{path} {body} twice");
            assert_eq!(again.header("idempotent-replayed"), Some("true"), "{path} {body} twice");
        }
        is_done.then_some(answer)
    }

    /// Sends it until it is answered.
    async fn insist(&mut self, path: &str, body: &Value, key: &str) -> Answer {
        let deadline = Instant::now() + PATIENCE * 3;
        loop {
            let door = self.doors[self.random.below(self.doors.len())];
            let request = door.posting(path, body).header("idempotency-key", key);
            match door.try_send(request).await {
                Ok(answer) if answer.status == 503 => {
                    let slug = answer.problem(503);
                    let slugs = ["unavailable", "outcome-unknown", "busy", "projection-behind"];
                    assert!(slugs.contains(&slug.as_str()), "{answer:?}");
                }
                Ok(answer) => return answer,
                Err(_) => {}
            }
            assert!(Instant::now() < deadline, "nobody answers {key}: {path}");
            self.sent_again += 1;
            self.breathe(20, 80).await;
        }
    }

    async fn create(&mut self) {
        let mut body = some_notification(&self.user.name, &mut self.random);
        if self.large && self.random.below(2) == 0 {
            body["content"]["body"] = "x".repeat(LARGE_BYTES).into();
        }
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
        let body = if word == "snooze" { members } else { Value::Null };
        let path = format!("/v1/notifications/{id}/{word}");
        if self.command(&path, &body, &[200, 409, 422]).await.is_some() {
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
        let body = category.map_or(json!({}), |category| json!({"category": category}));
        let path = format!("/v1/users/{}/inbox/{word}-all", self.user.name);
        if self.command(&path, &body, &[200]).await.is_some() {
            self.user.claim(Claim::HappenedToAll { up_to: 0, category, any_of });
        }
    }
}
