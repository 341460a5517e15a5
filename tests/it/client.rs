//! The reference client against the real service: whatever cuts its connections, it shows what the inbox is.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use serde_json::{Value, json};

use crate::support::{PATIENCE, Service, lines_of};

const PROGRAM: &str = "clients/typescript/dist/test/follow.js";

/// A Node program that runs the client and does what it is told, line by line.
struct Client {
    process: Child,
    lines: Receiver<String>,
}

impl Client {
    fn of(service: &Service, user: &str) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(PROGRAM);
        assert!(program.exists(), "{PROGRAM} is not built: ./dev test builds it");
        let mut command = Command::new("node");
        command.arg(program).args([service.url(""), user.to_owned(), service.token(user)]);
        command.env("NO_PROXY", "127.0.0.1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("node is installed: ./dev test installs it");
        let lines = lines_of(process.stdout.take().unwrap());
        Self { process, lines }
    }

    fn tell(&mut self, order: &Value) {
        writeln!(self.process.stdin.as_ref().unwrap(), "{order}").unwrap();
    }

    /// Calls a method of the client, and does not wait for it.
    fn call(&mut self, method: &str, arguments: &[&str]) {
        self.tell(&json!({"call": method, "with": arguments}));
    }

    /// Loses the connection, without a goodbye.
    fn cut(&mut self) {
        self.tell(&json!({"cut": true}));
    }

    fn answer(&mut self) -> Value {
        let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
            drop(self.process.stdin.take());
            panic!("the client does not answer; it stands at {:?}", self.lines.recv_timeout(PATIENCE));
        };
        serde_json::from_str(&line).unwrap()
    }

    fn expect(&mut self, answer: &Value) {
        assert_eq!(self.answer(), *answer);
    }

    /// Waits until the client shows exactly the user's inbox, with everything done so far.
    async fn shows_the_inbox(&mut self, service: &Service, user: &str) {
        self.tell(&json!({"expect": inbox(service, user).await}));
        self.expect(&json!({"equal": true}));
    }

    fn end(mut self) {
        drop(self.process.stdin.take());
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        assert!(self.process.wait().unwrap().success());
    }
}

/// All active items, newest first, with the counts.
async fn inbox(service: &Service, user: &str) -> Value {
    let mut page = service.inbox(user, "limit=100").await;
    let mut items = page["items"].as_array().unwrap().clone();
    while let Some(before) = page["next"].as_str() {
        page = service.inbox(user, &format!("limit=100&before={before}")).await;
        items.extend(page["items"].as_array().unwrap().iter().cloned());
    }
    json!({"items": items, "unread": page["unread"], "unseen": page["unseen"]})
}

/// The same numbers in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

const MARKS: [&str; 5] = ["seen", "read", "unread", "archive", "unarchive"];

#[tokio::test]
async fn a_client_that_loses_its_connections_shows_what_the_inbox_is() {
    let service = Service::start().await;
    let mut ids = Vec::new();
    for _ in 0..45 {
        ids.push(service.create("alice").await);
    }
    let mut client = Client::of(&service, "alice");
    let mut dice = Dice(0x7169_6469_6e67_7321);
    for round in 1..=240 {
        let id = ids[dice.below(ids.len())].clone();
        match dice.below(10) {
            0..3 => ids.push(service.create("alice").await),
            3..8 => drop(service.mark(&id, dice.pick(&MARKS)).await),
            8 => {
                service.mark(&id, "cancel").await;
                ids.retain(|other| *other != id);
            }
            _ => client.cut(),
        }
        if round % 60 == 0 {
            client.shows_the_inbox(&service, "alice").await;
        }
    }
    client.end();
}

/// Only marks that do not undo each other: what was received before a cut is carried out beside what comes after it.
#[tokio::test]
async fn a_command_of_a_client_is_done_however_often_it_is_cut_off() {
    let service = Service::start().await;
    let mut client = Client::of(&service, "alice");
    let (mut ids, mut archived) = (vec![service.create("alice").await], Vec::new());
    client.shows_the_inbox(&service, "alice").await;
    let mut dice = Dice(0x6c69_7374_656e_2121);
    for _ in 0..10 {
        let mut calls = Vec::new();
        for _ in 0..40 {
            let id = ids[dice.below(ids.len())].clone();
            match dice.below(10) {
                0..3 => ids.push(service.create("alice").await),
                3 => client.cut(),
                _ => {
                    let mark = dice.pick(&["seen", "read", "archive"]);
                    client.call(mark, &[&id]);
                    calls.push(mark);
                    if mark == "archive" {
                        archived.push(id);
                    }
                }
            }
        }
        client.call("readAll", &[]);
        calls.push("readAll");
        // Each is answered once, in order.
        for call in calls {
            client.expect(&json!({"done": call}));
        }
    }
    client.shows_the_inbox(&service, "alice").await;
    let shown = inbox(&service, "alice").await;
    let ids_shown = || shown["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap());
    let mut expected = ids.iter().rev().filter(|id| !archived.contains(id)).map(String::as_str);
    assert!(ids_shown().eq(&mut expected), "all but what was archived: {shown}");

    client.call("readAll", &[]);
    client.expect(&json!({"done": "readAll"}));
    assert_eq!(inbox(&service, "alice").await["unread"], 0);
    client.shows_the_inbox(&service, "alice").await;

    client.call("read", &["ntf_01890a5d-ac96-774b-bcce-b302099a8057"]);
    assert_eq!(client.answer()["refused"]["type"], "not-found");
    client.end();
}

#[tokio::test]
async fn a_client_survives_a_restart_of_the_service() {
    let mut service = Service::start_with(&[("TIDINGS_LISTEN", &free_address())]).await;
    service.create("alice").await;
    let mut client = Client::of(&service, "alice");
    client.shows_the_inbox(&service, "alice").await;
    service.terminate();
    service.start_again().await;
    service.create("alice").await;
    client.shows_the_inbox(&service, "alice").await;
    service.kill();
    service.start_again().await;
    service.create("alice").await;
    client.shows_the_inbox(&service, "alice").await;
    client.end();
}

/// A restarted service must be where it was.
fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
