//! The log: every line of a request says which, and no line says what nobody may read.

use serde_json::{Value, json};

use crate::support::{NEVER, Service, Socket, signed};

const TITLE: &str = "a-title-that-nobody-may-log";
const BODY: &str = "a-body-that-nobody-may-log";
const BAD_KEY: &str = "a-key-that-is-not-good-and-that-nobody-may-log";

/// The lines of a story told at this level, and everything that must not be in them.
async fn story(level: &str) -> (Vec<Value>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let settings = [("TIDINGS_LOG_LEVEL", level), ("TIDINGS_LOG_FORMAT", "json")];
    let service = Service::start_logging(&settings, Some(&log)).await;
    let secret = service.jwt_secret();
    let token = signed(&secret, &json!({"sub": "alice", "exp": NEVER}));
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let by_token = format!("bearer.{token}");
    let headers = [("sec-websocket-protocol", format!("tidings.v1, {by_token}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut browser = Socket::open(&service, "", &headers).await.unwrap();
    browser.frame("welcome").await;

    let body = json!({"user_id": "alice", "content": {"title": TITLE, "body": BODY}});
    let request = service.posting("/v1/notifications", &body).header("x-request-id", "the-first");
    let id = service.send(request).await.expect(201).text("id");
    socket.event("notification.created").await;
    browser.event("notification.created").await;
    socket.send(json!({"type": "auth", "token": token}).to_string()).await;
    browser.send(json!({"type": "read", "id": id, "ref": "1"}).to_string()).await;
    browser.event("notification.read").await;
    let batch = json!({"notifications": [body, {"user_id": "alice", "content": {"title": TITLE}}]});
    let request = service.posting("/v1/notifications/batch", &batch).header("x-request-id", "the-second");
    service.send(request).await.expect(200);
    let request = service.request("GET", "/v1/notifications").header("x-api-key", BAD_KEY);
    service.send(request.header("x-request-id", "the-third")).await.expect(401);
    service.send(service.as_user(&token, "GET", "/v1/users/alice/inbox")).await.expect(200);
    service.send(service.as_user("nonsense", "GET", "/v1/users/alice/inbox")).await.expect(401);
    let ticket =
        service.send(service.as_user(&token, "POST", "/v1/tickets")).await.expect(201).text("ticket");
    let mut by_ticket = Socket::open(&service, &format!("ticket={ticket}"), &[]).await.unwrap();
    by_ticket.frame("welcome").await;

    let forbidden = [TITLE, BODY, BAD_KEY, &token, &secret, &ticket, &service.root_key()];
    let forbidden = forbidden.into_iter().map(str::to_owned).chain([service.secret("master_key")]).collect();
    drop((socket, browser, by_ticket));
    drop(service);
    let text = std::fs::read_to_string(&log).unwrap();
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    (text.lines().map(line).collect(), forbidden)
}

fn of_request<'a>(lines: &'a [Value], id: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["span"]["request_id"] == id).collect()
}

#[tokio::test]
async fn every_request_has_one_line_at_debug_with_its_id() {
    let (lines, _) = story("info,tidings=debug").await;
    for (id, method, route, status, problem) in [
        ("the-first", "POST", "/v1/notifications", 201, Value::Null),
        ("the-second", "POST", "/v1/notifications/batch", 200, Value::Null),
        ("the-third", "GET", "/v1/notifications", 401, "unauthorized".into()),
    ] {
        let lines = of_request(&lines, id);
        let access: Vec<_> = lines.iter().filter(|line| line["message"] == "request").collect();
        assert_eq!(access.len(), 1, "{lines:#?}");
        let line = access[0];
        assert_eq!((&line["method"], &line["route"]), (&method.into(), &route.into()), "{line}");
        assert_eq!((&line["status"], &line["problem"]), (&status.into(), &problem), "{line}");
        assert!(line["elapsed_us"].is_u64(), "{line}");
    }
}

#[tokio::test]
async fn no_line_at_any_level_says_a_secret_or_what_somebody_is_told() {
    let (lines, forbidden) = story("trace").await;
    assert!(lines.iter().any(|line| line["level"] == "TRACE"), "it tells everything");
    let tells = |line: &&Value| forbidden.iter().any(|secret| line.to_string().contains(secret.as_str()));
    assert_eq!(lines.iter().filter(tells).collect::<Vec<_>>(), [&Value::Null; 0]);
}
