//! Time travel: the inbox as it was, folded anew from the log by the service, by the command line, and by a script of
//! somebody who has nothing but an export.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Ended, Seed, Service, Xorshift, note, run_to_end};

const FAR: &str = "2999-12-31T23:59:59.123Z";
const USERS: [&str; 2] = ["alice", "bob"];

/// One of the things that happen to notifications.
async fn happen(service: &Service, random: &mut Xorshift, ids: &mut Vec<String>) {
    let words = ["read", "unread", "seen", "archive", "unarchive", "snooze", "cancel", "read-all"];
    let word = words[random.below(words.len())];
    if ids.len() < 4 || random.below(4) == 0 {
        let mut body = note(USERS[random.below(2)]);
        match random.below(4) {
            0 => body["deliver_at"] = FAR.into(),
            1 => body["category"] = ["billing", "news"][random.below(2)].into(),
            2 => body["tags"] = json!(["a", "ü"]),
            _ => body["data"] = json!({"nested": {"n": [1, 2.5, null]}}),
        }
        ids.push(service.create_with(&body).await);
    } else if word == "read-all" {
        let user = USERS[random.below(2)];
        service.post(&format!("/v1/users/{user}/inbox/read-all"), &Value::Null).await.expect(200);
    } else if word != "cancel" || random.below(4) == 0 {
        // What is refused is a part of the history as well: nothing comes of it.
        let id = &ids[random.below(ids.len())];
        let body = if word == "snooze" { json!({"until": FAR}) } else { Value::Null };
        service.post(&format!("/v1/notifications/{id}/{word}"), &body).await;
    }
}

/// All that a user has, as the replay prints it.
async fn live(service: &Service, user: &str) -> Value {
    let page = service.inbox(user, "state=all&limit=100").await;
    assert_eq!(page["next"], Value::Null);
    json!({"unread": page["unread"], "unseen": page["unseen"], "cursor": page["cursor"], "items": page["items"]})
}

/// The same of an earlier moment, over HTTP.
async fn of_then(service: &Service, user: &str, at: &str) -> Value {
    let page = service.get(&format!("/v1/users/{user}/inbox?state=all&limit=100&at={at}")).await;
    let page = page.expect(200).json();
    assert_eq!(page["next"], Value::Null);
    json!({"unread": page["unread"], "unseen": page["unseen"], "cursor": page["cursor"], "items": page["items"]})
}

fn replay(service: &Service, user: &str, at: &str) -> Ended {
    let mut command = service.command("replay");
    command.args(["--user", user, "--at", at]);
    run_to_end(command)
}

fn replayed(service: &Service, user: &str, at: &str) -> Value {
    let Ended { code, output, errors } = replay(service, user, at);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{output}");
    serde_json::from_str(&output).unwrap()
}

/// The export, folded by the script; `None` on a machine without Python.
fn folded(export: &str, user: &str, at: &str) -> Option<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fold_inbox.py");
    let mut command = Command::new("python3");
    let pipes = command.args([script, user, at]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = match pipes.spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        spawned => spawned.unwrap(),
    };
    python.stdin.take().unwrap().write_all(export.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

async fn export(service: &Service) -> String {
    let request = service.request("GET", "/v1/events").header("x-api-key", service.root_key());
    service.send(request.header("accept", "application/x-ndjson")).await.expect(200).body
}

#[tokio::test]
async fn any_moment_of_a_random_history_is_the_same_live_replayed_and_folded_from_an_export() {
    let seed = Seed::draw();
    let mut random = seed.random(0);
    let mut service = Service::start().await;
    let (mut ids, mut moments) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        for _ in 0..20 + random.below(20) {
            happen(&service, &mut random, &mut ids).await;
        }
        *service.done.lock().unwrap() = Some(service.head().await);
        for user in USERS {
            moments.push((user, live(&service, user).await));
        }
    }
    let export = export(&service).await;
    for (user, then) in &moments {
        let at = then["cursor"].as_str().unwrap();
        assert_eq!(&of_then(&service, user, at).await, then, "{user} at {at}, over HTTP");
    }
    for (user, then) in &moments {
        let at = then["cursor"].as_str().unwrap();
        assert_eq!(&replayed(&service, user, at), then, "{user} at {at}, beside the service");
        if let Some(folded) = folded(&export, user, at) {
            assert_eq!(&folded, then, "{user} at {at}, by the script");
        }
    }
    service.terminate();
    let (user, then) = moments.last().unwrap();
    let at = then["cursor"].as_str().unwrap();
    assert_eq!(&replayed(&service, user, at), then, "{user} at {at}, without the service");
}

#[tokio::test]
async fn a_time_shows_all_that_was_recorded_up_to_its_millisecond() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    for word in ["read", "unread", "archive"] {
        service.mark(&id, word).await;
    }
    let events = service.events("user_id=alice").await;
    for pair in events.windows(2).filter(|pair| pair[0]["recorded_at"] != pair[1]["recorded_at"]) {
        let text = |member: &str| pair[0][member].as_str().unwrap();
        let at_cursor = replayed(&service, "alice", text("cursor"));
        let recorded_at = text("recorded_at");
        assert_eq!(replayed(&service, "alice", recorded_at), at_cursor);
        for time in [recorded_at, &recorded_at.replace('Z', "%2B00:00")] {
            assert_eq!(of_then(&service, "alice", time).await, at_cursor, "{time}");
        }
    }
    let before = replayed(&service, "alice", "2001-01-01T00:00:00+02:00");
    assert_eq!((&before["unread"], &before["items"]), (&0.into(), &json!([])));
    let now = replayed(&service, "alice", &service.head().await);
    assert_eq!(replayed(&service, "alice", "9999-12-31T23:59:59.999Z"), now);
    assert_eq!(now["items"][0]["id"], id);
}

#[tokio::test]
async fn a_replay_of_what_cannot_be_says_so_in_a_line() {
    let service = Service::start().await;
    service.create("alice").await;
    for (user, at, said) in [
        ("alice", "yesterday", "--at must be a cursor"),
        ("alice", "", "--at must be a cursor"),
        ("alice", "1.1", "no longer exists"),
        ("", FAR, "a user id is 1 to 256 characters"),
    ] {
        let Ended { code, output, errors } = replay(&service, user, at);
        assert_eq!((code, output.as_str()), (Some(1), ""), "{user} {at}");
        assert!(errors.contains(said) && errors.lines().count() == 1, "{errors}");
    }
    let mut another_tenant = service.command("replay");
    another_tenant.args(["--user", "alice", "--tenant", "other", "--at", FAR]);
    let page: Value = serde_json::from_str(&run_to_end(another_tenant).output).unwrap();
    assert_eq!(page["items"], json!([]));
}

#[tokio::test]
async fn pages_and_filters_of_then_are_those_of_the_live_inbox_at_that_moment() {
    let seed = Seed::draw();
    let mut random = seed.random(1);
    let service = Service::start().await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(service.create("alice").await);
    }
    for _ in 0..50 {
        happen(&service, &mut random, &mut ids).await;
    }
    *service.done.lock().unwrap() = Some(service.head().await);
    let at = service.head().await;
    let mut filters: Vec<String> = ["active", "unread", "unseen", "read", "archived", "snoozed", "all"]
        .map(|s| format!("state={s}"))
        .into();
    for more in ["category=billing", "tag=%C3%BC", "category=news&tag=a", "category=none"] {
        filters.push(format!("state=all&{more}"));
    }
    let mut live = Vec::new();
    for filter in &filters {
        live.push(pages(&service, filter, "").await);
    }
    assert!(live.iter().any(|pages| pages.len() > 2));
    service.post("/v1/users/alice/inbox/archive-all", &Value::Null).await.expect(200);
    service.create("alice").await;
    for (filter, then) in filters.iter().zip(live) {
        assert_eq!(pages(&service, filter, &format!("&at={at}")).await, then, "{filter}");
    }
}

/// All pages of three items.
async fn pages(service: &Service, filter: &str, at: &str) -> Vec<Value> {
    let (mut pages, mut before) = (Vec::new(), String::new());
    loop {
        let page = service.inbox("alice", &format!("limit=3&{filter}{at}{before}")).await;
        before = format!("&before={}", page["next"].as_str().unwrap_or_default());
        let last = page["next"].is_null();
        pages.push(page);
        if last {
            return pages;
        }
    }
}

#[tokio::test]
async fn only_a_service_sees_an_inbox_as_it_was() {
    let service = Service::start().await;
    service.create("alice").await;
    let path = format!("/v1/users/alice/inbox?at={FAR}");
    let own = service.as_user(&service.token("alice"), "GET", &path);
    assert_eq!(service.send(own).await.problem(403), "forbidden");
    assert_eq!(service.get("/v1/users/alice/inbox?at=1.1").await.problem(410), "epoch-lost");
    let nobody = service.get(&format!("/v1/users/nobody/inbox?at={FAR}")).await.expect(200).json();
    assert_eq!((&nobody["items"], &nobody["unread"]), (&json!([]), &0.into()));
}

#[tokio::test]
async fn a_replay_reads_any_database_that_its_key_opens() {
    let service = Service::start().await;
    service.create("alice").await;
    let node = service.another_node().await;
    assert_eq!(replayed(&node, "alice", FAR), replayed(&service, "alice", FAR));
    let mut wrong = node.command("replay");
    wrong.args(["--user", "alice", "--at", FAR]).env("TIDINGS_MASTER_KEY", "0".repeat(64));
    let Ended { code, errors, .. } = run_to_end(wrong);
    assert_eq!(code, Some(1));
    assert!(errors.contains("TIDINGS_MASTER_KEY is not the key"), "{errors}");
}
