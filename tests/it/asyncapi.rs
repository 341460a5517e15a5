//! The AsyncAPI document describes the socket as it is: its frames are all there are, what the service sends fits
//! them to the last member, and what they say a client may send is understood.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::generated_clients::missing;
use crate::support::{Contract, Service, Socket, signed};

const SENT: [&str; 8] = ["welcome", "event", "sync", "reset", "token_expiring", "reply", "error", "closing"];
const RECEIVED: [&str; 12] = [
    "auth",
    "ack",
    "read",
    "unread",
    "seen",
    "archive",
    "unarchive",
    "snooze",
    "read_all",
    "seen_all",
    "archive_all",
    "ping",
];

fn names(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_document_lists_exactly_the_frames_of_the_protocol() {
    let contract = Contract::committed();
    let asyncapi = &contract.asyncapi;
    let all = [SENT.as_slice(), &RECEIVED].concat();
    assert_eq!(names(&asyncapi["components"]["messages"]), all);
    assert_eq!(names(&asyncapi["channels"]["socket"]["messages"]), all);
    let of = |operation: &str, action: &str| -> Vec<String> {
        let operation = &asyncapi["operations"][operation];
        assert_eq!(operation["action"], action);
        let messages = operation["messages"].as_array().unwrap().iter();
        messages.map(|it| it["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
    };
    assert_eq!(
        (of("tell", "send"), of("obey", "receive")),
        (SENT.map(Into::into).into(), RECEIVED.map(Into::into).into())
    );
    for name in all {
        let reference = asyncapi["channels"]["socket"]["messages"][name]["$ref"].as_str();
        assert_eq!(reference, Some(format!("#/components/messages/{name}").as_str()));
        assert_eq!(contract.example(name)["type"], name);
        contract.check(&contract.example(name));
    }
}

#[test]
fn the_parser_of_the_specification_has_nothing_against_the_document() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/asyncapi");
    if !folder.join("node_modules/.installed").exists() {
        return missing("the packages of tests/asyncapi");
    }
    let mut parser = Command::new("node");
    parser.args(["validate.mjs", "../../openapi/asyncapi.yaml"]).current_dir(folder);
    let read = parser.output().unwrap();
    let (said, messages) = (String::from_utf8_lossy(&read.stdout), String::from_utf8_lossy(&read.stderr));
    // That there is a later version is no fault: tools know the first best.
    let faults: Vec<_> = said.lines().filter(|line| !line.starts_with("information at asyncapi:")).collect();
    assert!(read.status.success() && faults.is_empty(), "{faults:#?} {messages}");
    assert_eq!(messages.trim(), format!("{} messages", SENT.len() + RECEIVED.len()));
}

#[test]
fn the_document_explains_every_close_code() {
    let contract = Contract::committed();
    let text = contract.asyncapi["info"]["description"].as_str().unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.get(..4)?.parse().ok());
    let codes: Vec<u16> = rows.collect();
    assert_eq!(codes, [4001, 4002, 4003, 4004, 4005, 4006, 4500, 4501, 4502, 4503]);
}

#[tokio::test]
async fn every_frame_that_the_service_sends_is_described() {
    // The socket of the tests checks what it receives; here it receives one of each.
    let mut service = Service::start().await;
    // A token about to expire, on a socket whose history is gone: the frames that need an occasion.
    let soon = OffsetDateTime::now_utc().unix_timestamp() + 20;
    let token = signed(&service.jwt_secret(), &json!({"sub": "alice", "exp": soon}));
    let bearer = format!("Bearer {token}");
    let mut socket = Socket::open(&service, "cursor=1.1", &[("authorization", &bearer)]).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(socket.next_frame().await);
    }

    let note = json!({
        "user_id": "alice", "category": "invoices", "priority": "high", "tags": ["a", "b"],
        "content": {"title": "Hello", "body": "", "action_url": "https://example.com"}, "data": {"n": [1, null]},
    });
    let id = service.create_with(&note).await;
    seen.push(socket.event("notification.created").await);
    for (word, event) in [("read", "read"), ("archive", "archived"), ("cancel", "cancelled")] {
        service.mark(&id, word).await;
        seen.push(socket.event(&format!("notification.{event}")).await);
    }
    seen.push(socket.sync().await);
    let unknown = "ntf_01890a5d-ac96-774b-bcce-b302099a8057";
    for (frame, answer) in [
        (json!({"type": "read_all", "ref": "1"}), "reply"),
        (json!({"type": "read", "id": unknown, "ref": "2"}), "error"),
        (json!({"type": "snooze", "id": unknown, "until": "never", "ref": "3"}), "error"),
    ] {
        socket.send(frame.to_string()).await;
        seen.push(socket.frame(answer).await);
    }
    service.ask_to_end();
    seen.push(socket.frame("closing").await);
    socket.expect_close(4001).await;
    service.ended();

    for name in SENT {
        assert!(seen.iter().any(|frame| frame["type"] == name), "no {name} was seen");
    }
}

#[tokio::test]
async fn every_frame_that_a_client_may_send_is_understood() {
    let contract = Contract::committed();
    let service = Service::start().await;
    let token = service.token("alice");
    let bearer = format!("Bearer {token}");
    let mut socket = Socket::open(&service, "", &[("authorization", &bearer)]).await.unwrap();
    let welcome = socket.frame("welcome").await;
    let id = service.create("alice").await;
    for name in RECEIVED {
        // The example, about what is here.
        let mut frame = contract.example(name);
        let real = [("id", json!(id)), ("token", json!(token)), ("ref", json!(name))];
        let cursors = ["up_to", "cursor"].map(|member| (member, welcome["cursor"].clone()));
        for (member, value) in real.into_iter().chain(cursors) {
            if frame.get(member).is_some() || (member == "ref" && !["ack", "ping"].contains(&name)) {
                frame[member] = value;
            }
        }
        if name == "snooze" {
            frame["until"] = json!("2999-01-01T00:00:00Z");
        }
        contract.check(&frame);
        socket.send(frame.to_string()).await;
        let expected = match name {
            "ack" => continue,
            "ping" => "sync",
            _ => "reply",
        };
        let mut answer = socket.next_frame().await;
        while answer["type"] == "event" {
            answer = socket.next_frame().await;
        }
        assert_eq!(answer["type"], expected, "{frame} was answered by {answer}");
    }
}
