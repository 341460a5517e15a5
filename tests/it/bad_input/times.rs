//! Times in bodies: malformed, out of range, passed, or in the wrong order.

use serde_json::{Value, json};

use super::{Refusing, invalid, malformed};

const NO_INSTANTS: [&str; 12] = [
    "",
    "tomorrow",
    "2999-11-22",
    "2999-11-22T10:00:00",
    "2999-11-22T10:00:00 02:00",
    "2999-11-22T10:00:00+0200",
    "2999-02-29T10:00:00Z",
    "2999-11-22T24:00:00Z",
    "10000-01-01T00:00:00Z",
    "0000-06-01T00:00:00Z",
    "9999-12-31T23:59:59-00:01",
    "32503680000",
];

fn with(member: &str, value: Value) -> Value {
    let mut body = crate::support::note("alice");
    body[member] = value;
    body
}

#[tokio::test]
async fn a_time_that_is_none_is_refused_by_member() {
    let mut refusing = Refusing::start().await;
    let no_texts = [json!(null), json!(32_503_680_000_i64), json!(["2999-11-22T10:00:00Z"]), json!("a\u{0}")];
    let texts = NO_INSTANTS.iter().map(|text| json!(text));
    for value in texts.chain(no_texts) {
        for (member, refusal) in
            [("deliver_at", invalid(&["/deliver_at"])), ("expires_at", invalid(&["/expires_at"]))]
        {
            // A member that is null is one that is left out.
            if !value.is_null() {
                let create = refusing.post("/v1/notifications").json(&with(member, value.clone()));
                refusing.refuse(&format!("{member} {value}"), create, refusal).await;
            }
        }
        let snooze = refusing.command("snooze").json(&json!({"until": value}));
        refusing.refuse(&format!("until {value}"), snooze, invalid(&["/until"])).await;
    }
    let snooze = refusing.command("snooze").json(&json!({}));
    refusing.refuse("until nothing", snooze, invalid(&["/until"])).await;
    let snooze = refusing.command("snooze").header("content-type", "application/json");
    refusing.refuse("no body", snooze, malformed(&[])).await;
    let snooze = refusing.command("snooze").json(&json!({"until": "2999-11-22T10:00:00Z", "for": "ever"}));
    refusing.refuse("a member too many", snooze, invalid(&["/for"])).await;
    refusing.finish().await;
}

#[tokio::test]
async fn a_time_that_has_passed_or_comes_too_early_is_refused_by_member() {
    let mut refusing = Refusing::start().await;
    let past = "2001-01-01T00:00:00Z";
    for value in [past, "0001-01-01T00:00:00Z"] {
        let create = refusing.post("/v1/notifications").json(&with("expires_at", value.into()));
        refusing.refuse("expired already", create, invalid(&["/expires_at"])).await;
        let snooze = refusing.command("snooze").json(&json!({"until": value}));
        refusing.refuse("awake already", snooze, invalid(&["/until"])).await;
    }
    for (deliver_at, expires_at) in [
        ("2999-01-01T00:00:00Z", "2999-01-01T00:00:00Z"),
        ("2999-01-01T00:00:00.001Z", "2999-01-01T00:00:00Z"),
        ("2999-01-01T00:00:00Z", "2999-01-01T00:00:00.0009Z"),
        ("2999-01-01T00:00:00Z", past),
    ] {
        let mut body = with("deliver_at", deliver_at.into());
        body["expires_at"] = expires_at.into();
        let create = refusing.post("/v1/notifications").json(&body);
        refusing.refuse("gone before it comes", create, invalid(&["/expires_at"])).await;
    }
    refusing.finish().await;
}
