//! A user's front end, as the rules of the socket want it: it stores every cursor it receives, comes and goes, and
//! goes on from where it was. It remembers everything it was told.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use super::user::{Claim, Look, Mark, User, counts_in, some_bulk, some_category, some_mark};
use crate::support::{Count, Door, Socket, Xorshift, position};

/// Commands of one front end, in one go.
const COMMANDS_MAX: usize = 6;

/// A command that has no answer yet.
struct Sent {
    reference: String,
    claim: Claim,
}

/// How a front end lives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    /// Comes and goes, at services that may only send it away.
    Restless,
    /// Comes and goes; what it talks to may be gone at any moment.
    Shaken,
    /// Stays as long as it can; what it talks to may be gone at any moment.
    Staying,
    /// Stays, and reads more slowly than is written, or not at all for a while.
    Slow,
}

pub struct FrontEnd<'a> {
    user: &'a User,
    doors: Vec<&'a Door>,
    random: Xorshift,
    manner: Manner,
    frames: &'a Count,
    cursor: Option<String>,
    counts: (i64, i64),
    connection: Option<String>,
    sent: VecDeque<Sent>,
    commands: usize,
    /// Where it began.
    pub first: i64,
    pub events: Vec<Value>,
    /// Counts, and the cursor at which they held.
    pub told: Vec<(i64, (i64, i64))>,
    pub connections: usize,
    /// Connections that ended without having been asked to.
    pub cuts: usize,
}

impl<'a> FrontEnd<'a> {
    pub fn new(
        user: &'a User,
        doors: Vec<&'a Door>,
        random: Xorshift,
        manner: Manner,
        frames: &'a Count,
    ) -> Self {
        Self {
            user,
            doors,
            random,
            manner,
            frames,
            cursor: None,
            counts: (0, 0),
            connection: None,
            sent: VecDeque::new(),
            commands: 0,
            first: 0,
            events: Vec::new(),
            told: Vec::new(),
            connections: 0,
            cuts: 0,
        }
    }

    /// Lives in its manner until all is over.
    pub async fn live(&mut self) {
        self.commands = 0;
        while !self.user.is_over() {
            let Some(socket) = self.connect().await else { continue };
            self.stay(socket).await;
        }
    }

    /// Comes back once more, and hears the rest: everything up to `head`.
    pub async fn hear_the_rest(&mut self, head: i64) {
        loop {
            let Some(mut socket) = self.connect().await else { continue };
            if socket.try_send(r#"{"type":"ping"}"#).await.is_err() {
                continue;
            }
            loop {
                let frame = match socket.frame_or_close().await {
                    Ok(frame) => frame,
                    Err(code) => {
                        assert!(self.may_end(code), "{} is closed with {code:?}", self.user.name);
                        break;
                    }
                };
                self.take(&frame);
                if frame["type"] == "sync" && position(self.cursor.as_ref().unwrap()) >= head {
                    return;
                }
            }
        }
    }

    /// A socket that was welcomed; `None` where it was told to come again.
    async fn connect(&mut self) -> Option<Socket> {
        let door = self.doors[self.random.below(self.doors.len())];
        if self.cursor.is_none() && self.random.below(2) == 0 {
            self.load(door).await;
        }
        let part =
            |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("&{name}={value}"));
        let parts = [part("cursor", &self.cursor), part("connection_id", &self.connection)];
        let query = format!("user_id={}{}", self.user.name, parts.into_iter().flatten().collect::<String>());
        let (socket, welcome) = match Socket::reached(door, &query).await {
            Ok((socket, frame)) if frame["type"] == "welcome" => (socket, frame),
            Ok((_, frame)) => {
                assert_eq!((&frame["type"], &frame["code"]), (&"closing".into(), &4001.into()));
                self.breathe().await;
                return None;
            }
            Err(code) => {
                assert!(self.may_end(code), "{query} is closed with {code:?}");
                self.breathe().await;
                return None;
            }
        };
        self.connections += 1;
        let resumes = self.cursor.is_some();
        assert_eq!(welcome["resumed"], resumes, "{welcome}");
        match &self.cursor {
            Some(cursor) => assert_eq!(welcome["cursor"], *cursor),
            None => self.first = position(welcome["cursor"].as_str().unwrap()),
        }
        self.connection = Some(welcome["connection_id"].as_str().unwrap().to_owned());
        self.counts = counts_in(&welcome);
        self.store(&welcome);
        self.sent.clear();
        Some(socket)
    }

    /// Whether an end with this code, or without one, is no surprise.
    fn may_end(&self, code: Option<u16>) -> bool {
        match code {
            None => self.manner != Manner::Restless,
            Some(4002) => self.manner == Manner::Slow,
            Some(code) => code == 4001,
        }
    }

    /// The pace of a client that comes back, which is no storm unless there are many.
    async fn breathe(&mut self) {
        if self.manner != Manner::Restless {
            tokio::time::sleep(Duration::from_millis(10 + self.random.below(60) as u64)).await;
        }
    }

    /// Reads the inbox first, as a page does that has nothing yet.
    async fn load(&mut self, door: &Door) {
        let request = door.request("GET", &format!("/v1/users/{}/inbox/counts", self.user.name));
        let answer = door.try_send(request.header("x-api-key", door.root_key())).await;
        let page = match answer {
            Ok(answer) if answer.status == 200 => answer.json(),
            answer if self.manner == Manner::Restless => panic!("{answer:?}"),
            _ => return,
        };
        let cursor = page["cursor"].as_str().unwrap().to_owned();
        self.first = position(&cursor);
        self.cursor = Some(cursor);
        self.user.looks.borrow_mut().push(Look::of(&page, None));
    }

    /// Takes some frames and leaves, in one way or another.
    async fn stay(&mut self, mut socket: Socket) {
        let stays = matches!(self.manner, Manner::Staying | Manner::Slow);
        let mut left = if stays { usize::MAX } else { 1 + self.random.below(15) };
        while left > 0 {
            self.dawdle().await;
            let frame = tokio::select! {
                frame = socket.frame_or_close() => frame,
                () = self.user.over() => break,
            };
            let frame = match frame {
                Ok(frame) => frame,
                Err(code) => {
                    assert!(self.may_end(code), "{} is closed with {code:?}", self.user.name);
                    self.cuts += 1;
                    return;
                }
            };
            self.take(&frame);
            left -= 1;
            if frame["type"] == "event" {
                self.react(&mut socket).await;
            }
        }
        match self.random.below(3) {
            0 => _ = socket.try_close().await,
            // What it asked for last it does not see.
            1 => self.order(&mut socket).await,
            _ => {}
        }
    }

    /// The pace of one that reads slowly, and the pauses of one that does not read.
    async fn dawdle(&mut self) {
        if self.manner == Manner::Slow {
            let ms = if self.random.below(8) == 0 { 2_000 } else { 20 };
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }

    async fn react(&mut self, socket: &mut Socket) {
        let frame = match self.random.below(8) {
            0 | 1 => return self.order(socket).await,
            2 => json!({"type": "ack", "cursor": self.cursor}),
            3 => json!({"type": "ping"}),
            _ => return,
        };
        let sent = socket.try_send(frame.to_string()).await;
        assert!(sent.is_ok() || self.manner != Manner::Restless, "{sent:?}");
    }

    async fn order(&mut self, socket: &mut Socket) {
        self.commands += 1;
        if self.commands > COMMANDS_MAX {
            return;
        }
        let reference = self.commands.to_string();
        let (mut frame, claim) = if self.random.below(4) == 0 {
            let (word, any_of) = some_bulk(&mut self.random);
            let category = some_category(&mut self.random);
            let mut frame = json!({"type": format!("{word}_all")});
            if let Some(category) = category {
                frame["category"] = category.into();
            }
            let up_to = position(self.cursor.as_ref().unwrap());
            (frame, Claim::HappenedToAll { up_to, category, any_of })
        } else {
            let Some(id) = self.user.some_id(&mut self.random) else { return };
            let Mark { word, members, any_of } = some_mark(&mut self.random);
            let mut frame = members;
            (frame["type"], frame["id"]) = (word.into(), id.as_str().into());
            (frame, Claim::Happened { id, any_of })
        };
        frame["ref"] = reference.as_str().into();
        // The service may just be sending it away.
        if socket.try_send(frame.to_string()).await.is_ok() {
            self.sent.push_back(Sent { reference, claim });
        }
    }

    fn take(&mut self, frame: &Value) {
        match frame["type"].as_str().unwrap() {
            "event" => {
                let before = position(self.cursor.as_ref().unwrap());
                let at = position(frame["cursor"].as_str().unwrap());
                assert!(at > before, "{before} was told already: {frame}");
                self.counts = counts_in(frame);
                self.events.push(frame.clone());
                self.frames.add(1);
                self.store(frame);
            }
            "sync" => {
                assert_eq!(self.counts, counts_in(frame), "nothing was told that changes them: {frame}");
                self.store(frame);
            }
            "reply" => {
                let claim = self.answered(frame);
                self.user.claim(claim);
                self.store(frame);
            }
            "error" => {
                self.answered(frame);
                let status = frame["problem"]["status"].as_u64().unwrap();
                assert!([409, 422, 503].contains(&status), "{frame}");
            }
            "closing" => {
                let code = frame["code"].as_u64().and_then(|code| u16::try_from(code).ok());
                assert!(code.is_some() && self.may_end(code), "{frame}");
            }
            other => panic!("{other} should not come: {frame}"),
        }
    }

    /// Everything up to this cursor was told, and the counts hold there.
    fn store(&mut self, frame: &Value) {
        let cursor = frame["cursor"].as_str().unwrap();
        let at = position(cursor);
        let before = self.cursor.as_deref().map_or(0, position);
        assert!(at >= before, "a cursor goes back, from {before}: {frame}");
        self.cursor = Some(cursor.to_owned());
        self.told.push((at, self.counts));
    }

    fn answered(&mut self, frame: &Value) -> Claim {
        let sent = self.sent.pop_front().unwrap_or_else(|| panic!("nobody asked: {frame}"));
        assert_eq!(frame["ref"], sent.reference, "in order");
        sent.claim
    }
}
