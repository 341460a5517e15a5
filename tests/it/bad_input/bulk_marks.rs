//! Bulk marks: bodies, positions and users that cannot be.

use serde_json::{Value, json};

use super::{EPOCH_LOST, NOT_JSON, Refusing, invalid, malformed};

const WORDS: [&str; 3] = ["read-all", "seen-all", "archive-all"];

#[tokio::test]
async fn a_bulk_mark_that_says_something_else_is_refused_by_member() {
    let mut refusing = Refusing::start().await;
    let long = "c".repeat(65);
    let table: Vec<(Value, _)> = vec![
        (json!([]), invalid(&[""])),
        (json!({"upto": "1.1"}), invalid(&["/upto"])),
        (json!({"up_to": 1}), invalid(&["/up_to"])),
        (json!({"up_to": ""}), malformed(&["/up_to"])),
        (json!({"up_to": "1"}), malformed(&["/up_to"])),
        (json!({"up_to": "1.1\u{0}"}), invalid(&["/up_to"])),
        (json!({"up_to": "1.1"}), EPOCH_LOST),
        (json!({"category": ""}), invalid(&["/category"])),
        (json!({"category": "a\nb"}), invalid(&["/category"])),
        (json!({"category": "a\u{0}b"}), invalid(&["/category"])),
        (json!({"category": long}), invalid(&["/category"])),
        (json!({"category": ["a"]}), invalid(&["/category"])),
    ];
    for word in WORDS {
        let path = format!("/v1/users/alice/inbox/{word}");
        for (body, refusal) in &table {
            let post = refusing.post(&path).json(body);
            refusing.refuse(&format!("{word} {body}"), post, *refusal).await;
        }
        let post = refusing.post(&path).header("content-type", "application/json").body("{");
        refusing.refuse(&format!("{word} of half an object"), post, malformed(&[])).await;
        let post = refusing.post(&path).header("content-type", "text/plain").body("{}");
        refusing.refuse(&format!("{word} in text"), post, NOT_JSON).await;
        let post = refusing.post(&format!("{path}?up_to=1.1"));
        refusing.refuse(&format!("{word} with a query"), post, malformed(&["up_to"])).await;
        let post = refusing.post(&path).header("idempotency-key", "");
        refusing.refuse(&format!("{word} by no key"), post, malformed(&["Idempotency-Key"])).await;
        let post = refusing.post(&format!("/v1/users/a%00b/inbox/{word}"));
        refusing.refuse(&format!("{word} of nobody"), post, malformed(&["user_id"])).await;
    }
    refusing.finish().await;
}
