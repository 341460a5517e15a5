//! How sockets end: what is wrong with the handshake or with a frame, and a service that goes away.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::support::{LONG_AGO, Service, Socket, signed};

const UNAUTHORIZED: u16 = 4500;
const BAD: u16 = 4501;

/// A frame as it is, whether text may look like that or not.
fn raw(kind: Data, bytes: &'static [u8]) -> Message {
    Message::Frame(Frame::message(bytes, OpCode::Data(kind), true))
}

#[tokio::test]
async fn a_frame_that_is_not_one_json_object_ends_the_socket() {
    let service = Service::start().await;
    let large = format!(r#"{{"type":"ping","x":"{}"}}"#, "x".repeat(65 << 10));
    let messages: [(&str, Message); 16] = [
        ("no JSON", "{".into()),
        ("empty", "".into()),
        ("a word", "ping".into()),
        ("a string", r#""ping""#.into()),
        ("a number", "1".into()),
        ("null", "null".into()),
        ("no type", "{}".into()),
        ("a type that is no text", r#"{"type":1}"#.into()),
        ("two at once", r#"{"type":"ping"}{"type":"ping"}"#.into()),
        ("an array of frames", r#"[{"type":"ping"}]"#.into()),
        ("an array that reads like a frame", r#"["ping"]"#.into()),
        ("too deep", format!(r#"{{"type":"wave","x":{}}}"#, "[".repeat(10_000)).into()),
        ("binary", Message::Binary(br#"{"type":"ping"}"#.as_slice().into())),
        ("no UTF-8", raw(Data::Text, b"\"\xff\"")),
        ("a reserved kind", raw(Data::Reserved(3), b"{}")),
        ("65 KiB", large.into()),
    ];
    let (mut bystander, _) = Socket::of(&service, "alice").await;
    let mut ends = Vec::new();
    for (what, message) in messages {
        let (mut socket, _) = Socket::of(&service, "alice").await;
        socket.send(message).await;
        ends.push((what, socket.end().await));
    }
    ends.retain(|(_, end)| *end != Ok(BAD));
    assert!(ends.is_empty(), "{ends:#?}");
    service.create("alice").await;
    bystander.event("notification.created").await;
}

#[tokio::test]
async fn a_client_that_sends_a_huge_frame_learns_why_it_is_closed() {
    let service = Service::start().await;
    let mut ends = Vec::new();
    // Larger than what the network holds: the client is still sending when the answer is clear.
    for bytes in [1 << 20, 8 << 20] {
        let (mut socket, _) = Socket::of(&service, "alice").await;
        let sent = socket.try_send(format!(r#"{{"type":"ping","x":"{}"}}"#, "x".repeat(bytes))).await;
        ends.push((bytes, sent, socket.end().await));
    }
    ends.retain(|(_, _, end)| *end != Ok(BAD));
    assert!(ends.is_empty(), "a browser would see 1006 and come back for ever: {ends:#?}");
}

#[tokio::test]
async fn a_handshake_without_good_credentials_is_accepted_and_then_closed() {
    let service = Service::start().await;
    let key = service.root_key();
    let bearer = |token: &str| format!("Bearer {token}");
    let expired = signed(&service.jwt_secret(), &json!({"sub": "alice", "exp": LONG_AGO}));
    let (expired, good) = (bearer(&expired), bearer(&service.token("alice")));
    for (what, query, header, code) in [
        ("an unknown key", "user_id=alice", ("x-api-key", "unknown"), UNAUTHORIZED),
        ("an expired token", "", ("authorization", expired.as_str()), UNAUTHORIZED),
        ("another's token", "user_id=bob", ("authorization", good.as_str()), UNAUTHORIZED),
        ("a key for nobody", "", ("x-api-key", key.as_str()), BAD),
        ("a key for an impossible user", "user_id=a%00b", ("x-api-key", key.as_str()), BAD),
        ("a cursor that is none", "user_id=alice&cursor=yesterday", ("x-api-key", key.as_str()), BAD),
        ("an empty cursor", "user_id=alice&cursor=", ("x-api-key", key.as_str()), BAD),
        ("a bad cursor without credentials", "user_id=alice&cursor=x", ("x-other", "x"), BAD),
        ("a bad cursor with bad credentials", "user_id=alice&cursor=x", ("x-api-key", "x"), UNAUTHORIZED),
        ("a ticket nobody made", "ticket=tkt_x", ("x-other", "x"), UNAUTHORIZED),
        ("a parameter nobody knows", "user_id=alice&limit=1", ("x-api-key", key.as_str()), BAD),
        ("a cursor twice", "user_id=alice&cursor=1.0&cursor=1.0", ("x-api-key", key.as_str()), BAD),
        ("two users", "user_id=alice&user_id=bob", ("x-api-key", key.as_str()), BAD),
        ("two tickets", "ticket=tkt_x&ticket=tkt_y", ("x-other", "x"), BAD),
        ("a forged subprotocol", "", ("sec-websocket-protocol", "tidings.v1, bearer.a.b.c"), UNAUTHORIZED),
    ] {
        let socket = Socket::open(&service, query, &[header]).await.unwrap();
        assert_eq!(socket.end().await, Ok(code), "{what}");
    }
    let own = Socket::open(&service, "user_id=alice", &[("authorization", &good)]).await;
    assert_eq!(own.unwrap().frame("welcome").await["user_id"], "alice");
}

#[tokio::test]
async fn a_cursor_of_a_history_that_is_gone_is_welcomed_and_then_reset() {
    let service = Service::start().await;
    service.create("alice").await;
    let head = service.inbox("alice", "").await["cursor"].as_str().unwrap().to_owned();
    let (epoch, position) = head.split_once('.').unwrap();
    let epoch: i64 = epoch.parse().unwrap();
    for lost in [format!("{epoch}.999999"), format!("1.{position}"), format!("{}.0", epoch + 1_000_000)] {
        let (mut socket, welcome) = Socket::resumed(&service, "alice", &lost).await;
        assert_eq!(
            (&welcome["resumed"], &welcome["cursor"]),
            (&false.into(), &head.as_str().into()),
            "{lost}"
        );
        let reset = socket.frame("reset").await;
        let expected =
            json!({"type": "reset", "reason": "epoch-lost", "cursor": head, "unread": 1, "unseen": 1});
        assert_eq!(reset, expected);
        assert_eq!(socket.sync().await["cursor"], head);
    }
}

#[tokio::test]
async fn a_page_of_another_origin_gets_no_socket() {
    let settings = [("TIDINGS_ALLOWED_ORIGINS", "https://app.example.com, https://admin.example.com:8443")];
    let service = Service::start_with(&settings).await;
    let key = service.root_key();
    let own = service.url("");
    let open = async |origin: &str| {
        Socket::open(&service, "user_id=alice", &[("x-api-key", &key), ("origin", origin)]).await
    };
    for allowed in
        ["https://app.example.com", "https://admin.example.com:8443", "http://localhost:5173", &own]
    {
        let mut socket = open(allowed).await.unwrap_or_else(|answer| panic!("{allowed}: {answer:?}"));
        socket.frame("welcome").await;
    }
    for foreign in [
        "https://evil.example",
        "https://app.example.com.evil.example",
        "https://app.example.com:444",
        "http://app.example.com",
        "https://localhost.evil.example",
        "null",
        "",
    ] {
        let Err(answer) = open(foreign).await else { panic!("{foreign:?} got a socket") };
        assert_eq!(answer.problem(403), "forbidden", "{foreign:?}");
    }
}

#[tokio::test]
async fn the_subprotocol_is_named_where_it_is_asked_for() {
    let service = Service::start().await;
    let key = service.root_key();
    for (asked, chosen) in
        [(Some("tidings.v1"), Some("tidings.v1")), (Some("x, tidings.v1"), Some("tidings.v1")), (None, None)]
    {
        let headers = [Some(("x-api-key", key.as_str())), asked.map(|name| ("sec-websocket-protocol", name))];
        let headers: Vec<_> = headers.into_iter().flatten().collect();
        let mut socket = Socket::open(&service, "user_id=alice", &headers).await.unwrap();
        assert_eq!(socket.subprotocol.as_deref(), chosen);
        socket.frame("welcome").await;
    }
    let plain = service.get("/v1/ws?user_id=alice").await;
    assert_eq!(plain.problem(400), "malformed-request", "a request that is no handshake");
}

#[tokio::test]
async fn a_page_that_closes_its_socket_is_answered() {
    let service = Service::start().await;
    let (socket, _) = Socket::of(&service, "alice").await;
    assert_eq!(socket.close_answered().await, Some(1000));
}

#[tokio::test]
async fn a_service_that_goes_away_says_so_and_when_to_come_back() {
    let mut service = Service::start().await;
    let mut sockets = Vec::new();
    for user in ["alice", "alice", "bob"] {
        sockets.push(Socket::of(&service, user).await.0);
    }
    service.ask_to_end();
    for mut socket in sockets {
        let closing = socket.frame("closing").await;
        assert_eq!(closing["code"], 4001);
        assert!((0..=10_000).contains(&closing["retry_in_ms"].as_i64().unwrap()), "{closing}");
        socket.expect_close(4001).await;
    }
    service.ended();
}
