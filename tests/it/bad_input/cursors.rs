//! Cursors: malformed, of another history, or from the future, on every route that takes one.

use super::{EPOCH_LOST, Refusing, malformed};

const MALFORMED: [&str; 12] = [
    "",
    "1",
    "1.",
    ".1",
    "1.2.3",
    "-1.1",
    "1.-1",
    "01.1",
    "1.01",
    "1.9223372036854775808",
    "a.b",
    "yesterday",
];

/// What waits for a cursor.
const READS: [&str; 3] = ["/v1/users/alice/inbox", "/v1/users/alice/inbox/counts", "/v1/notifications"];

#[tokio::test]
async fn a_cursor_that_is_none_cannot_be_parsed() {
    let mut refusing = Refusing::start().await;
    for text in MALFORMED {
        let events = refusing.get(&format!("/v1/events?after={text}"));
        refusing.refuse(&format!("events after {text:?}"), events, malformed(&["after"])).await;
        for path in READS {
            let read = refusing.get(path).header("tidings-min-cursor", text);
            refusing.refuse(&format!("{path} at {text:?}"), read, malformed(&["Tidings-Min-Cursor"])).await;
        }
        let stream = refusing.get(&format!("/v1/users/alice/inbox/stream?cursor={text}"));
        refusing.refuse(&format!("stream from {text:?}"), stream, malformed(&["cursor"])).await;
    }
    for bytes in [&b"1.1\xff"[..], b"\xe9"] {
        let value = reqwest::header::HeaderValue::from_bytes(bytes).unwrap();
        let read = refusing.get("/v1/users/alice/inbox").header("tidings-min-cursor", value);
        refusing.refuse("a cursor that is no text", read, malformed(&["Tidings-Min-Cursor"])).await;
    }
    refusing.finish().await;
}

#[tokio::test]
async fn a_cursor_of_a_history_that_is_not_ours_is_lost() {
    let mut refusing = Refusing::start().await;
    let head = refusing.service.head().await;
    let (epoch, position) = head.split_once('.').unwrap();
    let (epoch, position): (i64, i64) = (epoch.parse().unwrap(), position.parse().unwrap());
    for (what, cursor) in [
        ("above the head", format!("{epoch}.{}", position + 1)),
        ("far above the head", format!("{epoch}.{}", i64::MAX)),
        ("of an epoch before the first", format!("1.{position}")),
        ("of epoch 0", "0.0".into()),
        ("of an epoch to come", format!("{}.{position}", epoch + 1)),
        ("of the last epoch of all", format!("{}.0", i64::MAX)),
    ] {
        let events = refusing.get(&format!("/v1/events?after={cursor}"));
        refusing.refuse(&format!("events after one {what}"), events, EPOCH_LOST).await;
        for path in READS {
            let read = refusing.get(path).header("tidings-min-cursor", &cursor);
            refusing.refuse(&format!("{path} at one {what}"), read, EPOCH_LOST).await;
        }
    }
    refusing.service.get(&format!("/v1/events?after={head}")).await.expect(200);
    refusing.service.get(&format!("/v1/events?after={epoch}.0")).await.expect(200);
    refusing.finish().await;
}

#[tokio::test]
async fn a_cursor_stays_good_below_the_start_of_a_later_epoch_and_is_lost_above() {
    let mut service = crate::support::Service::start().await;
    let id = service.create("alice").await;
    let before = service.done().unwrap();
    service.terminate();
    let mut bump = service.command("epoch");
    bump.arg("bump");
    let bumped = crate::support::run_to_end(bump);
    assert_eq!(bumped.code, Some(0), "{}", bumped.errors);
    service.start_again().await;

    // The old epoch's cursor still names what was there when the new one began, and nothing beyond.
    service.get(&format!("/v1/events?after={before}")).await.expect(200);
    service.mark(&id, "read").await;
    let after = service.done().unwrap();
    let (old, new) = (before.split('.').next().unwrap(), after.split('.').next().unwrap());
    assert_ne!(old, new);
    let overtaken = format!("{old}.{}", after.split('.').nth(1).unwrap());
    let answer = service.get(&format!("/v1/events?after={overtaken}")).await;
    assert_eq!(answer.problem(410), "epoch-lost");
    assert_eq!(service.counts("alice").await, (0, 0));

    let (mut socket, welcome) = crate::support::Socket::resumed(&service, "alice", &before).await;
    assert_eq!(welcome["resumed"], true);
    socket.event("notification.read").await;
    let (mut socket, welcome) = crate::support::Socket::resumed(&service, "alice", &overtaken).await;
    assert_eq!(welcome["resumed"], false);
    assert_eq!(socket.frame("reset").await["reason"], "epoch-lost");
}
