//! A node goes away under many sockets and under load: clients that follow the rules go on at another and miss nothing.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use crate::support::{PATIENCE, Seed, Seen, Service, Socket, Xorshift, position};

/// Unless `SOCKETS` says otherwise; for thousands raise the limit of open files first.
const SOCKETS: usize = 200;
/// Each user has as many as he may: who comes back takes his own place.
const SOCKETS_OF_USER: usize = 4;
const WRITERS: usize = 4;
/// The title of what every user is told last.
const LAST: &str = "the last one";

/// How many are there, and how many have moved.
struct Arrivals {
    joined: watch::Sender<usize>,
    moved: watch::Sender<usize>,
    /// A handshake is work; they take turns.
    turns: Semaphore,
}

async fn reaches(counted: &watch::Sender<usize>, count: usize) {
    let mut counted = counted.subscribe();
    let all = tokio::time::timeout(PATIENCE * 3, counted.wait_for(|it| *it == count)).await;
    assert!(all.is_ok_and(|all| all.is_ok()), "not all {count} come");
}

struct Client<'a> {
    user: String,
    leaving: &'a Service,
    staying: &'a Service,
    first: i64,
    seen: Vec<Seen>,
}

/// What a client keeps to go on with.
struct Stored {
    cursor: String,
    connection: String,
}

impl Stored {
    fn of(welcome: &Value) -> Self {
        let text = |member: &str| welcome[member].as_str().unwrap().to_owned();
        Self { cursor: text("cursor"), connection: text("connection_id") }
    }
}

impl Client<'_> {
    async fn follow(mut self, arrivals: &Arrivals) -> Self {
        let (mut socket, welcome) = {
            let _turn = arrivals.turns.acquire().await.unwrap();
            Socket::of(self.leaving, &self.user).await
        };
        arrivals.joined.send_modify(|count| *count += 1);
        let mut stored = Stored::of(&welcome);
        self.first = position(&stored.cursor);
        let mut retry_in_ms = None;
        loop {
            match socket.frame_or_close().await {
                Ok(frame) if frame["type"] == "closing" => retry_in_ms = frame["retry_in_ms"].as_u64(),
                Ok(frame) if frame["type"] == "event" => {
                    stored.cursor = frame["cursor"].as_str().unwrap().to_owned();
                    self.seen.push(Seen::of_frame(&frame));
                    if frame["notification"]["title"] == LAST {
                        return self;
                    }
                }
                Ok(frame) => {
                    assert_eq!(frame["type"], "sync", "{frame}");
                    stored.cursor = frame["cursor"].as_str().unwrap().to_owned();
                }
                Err(code) => {
                    assert_eq!(code, Some(4001), "{}", self.user);
                    // As the service asked, so that they do not all come at once.
                    let retry_in_ms = retry_in_ms.take().expect("it was told when to come back");
                    tokio::time::sleep(Duration::from_millis(retry_in_ms)).await;
                    socket = self.go_on(&mut stored).await;
                    arrivals.moved.send_modify(|count| *count += 1);
                }
            }
        }
    }

    async fn go_on(&self, stored: &mut Stored) -> Socket {
        let (user, Stored { cursor, connection }) = (&self.user, &stored);
        let query = format!("user_id={user}&cursor={cursor}&connection_id={connection}");
        let admitted = Socket::admitted(self.staying, &query).await;
        let (socket, welcome) = admitted.unwrap_or_else(|code| panic!("{query}: {code}"));
        assert_eq!((&welcome["type"], &welcome["resumed"]), (&"welcome".into(), &true.into()), "{welcome}");
        assert_eq!(welcome["cursor"], *cursor);
        *stored = Stored::of(&welcome);
        socket
    }
}

async fn write(nodes: [&Service; 2], random: &mut Xorshift, users: &[String], gone: &Cell<bool>) {
    let node = nodes[if gone.get() { 0 } else { random.below(2) }];
    let id = node.create(&users[random.below(users.len())]).await;
    nodes[0].mark(&id, ["read", "seen", "archive"][random.below(3)]).await;
}

#[tokio::test]
async fn a_node_that_goes_away_under_load_costs_its_sockets_nothing() {
    let seed = Seed::draw();
    let sockets = std::env::var("SOCKETS").map_or(SOCKETS, |it| it.parse().unwrap());
    let limit = SOCKETS_OF_USER.to_string();
    let settings = [("TIDINGS_CONNECTIONS_PER_USER", limit.as_str())];
    let staying = Service::start_with(&settings).await;
    let mut leaving = staying.another_node_with(&settings).await;
    let users: Vec<String> = (0..sockets / SOCKETS_OF_USER).map(|n| format!("user-{n}")).collect();
    let arrivals =
        Arrivals { joined: watch::Sender::new(0), moved: watch::Sender::new(0), turns: Semaphore::new(32) };
    let (gone, enough) = (Cell::new(false), Cell::new(false));

    let clients = users.iter().flat_map(|user| std::iter::repeat_n(user, SOCKETS_OF_USER));
    let clients: Vec<_> = clients
        .map(|user| Client {
            user: user.clone(),
            leaving: &leaving,
            staying: &staying,
            first: 0,
            seen: vec![],
        })
        .collect();
    let following = join_all(clients.into_iter().map(|client| client.follow(&arrivals)));
    let writing = async {
        join_all((0..WRITERS).map(async |n| {
            let mut random = seed.random(n);
            while !enough.get() {
                write([&staying, &leaving], &mut random, &users, &gone).await;
            }
        }))
        .await;
        for users in users.chunks(500) {
            let last = |user| json!({"user_id": user, "content": {"title": LAST, "body": "Bye."}});
            let batch: Vec<Value> = users.iter().map(last).collect();
            let answer = staying.post("/v1/notifications/batch", &json!({"notifications": batch})).await;
            assert!(
                answer.expect(200).json()["results"].as_array().unwrap().iter().all(|it| it["status"] == 201)
            );
        }
    };
    let draining = async {
        reaches(&arrivals.joined, sockets).await;
        gone.set(true);
        let asked = Instant::now();
        leaving.ask_to_end();
        reaches(&arrivals.moved, sockets).await;
        println!("{sockets} sockets moved in {:?}", asked.elapsed());
        enough.set(true);
    };
    let (followed, (), ()) = tokio::join!(following, writing, draining);

    let mut sql = staying.sql().await;
    for client in followed {
        let mut changes = Seen::all_of(&mut sql, &client.user).await;
        changes.retain(|change| change.position > client.first);
        assert_eq!(client.seen, changes, "each change once and in order for {}", client.user);
    }
    leaving.ended();
    staying.audit(&mut sql, &users.iter().map(String::as_str).collect::<Vec<_>>()).await;
}
