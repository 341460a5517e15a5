//! Read models: built anew beside the live ones, compared with them, and put in their place; parked and redriven.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{PATIENCE, Seen, Service, Socket, note, position, run_to_end};

/// The rows that differed, and what was said.
fn rebuild(service: &Service, names: &[&str]) -> (Vec<Value>, String) {
    let mut command = service.command("rebuild");
    command.args(names).arg("--diff");
    let ended = run_to_end(command);
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    (ended.output.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), ended.errors)
}

async fn projection(service: &Service, name: &str) -> Value {
    let all = service.get("/v1/projections").await.expect(200).json();
    let found = all["projections"].as_array().unwrap().iter().find(|one| one["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is in {all}")).clone()
}

/// Asks until a read model is as it should be.
async fn becomes(service: &Service, name: &str, member: &str, value: Value) -> Value {
    let becoming = async {
        loop {
            let found = projection(service, name).await;
            if found[member] == value {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, becoming)
        .await
        .unwrap_or_else(|_| panic!("{name}: {member} is not {value}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_under_load_is_noticed_by_nobody() {
    let service = Service::start().await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let writing = join_all((0..8).map(|writer| {
        let service = &service;
        async move {
            for n in 0..60 {
                let id = service.create(if n % 3 == 0 { "alice" } else { "bob" }).await;
                service.mark(&id, ["read", "seen", "archive"][(n + writer) % 3]).await;
            }
        }
    }));
    let reading = async {
        let (mut last, mut reads) = (0, 0);
        while reads < 300 {
            let page = service.get("/v1/users/bob/inbox?limit=100").await.expect(200).json();
            let at = position(page["cursor"].as_str().unwrap());
            assert!(at >= last, "no read goes back in time");
            (last, reads) = (at, reads + 1);
        }
    };
    let rebuilding = tokio::task::spawn_blocking({
        let command = || {
            let mut command = service.command("rebuild");
            command.args(["inbox", "--diff"]);
            command
        };
        let commands = [command(), command(), command()];
        move || commands.map(run_to_end)
    });
    let (_, (), rebuilt) = tokio::join!(writing, reading, rebuilding);
    for ended in rebuilt.unwrap() {
        assert_eq!((ended.code, ended.output.as_str()), (Some(0), ""), "{}", ended.errors);
        assert!(ended.errors.contains("0 rows differed"), "{}", ended.errors);
    }
    let mut sql = service.sql().await;
    service.audit(&mut sql, &["alice", "bob"]).await;
    socket.send(r#"{"type":"ping"}"#).await;
    let mut frames = socket.frames_to_sync().await;
    frames.pop();
    let seen: Vec<Seen> = frames.iter().map(Seen::of_frame).collect();
    assert_eq!(seen, Seen::all_of(&mut sql, "alice").await, "each change once, and no reset");
}

#[tokio::test]
async fn a_table_damaged_by_hand_is_found_and_whoever_it_concerns_starts_over() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    service.create("bob").await;
    let before = service.inbox("alice", "").await;
    let (mut alice, _) = Socket::of(&service, "alice").await;
    let (mut bob, _) = Socket::of(&service, "bob").await;
    let mut sql = service.sql().await;
    for damage in [
        "UPDATE inbox_v1.counters SET unread = 41, position = position + 1000000 WHERE user_id = 'alice'",
        "DELETE FROM inbox_v1.items WHERE user_id = 'alice'",
        "UPDATE inbox_v1.changes SET unread = 7 WHERE user_id = 'alice'",
    ] {
        sqlx::query(damage).execute(&mut sql).await.unwrap();
    }
    let (differences, said) = rebuild(&service, &["inbox"]);
    assert!(said.contains("3 rows differed"), "{said}");
    let tables: Vec<_> = differences.iter().map(|one| one["table"].as_str().unwrap()).collect();
    assert_eq!(tables, ["changes", "counters", "items"]);
    assert!(differences.iter().all(|one| one["user_id"] == "alice"), "{differences:?}");
    assert_eq!(
        (&differences[1]["live"]["unread"], &differences[1]["rebuilt"]["unread"]),
        (&41.into(), &1.into())
    );
    assert_eq!(differences[2]["live"], Value::Null, "the row was gone");

    let reset = alice.frame("reset").await;
    assert_eq!((&reset["reason"], &reset["unread"]), (&"rebuilt".into(), &1.into()));
    assert_eq!(bob.sync().await["unread"], 1, "nobody else hears of it");
    assert_eq!(service.inbox("alice", "").await["items"][0]["id"], id);
    service.audit(&mut sql, &["alice", "bob"]).await;

    // What was shown before may have been wrong; what is shown now goes on.
    service.mark(&id, "seen").await;
    alice.event("notification.seen").await;
    let old = before["cursor"].as_str().unwrap();
    let older = format!("{}.1", old.split_once('.').unwrap().0);
    let (mut resumed, welcome) = Socket::resumed(&service, "alice", &older).await;
    assert_eq!(welcome["resumed"], false);
    assert_eq!(resumed.frame("reset").await["reason"], "rebuilt");
    assert_eq!(rebuild(&service, &["inbox"]).0, [] as [Value; 0], "now it is what the log says");
}

#[tokio::test]
async fn an_event_that_cannot_be_applied_parks_its_recipient_alone_until_a_redrive() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    service.counts("alice").await;
    let (mut alice, _) = Socket::of(&service, "alice").await;
    let (mut bob, _) = Socket::of(&service, "bob").await;
    let mut sql = service.sql().await;
    sqlx::query("DELETE FROM inbox_v1.items").execute(&mut sql).await.unwrap();
    service.mark(&id, "read").await;
    service.create("bob").await;
    bob.event("notification.created").await;
    becomes(&service, "inbox", "parked", 1.into()).await;
    assert_eq!(service.counts("bob").await, (1, 1), "everybody else goes on");
    for path in ["/v1/users/alice/inbox", "/v1/users/alice/inbox/counts"] {
        let refused = service.get(path).await;
        assert_eq!(refused.problem(503), "projection-behind");
    }
    let read_all = "/v1/users/alice/inbox/read-all";
    let refused = service.post_keyed(read_all, &json!({}), "once").await;
    assert_eq!(refused.problem(503), "projection-behind", "not half of it");
    assert_eq!(alice.frame("closing").await["code"], 4001);
    alice.expect_close(4001).await;
    let waiting = Socket::open(&service, "user_id=alice", &[("x-api-key", &service.root_key())]).await;
    let mut waiting = waiting.unwrap();
    assert_eq!(waiting.frame("closing").await["code"], 4001, "no welcome");
    let health = service.send(service.request("GET", "/health/ready")).await.expect(200).json();
    assert_eq!(health["projections"][0], json!({"name": "inbox", "state": "following", "parked": 1}));

    let redriven = service.post("/v1/projections/inbox/redrive", &Value::Null).await.expect(200).json();
    assert_eq!(redriven, json!({"redriven": 1, "parked": 0}));
    assert_eq!(projection(&service, "inbox").await["parked"], 0);
    service.post_keyed(read_all, &json!({}), "once").await.expect(200);
    assert_eq!(service.counts("alice").await, (0, 0));
    assert!(service.inbox("alice", "").await["items"][0]["read_at"].is_string());
    service.audit(&mut sql, &["alice", "bob"]).await;
}

#[tokio::test]
async fn an_event_that_this_binary_does_not_know_halts_its_read_models_and_nothing_else() {
    let service = Service::start().await;
    service.create("alice").await;
    service.counts("alice").await;
    let mut sql = service.sql().await;
    sqlx::query(
        "WITH head AS (UPDATE log_head SET position = position + 1 RETURNING position)
         INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             position, recorded_at, tenant, recipient)
         SELECT aggregate_type, aggregate_id, sequence + 1, 'notification.praised', '1.0.0', '{}', metadata,
                h.position, recorded_at, tenant, recipient FROM events, head h LIMIT 1",
    )
    .execute(&mut sql)
    .await
    .unwrap();
    let halted = becomes(&service, "inbox", "state", "halted".into()).await;
    assert!(halted["detail"].as_str().unwrap().contains("notification.praised"), "{halted}");
    assert_eq!((&halted["parked"], &halted["lag_events"]), (&0.into(), &1.into()));
    // Commands go on; what they did is not shown, and reads that want to see it say so.
    let cursor = service.post("/v1/notifications", &note("bob")).await.expect(201).text("cursor");
    let read = service.request("GET", "/v1/users/bob/inbox").header("x-api-key", service.root_key());
    let read = service.send(read.header("tidings-min-cursor", cursor)).await;
    assert_eq!(read.problem(503), "projection-behind");
}

#[tokio::test]
async fn operators_alone_reach_the_read_models() {
    let service = Service::start().await;
    let token = service.token("alice");
    for (method, path) in [
        ("GET", "/v1/projections"),
        ("POST", "/v1/projections/inbox/rebuild"),
        ("POST", "/v1/projections/inbox/redrive"),
    ] {
        assert_eq!(service.send(service.request(method, path)).await.problem(401), "unauthorized");
        assert_eq!(service.send(service.as_user(&token, method, path)).await.problem(403), "forbidden");
    }
    for word in ["rebuild", "redrive"] {
        let path = format!("/v1/projections/nothing/{word}");
        assert_eq!(service.post(&path, &Value::Null).await.problem(404), "not-found");
    }
    let unknown = run_to_end({
        let mut command = service.command("rebuild");
        command.arg("nothing");
        command
    });
    assert_eq!(unknown.code, Some(2), "{}", unknown.errors);

    service.create("alice").await;
    let begun = service.post("/v1/projections/inbox/rebuild", &Value::Null).await.expect(202).json();
    assert_eq!(begun, json!({"name": "inbox", "state": "rebuilding"}));
    becomes(&service, "inbox", "state", "following".into()).await;
    tokio::time::timeout(Duration::from_secs(5), async {
        while service.post("/v1/projections/inbox/rebuild", &Value::Null).await.status == 409 {}
    })
    .await
    .expect("one after the other");
    becomes(&service, "inbox", "state", "following".into()).await;
    assert_eq!(service.counts("alice").await, (1, 1));
}
