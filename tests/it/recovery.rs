//! Nothing acknowledged is lost: not by `kill -9` at whatever moment, not by a restart.

use std::cell::Cell;

use futures_util::future::join_all;
use reqwest::RequestBuilder;
use serde_json::Value;

use crate::support::{Seed, Seen, Service, Socket, Xorshift, note};

const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];
const CLIENTS: usize = 8;
const ROUNDS: usize = 5;
/// The kill comes after some number of frames between these.
const FRAMES: std::ops::Range<usize> = 20..250;

/// What a user did to a notification.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Marks {
    read: bool,
    archived: bool,
}

impl Marks {
    fn after(self, word: &str) -> Self {
        match word {
            "read" => Self { read: true, ..self },
            "unread" => Self { read: false, ..self },
            // Whoever archives has read; archiving again changes nothing.
            "archive" if !self.archived => Self { read: true, archived: true },
            _ => self,
        }
    }

    fn of(item: &Value) -> Self {
        Self { read: item["read_at"].is_string(), archived: item["archived_at"].is_string() }
    }
}

/// A notification that was acknowledged, and its marks.
struct Known {
    id: String,
    user: &'static str,
    acknowledged: Marks,
    /// What the mark would make of them that the kill left without an answer.
    unanswered: Option<Marks>,
}

/// A backend that creates and marks, one request at a time, and remembers every answer.
struct Client {
    random: Xorshift,
    known: Vec<Known>,
    /// For whom a creation was left without an answer.
    unanswered: Vec<&'static str>,
}

/// The answer of a service that may be killed meanwhile. While it lives it never refuses.
async fn answer(request: RequestBuilder, status: u16) -> Option<Value> {
    let response = request.send().await.ok()?;
    assert_eq!(response.status(), status);
    serde_json::from_slice(&response.bytes().await.ok()?).ok()
}

impl Client {
    fn new(random: Xorshift) -> Self {
        Self { random, known: Vec::new(), unanswered: Vec::new() }
    }

    async fn work_until_it_dies(&mut self, service: &Service) {
        loop {
            let creates = self.known.is_empty() || self.random.below(3) == 0;
            let answered = if creates { self.create(service).await } else { self.mark(service).await };
            if answered.is_none() {
                return;
            }
        }
    }

    async fn create(&mut self, service: &Service) -> Option<()> {
        let user = USERS[self.random.below(USERS.len())];
        self.unanswered.push(user);
        let created = answer(service.posting("/v1/notifications", &note(user)), 201).await?;
        self.unanswered.pop();
        let id = created["id"].as_str().unwrap().to_owned();
        self.known.push(Known { id, user, acknowledged: Marks::default(), unanswered: None });
        Some(())
    }

    async fn mark(&mut self, service: &Service) -> Option<()> {
        let chosen = self.random.below(self.known.len());
        let word = ["read", "unread", "archive"][self.random.below(3)];
        let known = &mut self.known[chosen];
        let marks = known.acknowledged.after(word);
        known.unanswered = Some(marks);
        let path = format!("/v1/notifications/{}/{word}", known.id);
        answer(service.posting(&path, &Value::Null), 200).await?;
        (known.acknowledged, known.unanswered) = (marks, None);
        Some(())
    }

    /// Everything this client was told is in the inbox. What became of the rest is known from now on.
    fn check(&mut self, user: &str, inbox: &[Value]) {
        for known in self.known.iter_mut().filter(|known| known.user == user) {
            let item = inbox.iter().find(|item| item["id"] == known.id);
            let marks = Marks::of(item.unwrap_or_else(|| panic!("acknowledged and lost: {}", known.id)));
            let possible = [Some(known.acknowledged), known.unanswered.take()];
            assert!(possible.contains(&Some(marks)), "{item:?} should be one of {possible:?}");
            known.acknowledged = marks;
        }
    }
}

/// A user's front end: a socket, and everything it ever told.
struct Follower {
    user: &'static str,
    socket: Socket,
    cursor: String,
    seen: Vec<Seen>,
}

impl Follower {
    async fn new(service: &Service, user: &'static str) -> Self {
        let (socket, welcome) = Socket::of(service, user).await;
        Self { user, socket, cursor: welcome["cursor"].as_str().unwrap().to_owned(), seen: Vec::new() }
    }

    /// Takes frames until the socket is gone. Whose frame is the last of `left`, kills the service.
    async fn follow(&mut self, service: &Service, left: &Cell<usize>) {
        while let Some(frame) = self.socket.frame_or_gone().await {
            self.seen.push(Seen::of_frame(&frame));
            self.cursor = frame["cursor"].as_str().unwrap().to_owned();
            if left.replace(left.get().saturating_sub(1)) == 1 {
                service.send_kill();
            }
        }
        assert_eq!(left.get(), 0, "the socket ended before the service was killed");
    }

    /// Comes back with its cursor and gets what was missing.
    async fn resume(&mut self, service: &Service) {
        let (mut socket, welcome) = Socket::resumed(service, self.user, &self.cursor).await;
        assert_eq!((&welcome["cursor"], &welcome["resumed"]), (&self.cursor.clone().into(), &true.into()));
        let mut frames = socket.frames_to_sync().await;
        let sync = frames.pop().unwrap();
        assert_eq!(sync["cursor"], service.head().await);
        self.seen.extend(frames.iter().map(Seen::of_frame));
        self.cursor = sync["cursor"].as_str().unwrap().to_owned();
        self.socket = socket;
    }
}

/// All that a user has, archived or not.
async fn whole_inbox(service: &Service, user: &str) -> Vec<Value> {
    let (mut items, mut query) = (Vec::new(), "state=all&limit=100".to_owned());
    loop {
        let page = service.inbox(user, &query).await;
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => query = format!("state=all&limit=100&before={next}"),
            None => return items,
        }
    }
}

async fn check(service: &Service, clients: &mut [Client], followers: &mut [Follower]) {
    *service.done.lock().unwrap() = Some(service.head().await);
    let mut sql = service.sql().await;
    service.audit(&mut sql, &USERS).await;
    for user in USERS {
        let inbox = whole_inbox(service, user).await;
        clients.iter_mut().for_each(|client| client.check(user, &inbox));
        let acknowledged = clients.iter().flat_map(|c| &c.known).filter(|known| known.user == user).count();
        let unanswered = clients.iter().flat_map(|c| &c.unanswered).filter(|of| **of == user).count();
        let possible = acknowledged..=acknowledged + unanswered;
        assert!(possible.contains(&inbox.len()), "{user} has {}, not {possible:?}", inbox.len());
    }
    for follower in followers {
        follower.resume(service).await;
        let changes = Seen::all_of(&mut sql, follower.user).await;
        assert_eq!(follower.seen, changes, "each change once and in order for {}", follower.user);
    }
}

#[tokio::test]
async fn a_service_killed_under_load_at_any_moment_has_everything_it_acknowledged() {
    let seed = Seed::draw();
    let mut random = seed.random(CLIENTS);
    let mut service = Service::start().await;
    let mut clients: Vec<Client> = (0..CLIENTS).map(|n| Client::new(seed.random(n))).collect();
    let mut followers = join_all(USERS.map(|user| Follower::new(&service, user))).await;
    for _ in 0..ROUNDS {
        let left = Cell::new(FRAMES.start + random.below(FRAMES.len()));
        let working = clients.iter_mut().map(|client| client.work_until_it_dies(&service));
        let following = followers.iter_mut().map(|follower| follower.follow(&service, &left));
        tokio::join!(join_all(working), join_all(following));
        service.killed();
        service.start_again().await;
        check(&service, &mut clients, &mut followers).await;
    }
}

#[tokio::test]
async fn a_restart_keeps_the_inbox_and_goes_on_where_sockets_were() {
    let mut service = Service::start().await;
    let id = service.create("alice").await;
    let before = service.inbox("alice", "").await;
    service.create("alice").await;
    service.mark(&id, "read").await;
    let (page, counts) = (service.inbox("alice", "state=all").await, service.counts("alice").await);
    service.terminate();
    service.start_again().await;
    assert_eq!(service.inbox("alice", "state=all").await, page);
    assert_eq!(service.counts("alice").await, counts);
    let (mut socket, _) = Socket::resumed(&service, "alice", before["cursor"].as_str().unwrap()).await;
    socket.event("notification.created").await;
    socket.event("notification.read").await;
    assert_eq!(socket.frame("sync").await["cursor"], page["cursor"]);
    service.create("alice").await;
    socket.event("notification.created").await;
}
