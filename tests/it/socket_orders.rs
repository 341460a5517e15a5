//! Commands over the socket: done like those of HTTP, in order, answered after the frames of what they did.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{Service, Socket, position};

async fn of_token(service: &Service, user: &str) -> Socket {
    let bearer = format!("Bearer {}", service.token(user));
    let mut socket = Socket::open(service, "", &[("authorization", &bearer)]).await.unwrap();
    socket.frame("welcome").await;
    socket
}

fn in_seconds(seconds: i64) -> String {
    (OffsetDateTime::now_utc() + time::Duration::seconds(seconds)).format(&Rfc3339).unwrap()
}

#[tokio::test]
async fn each_command_is_answered_after_the_frames_of_what_it_did() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    assert_eq!(service.counts("alice").await, (1, 1));
    let mut socket = of_token(&service, "alice").await;
    for (n, (word, events)) in [
        ("seen", vec!["notification.seen"]),
        ("read", vec!["notification.read"]),
        ("read", vec![]),
        ("unread", vec!["notification.unread"]),
        ("archive", vec!["notification.read", "notification.archived"]),
        ("unarchive", vec!["notification.unarchived"]),
    ]
    .into_iter()
    .enumerate()
    {
        let reference = format!("ref {n} \"quoted\"");
        socket.send(json!({"type": word, "id": id, "ref": reference, "later": {}}).to_string()).await;
        let mut last = 0;
        for event in events {
            last = position(socket.event(event).await["cursor"].as_str().unwrap());
        }
        let reply = socket.frame("reply").await;
        assert_eq!(reply["ref"], reference);
        assert!(position(reply["cursor"].as_str().unwrap()) >= last, "{word}: {reply}");
    }
    let until = in_seconds(3_600);
    socket.send(json!({"type": "snooze", "id": id, "until": until, "ref": "s"}).to_string()).await;
    let snoozed = socket.event("notification.snoozed").await;
    assert_eq!(snoozed["notification"]["snoozed_until"].as_str().unwrap()[..19], until[..19]);
    let reply = socket.frame("reply").await;
    // A client may store that cursor: it has everything up to there.
    let cursor = reply["cursor"].as_str().unwrap();
    let (mut resumed, _) = Socket::resumed(&service, "alice", cursor).await;
    resumed.frame("sync").await;

    let events = service.events(&format!("aggregate_id={id}")).await;
    let seen = &events[1];
    assert_eq!(seen["metadata"]["actor"], "user:alice");
    let ids: std::collections::HashSet<&str> =
        events[1..].iter().map(|event| event["metadata"]["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 6, "each command that did something is a request of its own");
}

#[tokio::test]
async fn commands_are_carried_out_in_order_while_pings_are_answered() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    assert_eq!(service.counts("alice").await, (1, 1));
    let mut socket = of_token(&service, "alice").await;
    // More than may wait at once: the rest is left in the network until there is room.
    for n in 0..150 {
        let word = ["read", "unread"][n % 2];
        socket.send(json!({"type": word, "id": id, "ref": n.to_string()}).to_string()).await;
        if n == 0 {
            socket.send(r#"{"type":"ping"}"#).await;
        }
    }
    let (mut replies, mut marks, mut syncs) = (Vec::new(), Vec::new(), 0);
    while replies.len() < 150 {
        let frame = socket.next_frame().await;
        match frame["type"].as_str().unwrap() {
            "reply" => replies.push(frame["ref"].as_str().unwrap().to_owned()),
            "event" => marks.push(frame["event"].as_str().unwrap().to_owned()),
            "sync" => syncs += 1,
            other => panic!("{other}: {frame}"),
        }
    }
    assert_eq!(replies, (0..150).map(|n| n.to_string()).collect::<Vec<_>>());
    let expected = (0..150).map(|n| format!("notification.{}", ["read", "unread"][n % 2]));
    assert_eq!(marks, expected.collect::<Vec<_>>());
    assert_eq!(syncs, 1);
    assert_eq!(service.counts("alice").await, (1, 0));
}

#[tokio::test]
async fn what_is_wrong_with_a_command_is_answered_as_http_does_and_only_if_asked() {
    let service = Service::start().await;
    let (alices, bobs) = (service.create("alice").await, service.create("bob").await);
    let gone = service.create("alice").await;
    service.mark(&gone, "cancel").await;
    assert_eq!(service.counts("alice").await, (1, 1));
    let mut socket = of_token(&service, "alice").await;
    let unknown = "ntf_01890a5d-ac96-774b-bcce-b302099a8057";
    let past = in_seconds(-1);
    for (what, frame, status, kind, pointer) in [
        ("another's", json!({"type": "read", "id": bobs}), 404, "not-found", None),
        ("nobody's", json!({"type": "read", "id": unknown}), 404, "not-found", None),
        ("gone", json!({"type": "archive", "id": gone}), 409, "invalid-state", None),
        ("no id", json!({"type": "seen"}), 422, "invalid-request", Some("/id")),
        ("a number", json!({"type": "seen", "id": 7}), 422, "invalid-request", Some("/id")),
        ("a bad id", json!({"type": "unread", "id": "ntf_1"}), 400, "malformed-request", Some("/id")),
        ("no until", json!({"type": "snooze", "id": alices}), 422, "invalid-request", Some("/until")),
        (
            "past",
            json!({"type": "snooze", "id": alices, "until": past}),
            422,
            "invalid-request",
            Some("/until"),
        ),
        (
            "a day",
            json!({"type": "snooze", "id": alices, "until": "2096-01-01"}),
            422,
            "invalid-request",
            Some("/until"),
        ),
        (
            "the year 10000, in UTC",
            json!({"type": "snooze", "id": alices, "until": "9999-12-31T23:59:59-01:00"}),
            422,
            "invalid-request",
            Some("/until"),
        ),
    ] {
        let mut frame: Value = frame;
        // Without a `ref` nothing comes back, and the next frame is that of the one with a `ref`.
        socket.send(frame.to_string()).await;
        frame["ref"] = what.into();
        socket.send(frame.to_string()).await;
        let error = socket.frame("error").await;
        let problem = &error["problem"];
        assert_eq!(
            (&error["ref"], &problem["status"], &problem["type"]),
            (&what.into(), &status.into(), &kind.into())
        );
        assert_eq!(problem["errors"][0]["pointer"].as_str(), pointer, "{what}: {error}");
    }
    let sync = socket.sync().await;
    assert_eq!((&sync["unread"], &sync["unseen"]), (&1.into(), &1.into()), "nothing was done");

    // A service acts for its tenant, whoever's inbox the socket shows.
    let (mut service_socket, _) = Socket::of(&service, "alice").await;
    service_socket.send(json!({"type": "read", "id": bobs, "ref": "b"}).to_string()).await;
    service_socket.frame("reply").await;
    assert_eq!(service.counts("bob").await, (0, 0));
}

#[tokio::test]
async fn a_bulk_mark_marks_up_to_its_cursor_and_of_its_category() {
    let service = Service::start().await;
    let mut note = crate::support::note("alice");
    let (mut other, _) = Socket::of(&service, "alice").await;
    let mut cursors = Vec::new();
    for category in ["billing", "news", "billing"] {
        note["category"] = category.into();
        service.create_with(&note).await;
        cursors.push(other.event("notification.created").await["cursor"].as_str().unwrap().to_owned());
    }
    let mut socket = of_token(&service, "alice").await;
    for (frame, events, counts) in [
        (json!({"type": "read_all", "up_to": cursors[0], "category": "news", "ref": "0"}), vec![], (3, 3)),
        (
            json!({"type": "read_all", "up_to": cursors[1], "category": "billing", "ref": "1"}),
            vec!["read"],
            (2, 2),
        ),
        (json!({"type": "seen_all", "ref": "2"}), vec!["seen", "seen"], (2, 0)),
        (
            json!({"type": "archive_all", "up_to": cursors[2], "ref": "3"}),
            vec!["archived", "read", "archived", "read", "archived"],
            (0, 0),
        ),
        (json!({"type": "read_all", "ref": "4"}), vec![], (0, 0)),
    ] {
        socket.send(frame.to_string()).await;
        let mut seen = Vec::new();
        let reply = loop {
            let next = socket.next_frame().await;
            if next["type"] != "event" {
                break next;
            }
            seen.push(next["event"].as_str().unwrap().trim_start_matches("notification.").to_owned());
        };
        assert_eq!((&reply["type"], &reply["ref"]), (&"reply".into(), &frame["ref"]), "{reply}");
        assert_eq!(seen, events, "{frame}");
        assert_eq!(service.counts("alice").await, counts, "{frame}");
    }
    for (member, value, status, pointer) in [
        ("up_to", json!("yesterday"), 400, Some("/up_to")),
        ("up_to", json!(7), 422, Some("/up_to")),
        ("up_to", json!("1.1"), 410, None),
        ("category", json!(""), 422, Some("/category")),
        ("category", json!(["x"]), 422, Some("/category")),
    ] {
        let mut frame = json!({"type": "read_all", "ref": "x"});
        frame[member] = value;
        socket.send(frame.to_string()).await;
        let error = socket.frame("error").await;
        assert_eq!(error["problem"]["status"], status, "{error}");
        assert_eq!(error["problem"]["errors"][0]["pointer"].as_str(), pointer, "{error}");
    }
}

#[tokio::test]
async fn what_was_received_is_done_even_if_the_page_is_closed_right_after() {
    let service = Service::start().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(service.create("alice").await);
    }
    assert_eq!(service.counts("alice").await, (20, 20));
    let (mut other, _) = Socket::of(&service, "alice").await;
    let mut socket = of_token(&service, "alice").await;
    for id in &ids {
        socket.send(json!({"type": "read", "id": id}).to_string()).await;
    }
    socket.close().await;
    for _ in &ids {
        other.event("notification.read").await;
    }
}

#[tokio::test]
async fn who_sends_too_many_frames_is_closed() {
    let service = Service::start().await;
    let mut socket = of_token(&service, "alice").await;
    for _ in 0..200 {
        socket.send(r#"{"type":"wave"}"#).await;
    }
    socket.sync_or(4006).await.expect("two hundred at once are allowed, and a little more by now");
    for _ in 0..400 {
        if socket.try_send(r#"{"type":"wave"}"#).await.is_err() {
            break;
        }
    }
    socket.expect_close(4006).await;
}
