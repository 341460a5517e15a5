//! The log begins a new epoch while nodes run: by an operator's word at its end, or where a database that was
//! restored has gone another way.

use std::cell::Cell;

use futures_util::future::join_all;
use serde_json::Value;

use super::{LAST, USERS, create_last};
use crate::support::{Count, Service, Socket, Sse, position, run_to_end};

/// The node does not look after the database itself: who does has it for himself.
fn bump(service: &Service) {
    let mut command = service.command("epoch");
    command.arg("bump");
    let ended = run_to_end(command);
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
}

/// A front end that obeys a reset: what it had is void, and it goes on from there. Gives that place, and the cursor of
/// each frame after it.
async fn follow(mut socket: Socket, welcome: &Value, frames: &Count) -> (i64, Vec<Value>) {
    let (mut since, mut told) = (position(welcome["cursor"].as_str().unwrap()), Vec::new());
    loop {
        let frame = socket.next_frame().await;
        match frame["type"].as_str().unwrap() {
            "event" => {
                frames.add(1);
                told.push(frame["cursor"].clone());
                if frame["notification"]["title"] == LAST {
                    return (since, told);
                }
            }
            "reset" => {
                assert_eq!(frame["reason"], "epoch-lost");
                (since, told) = (position(frame["cursor"].as_str().unwrap()), Vec::new());
            }
            other => assert_eq!(other, "sync", "{frame}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_begins_under_load_is_met_by_every_node_and_leaves_nobody_behind() {
    let first = Service::start().await;
    let second = first.another_node().await;
    let (frames, enough) = (Count::new(), Cell::new(false));
    let mut sockets = Vec::new();
    for node in [&first, &second] {
        sockets.extend(join_all(USERS.map(|user| Socket::of(node, user))).await);
    }
    let began = sockets[0].1["cursor"].as_str().unwrap().to_owned();
    let (followers, arrived) = (sockets.len(), Cell::new(0));
    let following = sockets.into_iter().map(async |(socket, welcome)| {
        let told = follow(socket, &welcome, &frames).await;
        arrived.set(arrived.get() + 1);
        told
    });
    let following = join_all(following);
    let working = async {
        join_all((0..4).map(async |task| {
            while !enough.get() {
                [&first, &second][task % 2].create(USERS[task / 2]).await;
            }
        }))
        .await;
        // A reset that comes late may begin behind a last one, so there are more of them until everybody saw one.
        while arrived.get() < followers {
            create_last(&first).await;
        }
    };
    let bumping = async {
        for _ in 0..3 {
            frames.grows_by(60).await;
            tokio::task::block_in_place(|| bump(&second));
        }
        frames.grows_by(60).await;
        enough.set(true);
    };
    let (followed, (), ()) = tokio::join!(following, working, bumping);
    let mut sql = first.sql().await;
    first.audit(&mut sql, &USERS).await;
    for ((since, told), user) in followed.into_iter().zip(USERS.iter().cycle()) {
        let events = first.events(&format!("user_id={user}")).await;
        let cursors = events.into_iter().map(|event| event["cursor"].clone());
        let after: Vec<Value> = cursors.filter(|it| position(it.as_str().unwrap()) > since).collect();
        assert_eq!(told, after[..told.len()], "what {user} was told after {since}");
    }

    // A cursor of the first epoch is good at both, and what follows it names each event as the log does.
    let events = first.events("user_id=alice").await;
    let cursors: Vec<&Value> = events.iter().map(|event| &event["cursor"]).collect();
    for node in [&first, &second] {
        let (mut socket, welcome) = Socket::resumed(node, "alice", &began).await;
        assert_eq!((&welcome["resumed"], &welcome["cursor"]), (&true.into(), &began.as_str().into()));
        let mut frames = socket.frames_to_sync().await;
        assert_eq!(frames.pop().unwrap()["cursor"], node.head().await);
        let told: Vec<&Value> = frames.iter().map(|frame| &frame["cursor"]).collect();
        assert_eq!(told, cursors);
    }
    let epochs: Vec<&str> =
        cursors.iter().map(|it| it.as_str().unwrap().split_once('.').unwrap().0).collect();
    let mut distinct = epochs.clone();
    distinct.dedup();
    assert_eq!(distinct.len(), 4);
    assert!(epochs.is_sorted_by_key(|epoch| epoch.parse::<i64>().unwrap()));
}

#[tokio::test]
async fn sockets_past_a_fork_are_reset_at_every_node_and_the_others_go_on() {
    let first = Service::start().await;
    let second = first.another_node().await;
    first.create("alice").await;
    // Bob's last change lies before the fork, Alice's behind it.
    first.create("bob").await;
    let fork = position(&first.head().await) + 1;
    first.counts("bob").await;
    second.read("/v1/users/bob/inbox/counts").await.expect(200);
    let mut of_bob = Vec::new();
    let mut of_alice = Vec::new();
    for node in [&first, &second] {
        of_bob.push(Socket::of(node, "bob").await.0);
        of_alice.push(Socket::of(node, "alice").await.0);
    }
    first.create("alice").await;
    let mut seen = Value::Null;
    for socket in &mut of_alice {
        seen = socket.event("notification.created").await["cursor"].clone();
    }
    // What a restore would have left: an epoch that begins before the end that was shown.
    let mut sql = first.sql().await;
    let forked = "WITH began AS (
             INSERT INTO log_epochs SELECT epoch + 1, $1, incarnation FROM log_head RETURNING epoch)
         UPDATE log_head SET epoch = began.epoch FROM began";
    sqlx::query(forked).bind(fork).execute(&mut sql).await.unwrap();

    // The node learns of it by its next append, the other because it looks.
    for socket in &mut of_alice {
        let reset = socket.frame("reset").await;
        assert_eq!((&reset["reason"], &reset["unread"]), (&"epoch-lost".into(), &2.into()), "{reset}");
        assert_ne!(reset["cursor"], seen);
    }
    for node in [&first, &second] {
        let (mut lost, welcome) = Socket::resumed(node, "alice", seen.as_str().unwrap()).await;
        assert_eq!(welcome["resumed"], false);
        assert_eq!(lost.frame("reset").await["reason"], "epoch-lost");
        let path = format!("/v1/events?after={}", seen.as_str().unwrap());
        assert_eq!(node.get(&path).await.problem(410), "epoch-lost");
        let mut stream = Sse::of(node, "alice", &[("last-event-id", seen.as_str().unwrap())]).await;
        stream.event("welcome").await;
        assert_eq!(stream.event("reset").await.data["reason"], "epoch-lost");
    }
    for (user, sockets) in [("bob", &mut of_bob), ("alice", &mut of_alice)] {
        second.create(user).await;
        let head = first.head().await;
        for socket in sockets {
            assert_eq!(socket.event("notification.created").await["cursor"], head, "{user}");
        }
    }
}
