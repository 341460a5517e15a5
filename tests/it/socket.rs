//! The socket: each change once, in order, with the counts after it; and from any cursor what was missed.

use serde_json::{Value, json};

use crate::support::{Service, Socket, Stored, note};

fn counts(frame: &Value) -> (i64, i64) {
    (frame["unread"].as_i64().unwrap(), frame["unseen"].as_i64().unwrap())
}

fn text<'a>(frame: &'a Value, member: &str) -> &'a str {
    frame[member].as_str().unwrap_or_else(|| panic!("{member} of {frame}"))
}

fn members(frame: &Value) -> Vec<&str> {
    frame.as_object().unwrap().keys().map(String::as_str).collect()
}

/// A life in marks that ends with the item gone. Each becomes one frame, archiving an unread item two.
async fn live_through(service: &Service, user: &str) {
    let first = service.create(user).await;
    let second = service.create(user).await;
    for word in ["seen", "read", "unread", "archive", "unread", "unarchive"] {
        service.mark(&first, word).await;
    }
    service.mark(&second, "archive").await;
    service.mark(&first, "cancel").await;
}

/// The frames of that life: name, unread, unseen.
const LIFE: [(&str, (i64, i64)); 11] = [
    ("notification.created", (1, 1)),
    ("notification.created", (2, 2)),
    ("notification.seen", (2, 1)),
    ("notification.read", (1, 1)),
    ("notification.unread", (2, 1)),
    ("notification.read", (1, 1)),
    ("notification.archived", (1, 1)),
    ("notification.unread", (1, 1)),
    ("notification.unarchived", (2, 1)),
    ("notification.read", (1, 0)),
    ("notification.archived", (1, 0)),
];

#[tokio::test]
async fn a_socket_shows_each_change_with_the_item_and_the_counts_after_it() {
    let service = Service::start().await;
    let (mut socket, welcome) = Socket::of(&service, "alice").await;
    let expected =
        ["type", "connection_id", "user_id", "cursor", "unread", "unseen", "resumed", "heartbeat_ms"];
    assert_eq!(members(&welcome), expected);
    assert!(text(&welcome, "connection_id").starts_with("con_"));
    assert_eq!((text(&welcome, "user_id"), counts(&welcome)), ("alice", (0, 0)));
    assert_eq!((&welcome["resumed"], &welcome["heartbeat_ms"]), (&false.into(), &25_000.into()));

    let id = service.create("alice").await;
    let frame = socket.event("notification.created").await;
    assert_eq!(members(&frame), ["type", "cursor", "event", "unread", "unseen", "notification"]);
    assert_eq!((text(&frame, "cursor"), counts(&frame)), (service.done().unwrap().as_str(), (1, 1)));
    let page = service.inbox("alice", "").await;
    assert_eq!(frame["notification"], page["items"][0], "the item as the inbox shows it");

    // The cursor of a mark may lie behind its frame: the delivery it proves has no frame.
    for (word, expected) in [("seen", (1, 0)), ("read", (0, 0)), ("unread", (1, 0))] {
        service.mark(&id, word).await;
        let frame = socket.event(&format!("notification.{word}")).await;
        assert_eq!(counts(&frame), expected, "{word}");
        assert_eq!(frame["notification"], service.inbox("alice", "").await["items"][0], "{word}");
        assert_eq!(counts(&frame), service.counts("alice").await);
    }
    service.mark(&id, "archive").await;
    assert_eq!(counts(&socket.event("notification.read").await), (0, 0));
    let archived = socket.event("notification.archived").await;
    assert_eq!(archived["notification"], service.inbox("alice", "state=archived").await["items"][0]);
    service.mark(&id, "cancel").await;
    let cancelled = socket.event("notification.cancelled").await;
    assert_eq!((text(&cancelled["notification"], "id"), counts(&cancelled)), (id.as_str(), (0, 0)));

    // What changed nothing made no frame.
    service.mark(&id, "cancel").await;
    let sync = socket.sync().await;
    assert_eq!((members(&sync), counts(&sync)), (vec!["type", "cursor", "unread", "unseen"], (0, 0)));
}

#[tokio::test]
async fn a_socket_resumed_from_any_cursor_gets_exactly_what_it_missed_and_then_sync() {
    let service = Service::start().await;
    let (mut socket, welcome) = Socket::of(&service, "alice").await;
    service.create("bob").await;
    live_through(&service, "alice").await;
    let mut frames = Vec::new();
    for (name, expected) in LIFE {
        let frame = socket.event(name).await;
        assert_eq!(counts(&frame), expected, "{frame}");
        frames.push(frame);
    }
    frames.push(socket.event("notification.cancelled").await);
    assert_eq!(counts(&frames[11]), (0, 0));
    let head = service.head().await;
    assert_eq!(socket.sync().await["cursor"], head);

    let starts = std::iter::once(&welcome).chain(&frames);
    for (missed, start) in starts.enumerate() {
        let cursor = text(start, "cursor");
        let (mut resumed, welcome) = Socket::resumed(&service, "alice", cursor).await;
        assert_eq!((text(&welcome, "cursor"), &welcome["resumed"]), (cursor, &true.into()));
        assert_eq!(counts(&welcome), counts(start), "the counts at the cursor, not of today");
        let mut got = resumed.frames_to_sync().await;
        let sync = got.pop().unwrap();
        assert_eq!(got, frames[missed..], "from {cursor}");
        assert_eq!((text(&sync, "cursor"), counts(&sync)), (head.as_str(), (0, 0)));
    }

    // The cursor of an inbox page is as good as one of a frame, and so is the very first.
    let page = service.inbox("alice", "").await;
    let (mut resumed, _) = Socket::resumed(&service, "alice", text(&page, "cursor")).await;
    assert_eq!(resumed.frames_to_sync().await.len(), 1);
    let epoch = head.split('.').next().unwrap();
    let (mut resumed, welcome) = Socket::resumed(&service, "alice", &format!("{epoch}.0")).await;
    assert_eq!(counts(&welcome), (0, 0));
    assert_eq!(resumed.frames_to_sync().await[..12], frames);

    // A resumed socket goes on live.
    service.create("alice").await;
    assert_eq!(counts(&resumed.event("notification.created").await), (1, 1));
}

#[tokio::test]
async fn a_long_absence_is_made_up_for_in_order() {
    let service = Service::start().await;
    let (socket, welcome) = Socket::of(&service, "alice").await;
    drop(socket);
    // More than one page of the backlog.
    let batch = json!({"notifications": vec![note("alice"); 450]});
    service.post("/v1/notifications/batch", &batch).await.expect(200);
    assert_eq!(service.counts("alice").await, (450, 450));
    let (mut socket, _) = Socket::resumed(&service, "alice", text(&welcome, "cursor")).await;
    let mut frames = socket.frames_to_sync().await;
    assert_eq!(counts(&frames.pop().unwrap()), (450, 450));
    for (n, frame) in frames.iter().enumerate() {
        assert_eq!(frame["unread"], n + 1);
    }
    let missed: Vec<&str> = frames.iter().map(|frame| text(frame, "cursor")).collect();
    let events = service.events("").await;
    assert_eq!(missed, events.iter().map(|event| text(event, "cursor")).collect::<Vec<_>>());
}

#[tokio::test]
async fn whoever_joins_while_much_happens_misses_nothing_and_sees_nothing_twice() {
    let service = Service::start().await;
    let (mut first, welcome) = Socket::of(&service, "alice").await;
    let creating = async {
        for _ in 0..300 {
            service.create("alice").await;
        }
    };
    // Each joins from the beginning while the events go on, and is at the present after its sync.
    let joining = async {
        let mut sockets = Vec::new();
        for _ in 0..20 {
            let (mut socket, _) = Socket::resumed(&service, "alice", text(&welcome, "cursor")).await;
            let mut frames = socket.frames_to_sync().await;
            frames.pop();
            sockets.push((socket, frames));
        }
        sockets
    };
    let ((), sockets) = tokio::join!(creating, joining);
    let mut expected = Vec::new();
    for _ in 0..300 {
        expected.push(first.event("notification.created").await);
    }
    for (mut socket, mut frames) in sockets {
        while frames.len() < 300 {
            frames.push(socket.event("notification.created").await);
        }
        assert_eq!(frames, expected);
        assert_eq!(counts(&socket.sync().await), (300, 300));
    }
}

#[tokio::test]
async fn all_sockets_of_a_user_show_the_same_and_nobody_elses_shows_anything() {
    let service = Service::start().await;
    let (mut phone, _) = Socket::of(&service, "alice").await;
    let token = service.token("alice");
    let bearer = format!("Bearer {token}");
    let mut laptop = Socket::open(&service, "", &[("authorization", &bearer)]).await.unwrap();
    assert_eq!(laptop.frame("welcome").await["user_id"], "alice", "a token says whose socket it is");
    let (mut bob, _) = Socket::of(&service, "bob").await;
    let foreign = format!("Bearer {}", service.token_of("acme", "alice"));
    let mut foreign = Socket::open(&service, "", &[("authorization", &foreign)]).await.unwrap();
    foreign.frame("welcome").await;

    let id = service.create("alice").await;
    for word in ["read", "archive"] {
        let mark = service.as_user(&token, "POST", &format!("/v1/notifications/{id}/{word}"));
        service.send(mark).await.expect(200);
    }
    for name in ["notification.created", "notification.read", "notification.archived"] {
        assert_eq!(phone.event(name).await, laptop.event(name).await);
    }
    let head = service.head().await;
    assert_eq!(phone.sync().await["cursor"], head);
    // The others are as far, and have nothing to show for it.
    for socket in [&mut bob, &mut foreign] {
        let sync = socket.sync().await;
        assert_eq!((text(&sync, "cursor"), counts(&sync)), (head.as_str(), (0, 0)));
    }

    let mut sql = service.sql().await;
    let payload = json!({
        "tenant": "acme", "user_id": "alice", "content": {"title": "Theirs", "body": ""},
        "priority": "normal", "plan": [{"channel": "in_app"}],
    });
    let theirs = Stored {
        tenant: "acme",
        user: "alice",
        id: "ntf_01890a5d-ac96-774b-bcce-b302099a8057",
        sequence: 1,
        name: "notification.created",
        version: "1.0.0",
        payload,
    };
    let cursor = theirs.append(&mut sql).await;
    let shown = foreign.event("notification.created").await;
    assert_eq!((text(&shown, "cursor"), counts(&shown)), (cursor.as_str(), (1, 1)));
    assert_eq!(counts(&phone.sync().await), (0, 0), "not in our Alice's");
}

#[tokio::test]
async fn a_ping_is_answered_by_sync_and_what_is_not_understood_is_passed_over() {
    let service = Service::start().await;
    let (mut socket, welcome) = Socket::of(&service, "alice").await;
    assert_eq!(socket.sync().await["cursor"], welcome["cursor"]);
    socket.send(r#"{"type":"wave","hand":"left"}"#).await;
    socket.send(r#"{"type":"ping","ref":"7","later":[null]}"#).await;
    socket.frame("sync").await;
    // As large as a frame may be.
    let padding = "x".repeat((64 << 10) - r#"{"type":"ping","x":""}"#.len());
    socket.send(format!(r#"{{"type":"ping","x":"{padding}"}}"#)).await;
    socket.frame("sync").await;

    service.create("alice").await;
    socket.event("notification.created").await;
    assert_eq!(socket.sync().await["cursor"], service.head().await);
}
