//! Parameters: ids, users, limits and states in paths, queries and headers.

use super::{Refusing, invalid, malformed};

const INBOX: &str = "/v1/users/alice/inbox";

#[tokio::test]
async fn an_id_that_is_none_cannot_be_parsed() {
    let mut refusing = Refusing::start().await;
    let long = "x".repeat(5_000);
    for id in [
        "1",
        "ntf_",
        "ntf_1",
        "ntf_01890a5dac96774bbcceb302099a8057",
        "ntf_01890A5D-AC96-774B-BCCE-B302099A8057",
        "ntf_%7B01890a5d-ac96-774b-bcce-b302099a8057%7D",
        "brd_01890a5d-ac96-774b-bcce-b302099a8057",
        "01890a5d-ac96-774b-bcce-b302099a8057",
        "ntf_01890a5d-ac96-774b-bcce-b302099a8057%00",
        "ntf_01890a5d-ac96-774b-bcce-b302099a805%C3%A9",
        &long,
    ] {
        for rest in ["", "/events"] {
            let get = refusing.get(&format!("/v1/notifications/{id}{rest}"));
            refusing.refuse(&format!("get {id}{rest}"), get, malformed(&["id"])).await;
        }
        for word in ["read", "unread", "seen", "archive", "unarchive", "cancel", "retry"] {
            let post = refusing.post(&format!("/v1/notifications/{id}/{word}"));
            refusing.refuse(&format!("{word} {id}"), post, malformed(&["id"])).await;
        }
        let outcome = serde_json::json!({"channel": "in_app", "outcome": "delivered"});
        let post = refusing.post(&format!("/v1/notifications/{id}/deliver")).json(&outcome);
        refusing.refuse(&format!("deliver {id}"), post, malformed(&["id"])).await;
    }
    refusing.finish().await;
}

#[tokio::test]
async fn a_user_that_can_not_be_cannot_be_parsed() {
    let mut refusing = Refusing::start().await;
    let long = "x".repeat(257);
    for user in ["a%00b", "a%0Ab", "a%C2%85b", &long] {
        for rest in ["", "/counts", "/stream"] {
            let read = refusing.get(&format!("/v1/users/{user}/inbox{rest}"));
            refusing.refuse(&format!("{user}{rest}"), read, malformed(&["user_id"])).await;
        }
    }
    for user in ["", "a%00b", &long] {
        for path in ["/v1/events", "/v1/notifications"] {
            let list = refusing.get(&format!("{path}?user_id={user}"));
            refusing.refuse(&format!("{path} of {user:?}"), list, malformed(&["user_id"])).await;
        }
    }
    refusing.finish().await;
}

#[tokio::test]
async fn a_path_that_is_no_text_cannot_be_parsed() {
    let mut refusing = Refusing::start().await;
    for path in ["notifications/%FF", "users/%FF/inbox", "users/%FF/inbox/counts", "users/%FF/inbox/stream"] {
        let read = refusing.get(&format!("/v1/{path}"));
        refusing.refuse(path, read, malformed(&[])).await;
    }
    let mark = refusing.post("/v1/notifications/%FF/read");
    refusing.refuse("mark", mark, malformed(&[])).await;
    refusing.finish().await;
}

#[tokio::test]
async fn a_query_outside_of_its_limits_is_refused_by_name() {
    let mut refusing = Refusing::start().await;
    for limit in ["0", "-1", "101", "1.5", "ten", "", "99999999999999999999"] {
        let read = refusing.get(&format!("{INBOX}?limit={limit}"));
        refusing.refuse(&format!("inbox limit {limit:?}"), read, malformed(&["limit"])).await;
        let list = refusing.get(&format!("/v1/notifications?limit={limit}"));
        refusing.refuse(&format!("notifications limit {limit:?}"), list, malformed(&["limit"])).await;
    }
    for limit in ["0", "-1", "1001", "ten", ""] {
        let list = refusing.get(&format!("/v1/events?limit={limit}"));
        refusing.refuse(&format!("events limit {limit:?}"), list, malformed(&["limit"])).await;
    }
    for state in ["", "Active", "new", "active,read"] {
        let read = refusing.get(&format!("{INBOX}?state={state}"));
        refusing.refuse(&format!("state {state:?}"), read, malformed(&["state"])).await;
    }
    for before in ["", "-1", "xyz", "0x1f", "1F", "ffffffffffffffff", "8000000000000000", "1%00"] {
        let read = refusing.get(&format!("{INBOX}?before={before}"));
        refusing.refuse(&format!("before {before:?}"), read, malformed(&["before"])).await;
        let list = refusing.get(&format!("/v1/notifications?before={before}"));
        refusing.refuse(&format!("notifications before {before:?}"), list, malformed(&["before"])).await;
    }
    for status in ["", "Active", "read", "active,expired", "active%00"] {
        let list = refusing.get(&format!("/v1/notifications?status={status}"));
        refusing.refuse(&format!("status {status:?}"), list, malformed(&["status"])).await;
    }
    let list = refusing.get("/v1/events?type=a%00b");
    refusing.refuse("a type with U+0000", list, invalid(&["type"])).await;
    let list = refusing.get("/v1/events?aggregate_id=a%00b");
    refusing.refuse("an aggregate with U+0000", list, invalid(&["aggregate_id"])).await;
    refusing.finish().await;
}

#[tokio::test]
async fn a_parameter_that_is_unknown_or_given_twice_is_refused_by_name() {
    let mut refusing = Refusing::start().await;
    let id = refusing.id.clone();
    for (path, refusal) in [
        (format!("{INBOX}?limits=5"), malformed(&["limits"])),
        (format!("{INBOX}?state=read&State=all"), malformed(&["State"])),
        (format!("{INBOX}/counts?limit=5"), malformed(&["limit"])),
        ("/v1/events?limit=5&recipient=alice".into(), malformed(&["recipient"])),
        ("/v1/notifications?state=active".into(), malformed(&["state"])),
        ("/v1/events?=alice".into(), malformed(&[""])),
        (format!("/v1/notifications/{id}?a%2Fb"), malformed(&["a/b"])),
        ("/v1/events?type=a&type=b".into(), malformed(&["type"])),
        (format!("{INBOX}?limit=5&limit=5"), malformed(&["limit"])),
        (format!("{INBOX}/stream?cursor=1.1&cursor=1.1"), malformed(&["cursor"])),
    ] {
        let read = refusing.get(&path);
        refusing.refuse(&path, read, refusal).await;
    }
    for path in ["/v1/notifications", "/v1/notifications/batch", &format!("/v1/notifications/{id}/read")] {
        let post = refusing.post(&format!("{path}?dry_run=true")).json(&crate::support::note("alice"));
        refusing.refuse(path, post, malformed(&["dry_run"])).await;
    }
    let stranger = refusing.service.request("GET", "/v1/events?recipient=alice");
    refusing.service.send(stranger).await.expect(401);
    refusing.finish().await;
}

#[tokio::test]
async fn a_header_that_is_no_text_or_there_twice_is_refused_by_name() {
    let mut refusing = Refusing::start().await;
    let bytes = reqwest::header::HeaderValue::from_bytes(b"1.1\xff").unwrap();
    let stream = refusing.get(&format!("{INBOX}/stream")).header("last-event-id", bytes);
    refusing.refuse("a Last-Event-ID that is no text", stream, malformed(&["Last-Event-ID"])).await;
    let note = crate::support::note("alice");
    let create = refusing.post("/v1/notifications").json(&note);
    let create = create.header("idempotency-key", "a").header("idempotency-key", "b");
    refusing.refuse("two keys", create, malformed(&["Idempotency-Key"])).await;
    let create = refusing.post("/v1/notifications").json(&note);
    let create = create.header("idempotency-key", "a").header("idempotency-key", "a");
    refusing.refuse("one key twice", create, malformed(&["Idempotency-Key"])).await;
    let head = refusing.service.head().await;
    let read = refusing.get(INBOX).header("tidings-min-cursor", &head).header("tidings-min-cursor", &head);
    refusing.refuse("two cursors", read, malformed(&["Tidings-Min-Cursor"])).await;
    refusing.finish().await;
}

#[tokio::test]
async fn an_idempotency_key_that_is_none_is_refused() {
    let mut refusing = Refusing::start().await;
    let long = "k".repeat(256);
    let note = crate::support::note("alice");
    for key in [&b""[..], long.as_bytes(), b"a\tb", b"caf\xc3\xa9", b"\xff"] {
        let value = reqwest::header::HeaderValue::from_bytes(key).unwrap();
        let create = refusing.post("/v1/notifications").header("idempotency-key", &value).json(&note);
        refusing.refuse(&format!("create by {value:?}"), create, malformed(&["Idempotency-Key"])).await;
        let batch = serde_json::json!({"notifications": [note]});
        let batch = refusing.post("/v1/notifications/batch").header("idempotency-key", &value).json(&batch);
        refusing.refuse(&format!("batch by {value:?}"), batch, malformed(&["Idempotency-Key"])).await;
        let mark = refusing.command("read").header("idempotency-key", &value);
        refusing.refuse(&format!("mark by {value:?}"), mark, malformed(&["Idempotency-Key"])).await;
    }
    refusing.finish().await;
}

#[tokio::test]
async fn an_instant_that_is_none_cannot_be_parsed() {
    let mut refusing = Refusing::start().await;
    for text in [
        "",
        "yesterday",
        "1763805600",
        "2026-11-22",
        "2026-11-22T10:00:00",
        "2026-11-22T10:00:00+02:00",
        "2026-11-22T25:00:00Z",
        "2026-02-30T10:00:00Z",
        "10000-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-01:00",
        "2026-11-22T10:00:00Z%00",
    ] {
        let read = refusing.get(&format!("{INBOX}?at={text}"));
        refusing.refuse(&format!("at {text:?}"), read, malformed(&["at"])).await;
        for (name, refusal) in [("from", malformed(&["from"])), ("to", malformed(&["to"]))] {
            let list = refusing.get(&format!("/v1/events?{name}={text}"));
            refusing.refuse(&format!("{name} {text:?}"), list, refusal).await;
        }
    }
    let list = refusing.get("/v1/events?from=2026-11-22T10:00:00Z&to=2026-11-22T09:59:59Z");
    refusing.refuse("an end before the beginning", list, invalid(&["to"])).await;
    refusing.finish().await;
}
