//! Who opens a socket: the five ways to show credentials, tickets, and tokens that end while a socket is open.

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::support::{Answer, LONG_AGO, Service, Socket, signed};

const UNAUTHORIZED: u16 = 4500;
const TOKEN_EXPIRED: u16 = 4003;

async fn ticket(service: &Service, body: &Value) -> String {
    service.post("/v1/tickets", body).await.expect(201).text("ticket")
}

/// A token that expires so many seconds from now.
fn expiring(service: &Service, user: &str, seconds: i64) -> String {
    let exp = OffsetDateTime::now_utc().unix_timestamp() + seconds;
    signed(&service.jwt_secret(), &json!({"sub": user, "exp": exp}))
}

async fn open(service: &Service, query: &str, headers: &[(&str, &str)]) -> Socket {
    Socket::open(service, query, headers).await.unwrap()
}

async fn with_token(service: &Service, token: &str) -> (Socket, Value) {
    let mut socket = open(service, "", &[("authorization", &format!("Bearer {token}"))]).await;
    let welcome = socket.frame("welcome").await;
    (socket, welcome)
}

#[tokio::test]
async fn each_of_the_five_ways_opens_the_users_socket() {
    let service = Service::start().await;
    let (key, token) = (service.root_key(), service.token("alice"));
    let bearer = format!("Bearer {token}");
    let protocols = format!("tidings.v1, bearer.{token}");
    let by_ticket = format!("ticket={}", ticket(&service, &json!({"user_id": "alice"})).await);
    for (way, query, headers) in [
        ("a key", "user_id=alice", vec![("x-api-key", key.as_str())]),
        ("a token", "", vec![("authorization", bearer.as_str())]),
        ("a subprotocol", "user_id=alice", vec![("sec-websocket-protocol", protocols.as_str())]),
        ("a ticket", &by_ticket, vec![("sec-websocket-protocol", "tidings.v1")]),
    ] {
        let mut socket = open(&service, query, &headers).await;
        assert_eq!(socket.frame("welcome").await["user_id"], "alice", "{way}");
        let asked = headers.iter().any(|(name, _)| *name == "sec-websocket-protocol");
        assert_eq!(socket.subprotocol.as_deref(), asked.then_some("tidings.v1"), "{way}");
    }

    // The first frame; what the handshake asked for counts all the same.
    let (mut socket, welcome) = Socket::of(&service, "alice").await;
    service.create("alice").await;
    let created = socket.event("notification.created").await;
    let cursor = welcome["cursor"].as_str().unwrap();
    for reference in [None, Some("r")] {
        let mut socket = open(&service, &format!("user_id=alice&cursor={cursor}"), &[]).await;
        let mut auth = json!({"type": "auth", "token": token});
        if let Some(reference) = reference {
            auth["ref"] = reference.into();
        }
        socket.send(auth.to_string()).await;
        assert_eq!(socket.frame("welcome").await["resumed"], true);
        if reference.is_some() {
            assert_eq!(socket.next_frame().await, json!({"type": "reply", "ref": "r", "cursor": cursor}));
        }
        assert_eq!(socket.next_frame().await, created);
    }
}

#[tokio::test]
async fn the_first_credentials_shown_are_the_ones_that_count() {
    let service = Service::start().await;
    let (key, alice) = (service.root_key(), service.token("alice"));
    let bob = format!("Bearer {}", service.token("bob"));
    let protocols = format!("tidings.v1, bearer.{alice}");
    let unused = ticket(&service, &json!({"user_id": "alice"})).await;
    let with_ticket = format!("ticket={unused}");

    let all = [("x-api-key", key.as_str()), ("authorization", &bob), ("sec-websocket-protocol", &protocols)];
    let mut socket = open(&service, &format!("user_id=carol&{with_ticket}"), &all).await;
    assert_eq!(socket.frame("welcome").await["user_id"], "carol");
    let mut socket = open(&service, &with_ticket, &all[1..]).await;
    assert_eq!(socket.frame("welcome").await["user_id"], "bob");
    // Bad ones are not passed over for better ones.
    for bad in [
        ("x-api-key", "unknown"),
        ("authorization", "Bearer x"),
        ("sec-websocket-protocol", "tidings.v1, bearer.x"),
    ] {
        let headers = if bad.0 == "x-api-key" { vec![bad, all[1]] } else { vec![bad] };
        let socket = open(&service, &with_ticket, &headers).await;
        assert_eq!(socket.end().await, Ok(UNAUTHORIZED), "{bad:?}");
    }
    // Nobody has looked at the ticket so far.
    let mut socket = open(&service, &with_ticket, &[]).await;
    assert_eq!(socket.frame("welcome").await["user_id"], "alice");
}

#[tokio::test]
async fn a_first_frame_that_brings_no_good_token_ends_the_socket() {
    let service = Service::start().await;
    let (alice, bob) = (service.token("alice"), service.token("bob"));
    let auth = |token: &str| json!({"type": "auth", "token": token, "ref": "1"}).to_string();
    let expired = signed(&service.jwt_secret(), &json!({"sub": "alice", "exp": LONG_AGO}));
    for (what, query, frame, code) in [
        ("a forged token", "", auth("x.y.z"), UNAUTHORIZED),
        ("an expired token", "", auth(&expired), UNAUTHORIZED),
        ("another's token", "user_id=alice", auth(&bob), UNAUTHORIZED),
        ("no token", "", r#"{"type":"auth"}"#.into(), UNAUTHORIZED),
        ("another frame", "", r#"{"type":"ping"}"#.into(), UNAUTHORIZED),
        ("no frame at all", "", "{".into(), 4501),
    ] {
        let mut socket = open(&service, query, &[]).await;
        socket.send(frame).await;
        assert_eq!(socket.end().await, Ok(code), "{what}");
    }
    let mut socket = open(&service, "user_id=alice", &[]).await;
    socket.send(auth(&alice)).await;
    socket.frame("welcome").await;
}

#[tokio::test]
async fn a_socket_that_never_says_who_it_is_is_closed_after_fifteen_seconds() {
    let service = Service::start().await;
    let opened = std::time::Instant::now();
    let socket = open(&service, "user_id=alice", &[]).await;
    assert_eq!(socket.end().await, Ok(UNAUTHORIZED));
    let seconds = opened.elapsed().as_secs();
    assert!((14..18).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn a_ticket_opens_one_socket_within_its_time() {
    let service = Service::start().await;
    let mut sql = service.sql().await;
    let answer = service.post("/v1/tickets", &json!({"user_id": "alice"})).await.expect(201);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let query = format!("ticket={}", answer.text("ticket"));
    let stored: i64 =
        sqlx::query_scalar("SELECT count(*) FROM tickets WHERE sha256 <> convert_to($1, 'utf8')")
            .bind(answer.text("ticket"))
            .fetch_one(&mut sql)
            .await
            .unwrap();
    assert_eq!(stored, 1, "the ticket itself is not kept");
    open(&service, &query, &[]).await.frame("welcome").await;
    assert_eq!(open(&service, &query, &[]).await.end().await, Ok(UNAUTHORIZED), "a second time");

    let late = ticket(&service, &json!({"user_id": "alice"})).await;
    let aged = "UPDATE tickets SET expires_at = expires_at - interval '31 seconds'";
    sqlx::query(aged).execute(&mut sql).await.unwrap();
    let socket = open(&service, &format!("ticket={late}"), &[]).await;
    assert_eq!(socket.end().await, Ok(UNAUTHORIZED), "too late");

    // Those that nobody used are swept.
    ticket(&service, &json!({"user_id": "bob"})).await;
    sqlx::query(aged).execute(&mut sql).await.unwrap();
    ticket(&service, &json!({"user_id": "carol"})).await;
    let left: Vec<String> =
        sqlx::query_scalar("SELECT user_id FROM tickets").fetch_all(&mut sql).await.unwrap();
    assert_eq!(left, ["carol"]);

    // A ticket is good for its user only, on whichever node.
    let other = service.another_node().await;
    let elsewhere = ticket(&service, &json!({"user_id": "alice"})).await;
    open(&other, &format!("ticket={elsewhere}"), &[]).await.frame("welcome").await;
    let foreign = ticket(&service, &json!({"user_id": "alice"})).await;
    let socket = open(&service, &format!("ticket={foreign}&user_id=bob"), &[]).await;
    assert_eq!(socket.end().await, Ok(UNAUTHORIZED));
}

#[tokio::test]
async fn a_user_makes_tickets_for_himself_and_a_service_for_whom_it_names() {
    let service = Service::start().await;
    let token = service.token("alice");
    let ask = async |body: Option<Value>| -> Answer {
        let request = service.as_user(&token, "POST", "/v1/tickets");
        service.send(body.map_or(service.as_user(&token, "POST", "/v1/tickets"), |b| request.json(&b))).await
    };
    for body in [None, Some(json!({})), Some(json!({"user_id": "alice"}))] {
        let query = format!("ticket={}", ask(body).await.expect(201).text("ticket"));
        assert_eq!(open(&service, &query, &[]).await.frame("welcome").await["user_id"], "alice");
    }
    assert_eq!(ask(Some(json!({"user_id": "bob"}))).await.problem(403), "forbidden");

    for (body, pointer) in [
        (json!({}), "/user_id"),
        (json!({"user_id": ""}), "/user_id"),
        (json!({"user_id": 7}), "/user_id"),
        (json!({"user_id": "a\u{1}b"}), "/user_id"),
        (json!({"user": "alice"}), "/user"),
    ] {
        let answer = service.post("/v1/tickets", &body).await;
        assert_eq!(answer.problem(422), "invalid-request", "{body}");
        assert_eq!(answer.pointers(), [pointer], "{body}");
    }
    let bare = service.request("POST", "/v1/tickets").json(&json!({"user_id": "alice"}));
    assert_eq!(service.send(bare).await.problem(401), "unauthorized");
}

#[tokio::test]
async fn a_socket_ends_with_its_token_and_says_so_before() {
    let service = Service::start().await;
    // Accepted through the leeway, of which three seconds are left.
    let token = expiring(&service, "alice", -27);
    let (mut socket, _) = with_token(&service, &token).await;
    let request = service.as_user(&token, "POST", "/v1/tickets");
    let ticket = service.send(request).await.expect(201).text("ticket");
    let mut by_ticket = open(&service, &format!("ticket={ticket}"), &[]).await;
    by_ticket.frame("welcome").await;
    let request = service.as_user(&token, "GET", "/v1/users/alice/inbox/stream");
    let mut stream = crate::support::Sse::open(request).await.unwrap();
    stream.event("welcome").await;

    let told = socket.frame("token_expiring").await;
    let expires_at = told["expires_at"].as_str().unwrap();
    let format = time::format_description::well_known::Rfc3339;
    let seconds =
        (OffsetDateTime::now_utc() - OffsetDateTime::parse(expires_at, &format).unwrap()).whole_seconds();
    assert!((26..30).contains(&seconds), "{expires_at}");
    by_ticket.frame("token_expiring").await;
    stream.event("token_expiring").await;

    assert_eq!(socket.end().await, Ok(TOKEN_EXPIRED));
    assert_eq!(by_ticket.end().await, Ok(TOKEN_EXPIRED), "a ticket lives no longer than the token behind it");
    assert_eq!(stream.next().await, None);
    let socket = open(&service, "", &[("authorization", &format!("Bearer {token}"))]).await;
    assert_eq!(socket.end().await, Ok(UNAUTHORIZED), "not before a new connection would be refused");
}

#[tokio::test]
async fn a_new_token_keeps_the_socket_open_and_a_bad_one_changes_nothing() {
    let service = Service::start().await;
    let (mut socket, _) = with_token(&service, &expiring(&service, "alice", -27)).await;
    socket.frame("token_expiring").await;
    let foreign = service.token_of("acme", "alice");
    for (what, token, status) in [
        ("another's", json!(service.token("bob")), 403),
        ("another tenant's", json!(foreign), 403),
        ("forged", json!("x.y.z"), 401),
        ("none", json!(null), 422),
    ] {
        socket.send(json!({"type": "auth", "token": token, "ref": what}).to_string()).await;
        let error = socket.frame("error").await;
        assert_eq!((&error["ref"], &error["problem"]["status"]), (&what.into(), &status.into()), "{error}");
        socket.send(json!({"type": "auth", "token": token}).to_string()).await;
        let error = socket.frame("error").await;
        assert_eq!((&error["ref"], &error["problem"]["status"]), (&Value::Null, &status.into()), "{error}");
    }
    let renewed = expiring(&service, "alice", 27);
    socket.send(json!({"type": "auth", "token": renewed, "ref": "2"}).to_string()).await;
    assert_eq!(socket.frame("reply").await["ref"], "2");
    socket.frame("token_expiring").await;
    // Longer than the old token would have allowed; without a `ref` there is no answer.
    socket.send(json!({"type": "auth", "token": service.token("alice")}).to_string()).await;
    let (short, _) = with_token(&service, &expiring(&service, "alice", -27)).await;
    let mut short = short;
    short.frame("token_expiring").await;
    assert_eq!(short.end().await, Ok(TOKEN_EXPIRED));
    socket.sync().await;
}
