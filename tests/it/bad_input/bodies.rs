//! Bodies: broken JSON, unknown members, wrong types, values outside of their limits.

use serde_json::{Value, json};

use super::{NOT_JSON, Refusal, Refusing, invalid, malformed};

const CREATE: &str = "/v1/notifications";

/// A notification with these members on top.
fn with(members: Value) -> Vec<u8> {
    let mut body = crate::support::note("alice");
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body.to_string().into()
}

fn content(content: Value) -> Vec<u8> {
    with(json!({"content": content}))
}

fn text(body: &str) -> Vec<u8> {
    body.as_bytes().to_owned()
}

async fn refuse_all(refusing: &mut Refusing, table: Vec<(&str, Vec<u8>, Refusal)>) {
    for (what, body, expected) in table {
        let request = refusing.post(CREATE).header("content-type", "application/json").body(body);
        refusing.refuse(what, request, expected).await;
    }
}

#[tokio::test]
async fn a_body_that_is_not_json_cannot_be_parsed() {
    let mut refusing = Refusing::start().await;
    let data = |text: &str| {
        format!(r#"{{"user_id":"alice","content":{{"title":"t","body":"b"}},"data":{{"x":{text}}}}}"#)
            .into_bytes()
    };
    let table = vec![
        ("no body", vec![], malformed(&[])),
        ("white space", text("  \n"), malformed(&[])),
        ("a word", text("hello"), malformed(&[])),
        ("a cut object", text(r#"{"user_id":"alice""#), malformed(&[])),
        ("a cut object behind an unknown member", text(r#"{"colour":"red","content":"#), malformed(&[])),
        ("a trailing comma", text(r#"{"user_id":"alice",}"#), malformed(&[])),
        ("two objects", [with(json!({})), with(json!({}))].concat(), malformed(&[])),
        ("single quotes", text("{'user_id':'alice'}"), malformed(&[])),
        ("a byte order mark", [b"\xef\xbb\xbf".to_vec(), with(json!({}))].concat(), malformed(&[])),
        ("UTF-16", with(json!({})).iter().flat_map(|byte| [*byte, 0]).collect(), malformed(&[])),
        ("no UTF-8", text(r#"{"user_id":"alice#"#).into_iter().chain(*b"\xff\"}").collect(), malformed(&[])),
        ("half a surrogate", data(r#""\ud800""#), malformed(&[])),
        ("a control byte", data("\"a\u{1}b\""), malformed(&[])),
        ("a byte of zero", data("\"a\u{0}b\""), malformed(&[])),
        ("a line break in a text", data("\"a\nb\""), malformed(&[])),
        ("an unknown escape", data(r#""\x41""#), malformed(&[])),
        ("no number", data("NaN"), malformed(&[])),
        ("a number beyond all", data("1e999"), malformed(&[])),
        ("deep arrays", data(&"[".repeat(100_000)), malformed(&[])),
        ("deep closed arrays", data(&("[".repeat(10_000) + &"]".repeat(10_000))), malformed(&[])),
        ("deep objects", data(&(r#"{"a":"#.repeat(10_000) + "1" + &"}".repeat(10_000))), malformed(&[])),
    ];
    refuse_all(&mut refusing, table).await;
    refusing.finish().await;
}

#[tokio::test]
async fn a_body_with_unknown_or_missing_members_or_wrong_types_is_refused_by_name() {
    let mut refusing = Refusing::start().await;
    let table = vec![
        ("an unknown member", with(json!({"colour": "red"})), invalid(&["/colour"])),
        ("one that is to come", with(json!({"template": {"key": "x"}})), invalid(&["/template"])),
        (
            "an unknown member below",
            content(json!({"title": "t", "body": "b", "html": ""})),
            invalid(&["/content/html"]),
        ),
        (
            "an unknown member of a step",
            with(json!({"plan": [{"channel": "in_app", "to": 1}]})),
            invalid(&["/plan/0/to"]),
        ),
        ("a name with a slash", with(json!({"a/b~c": 1})), invalid(&["/a~1b~0c"])),
        (
            "a member twice",
            text(r#"{"user_id":"a","user_id":"b","content":{"title":"t","body":"b"}}"#),
            invalid(&["/user_id"]),
        ),
        (
            "a member below twice",
            text(r#"{"user_id":"a","content":{"title":"t","body":"b","title":"t"}}"#),
            invalid(&["/content/title"]),
        ),
        ("no user", text(r#"{"content":{"title":"t","body":"b"}}"#), invalid(&["/user_id"])),
        ("no content", text(r#"{"user_id":"alice"}"#), invalid(&["/content"])),
        ("no title", content(json!({"body": "b"})), invalid(&["/content/title"])),
        ("no body", content(json!({"title": "t"})), invalid(&["/content/body"])),
        ("an empty object", text("{}"), invalid(&["/user_id"])),
        ("null", text("null"), invalid(&[""])),
        ("a text", text("\"alice\""), invalid(&[""])),
        ("a number", text("42"), invalid(&[""])),
        ("an array", text("[]"), invalid(&[""])),
        (
            "members without names",
            text(r#"["alice",{"title":"t","body":"b"},null,null,null,null,null]"#),
            invalid(&[""]),
        ),
        ("content without names", content(json!(["t", "b", null])), invalid(&["/content"])),
        ("a step without names", with(json!({"plan": [["in_app"]]})), invalid(&["/plan/0"])),
        ("a user as a number", with(json!({"user_id": 7})), invalid(&["/user_id"])),
        ("a user as null", with(json!({"user_id": null})), invalid(&["/user_id"])),
        ("content as a text", with(json!({"content": "Hello"})), invalid(&["/content"])),
        ("a title as a number", content(json!({"title": 7, "body": "b"})), invalid(&["/content/title"])),
        ("an unknown priority", with(json!({"priority": "asap"})), invalid(&["/priority"])),
        ("a priority in capitals", with(json!({"priority": "High"})), invalid(&["/priority"])),
        ("a priority as a number", with(json!({"priority": 1})), invalid(&["/priority"])),
        ("a priority as an object", with(json!({"priority": {"high": null}})), invalid(&["/priority"])),
        ("an unknown channel", with(json!({"plan": [{"channel": "pigeon"}]})), invalid(&["/plan/0/channel"])),
        (
            "a channel as an object",
            with(json!({"plan": [{"channel": {"in_app": null}}]})),
            invalid(&["/plan/0/channel"]),
        ),
        ("a plan that is no list", with(json!({"plan": {"channel": "in_app"}})), invalid(&["/plan"])),
        ("data that is no object", with(json!({"data": [1]})), invalid(&["/data"])),
        ("tags that are no list", with(json!({"tags": "vip"})), invalid(&["/tags"])),
        ("a tag as a number", with(json!({"tags": ["vip", 1]})), invalid(&["/tags/1"])),
    ];
    refuse_all(&mut refusing, table).await;
    refusing.finish().await;
}

#[tokio::test]
async fn a_value_outside_of_its_limits_is_refused_by_name() {
    let mut refusing = Refusing::start().await;
    let url = |url: &str| content(json!({"title": "t", "body": "b", "action_url": url}));
    let plan = |steps: Value| with(json!({"plan": steps}));
    let after = |after: Value| plan(json!([{"channel": "in_app"}, {"channel": "email", "after": after}]));
    let tags = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
    let table = vec![
        ("an empty user", with(json!({"user_id": ""})), invalid(&["/user_id"])),
        ("a long user", with(json!({"user_id": "é".repeat(257)})), invalid(&["/user_id"])),
        ("a user with a line break", with(json!({"user_id": "a\nb"})), invalid(&["/user_id"])),
        ("a user with a C1 control", with(json!({"user_id": "a\u{85}b"})), invalid(&["/user_id"])),
        ("an empty title", content(json!({"title": "", "body": "b"})), invalid(&["/content/title"])),
        (
            "a long title",
            content(json!({"title": "é".repeat(1_001), "body": "b"})),
            invalid(&["/content/title"]),
        ),
        ("an empty link", url(""), invalid(&["/content/action_url"])),
        (
            "a long link",
            url(&format!("https://a.example/{}", "x".repeat(2_048))),
            invalid(&["/content/action_url"]),
        ),
        ("a link that runs code", url("JavaScript:alert(1)"), invalid(&["/content/action_url"])),
        ("a link with a space", url("https://a.example/ x"), invalid(&["/content/action_url"])),
        ("an empty category", with(json!({"category": ""})), invalid(&["/category"])),
        ("a long category", with(json!({"category": "x".repeat(65)})), invalid(&["/category"])),
        ("no step", with(json!({"plan": []})), invalid(&["/plan"])),
        (
            "two steps",
            with(json!({"plan": [{"channel": "in_app"}, {"channel": "in_app"}]})),
            invalid(&["/plan/1/channel"]),
        ),
        ("nine steps", plan(json!(vec![json!({"channel": "email"}); 9])), invalid(&["/plan"])),
        (
            "a first step that waits",
            plan(json!([{"channel": "email", "after": "5m"}])),
            invalid(&["/plan/0/after"]),
        ),
        (
            "a first step with a condition",
            plan(json!([{"channel": "email", "unless": "read"}])),
            invalid(&["/plan/0/unless"]),
        ),
        (
            "the inbox as a later step",
            plan(json!([{"channel": "email"}, {"channel": "in_app", "after": "5m"}])),
            invalid(&["/plan/1/channel"]),
        ),
        (
            "an unknown condition",
            plan(json!([{"channel": "in_app"}, {"channel": "email", "unless": "clicked"}])),
            invalid(&["/plan/1/unless"]),
        ),
        ("a wait as a number", after(json!(300)), invalid(&["/plan/1/after"])),
        ("a wait without a unit", after(json!("300")), invalid(&["/plan/1/after"])),
        ("a wait of no length", after(json!("0s")), invalid(&["/plan/1/after"])),
        ("a wait of half a second", after(json!("1500ms")), invalid(&["/plan/1/after"])),
        ("a long wait", after(json!("31d")), invalid(&["/plan/1/after"])),
        ("many tags", with(json!({"tags": tags(21)})), invalid(&["/tags"])),
        ("an empty tag", with(json!({"tags": ["vip", ""]})), invalid(&["/tags/1"])),
        ("a tag twice", with(json!({"tags": ["vip", "q3", "vip"]})), invalid(&["/tags/2"])),
        ("a tag with a control", with(json!({"tags": ["a\tb"]})), invalid(&["/tags/0"])),
    ];
    refuse_all(&mut refusing, table).await;
    refusing.finish().await;
}

#[tokio::test]
async fn the_character_zero_is_refused_wherever_it_hides() {
    let mut refusing = Refusing::start().await;
    let zero = "a\u{0}b";
    let table = vec![
        ("in a user", with(json!({"user_id": zero})), invalid(&["/user_id"])),
        ("in a title", content(json!({"title": zero, "body": "b"})), invalid(&["/content/title"])),
        ("in a body", content(json!({"title": "t", "body": zero})), invalid(&["/content/body"])),
        (
            "in a link",
            content(json!({"title": "t", "body": "b", "action_url": zero})),
            invalid(&["/content/action_url"]),
        ),
        ("in a category", with(json!({"category": zero})), invalid(&["/category"])),
        ("in a tag", with(json!({"tags": ["a", zero]})), invalid(&["/tags/1"])),
        ("in data", with(json!({"data": {"a": [{"b": zero}]}})), invalid(&["/data/a/0/b"])),
        ("in a name in data", with(json!({"data": {"a": {zero: 1}}})), invalid(&["/data/a"])),
        ("behind a backslash", with(json!({"data": {"a": "\\\u{0}"}})), invalid(&["/data/a"])),
    ];
    refuse_all(&mut refusing, table).await;
    let deliver = json!({"channel": "in_app", "outcome": "failed", "error": zero});
    let request = refusing.command("deliver").json(&deliver);
    refusing.refuse("in an error", request, invalid(&["/error"])).await;
    refusing.finish().await;

    // What only looks like it is no such thing.
    let service = crate::support::Service::start().await;
    let harmless =
        json!({"user_id": "alice", "content": {"title": "\\u0000", "body": "\u{1}\u{7f}\u{ffff}\u{10ffff}"}});
    service.create_with(&harmless).await;
    let inbox = service.inbox("alice", "").await;
    let shown = &inbox["items"][0];
    assert_eq!(
        (&shown["title"], &shown["body"]),
        (&harmless["content"]["title"], &harmless["content"]["body"])
    );
}

/// Some generated clients send `null` for a body that was left out.
#[tokio::test]
async fn a_body_that_may_be_left_out_may_be_null() {
    let service = crate::support::Service::start().await;
    let id = service.create("alice").await;
    let paths = ["/v1/users/alice/inbox/read-all".to_owned(), format!("/v1/notifications/{id}/read")];
    for path in paths {
        let request = service.posting(&path, &Value::Null).json(&Value::Null);
        service.send(request).await.expect(200);
    }
    assert_eq!(service.counts("alice").await, (0, 0));
}

#[tokio::test]
async fn commands_on_a_notification_refuse_what_they_do_not_take() {
    let mut refusing = Refusing::start().await;
    for word in ["read", "unread", "seen", "archive", "unarchive", "cancel"] {
        for (what, body, expected) in [
            ("an unknown member", json!({"at": "now"}), invalid(&["/at"])),
            ("an array", json!([]), invalid(&[""])),
            ("a text", json!("now"), invalid(&[""])),
        ] {
            let request = refusing.command(word).json(&body);
            refusing.refuse(&format!("{word}: {what}"), request, expected).await;
        }
        let request = refusing.command(word).body("{");
        refusing.refuse(&format!("{word}: no JSON"), request, malformed(&[])).await;
        let request = refusing.command(word).header("content-type", "text/plain").body("{}");
        refusing.refuse(&format!("{word}: plain text"), request, NOT_JSON).await;
    }
    for (what, body, expected) in [
        ("nothing", json!({}), invalid(&["/channel"])),
        ("no outcome", json!({"channel": "in_app"}), invalid(&["/outcome"])),
        ("an unknown outcome", json!({"channel": "in_app", "outcome": "lost"}), invalid(&["/outcome"])),
        ("an unknown channel", json!({"channel": "pigeon", "outcome": "failed"}), invalid(&["/channel"])),
        (
            "attempt 0",
            json!({"channel": "in_app", "outcome": "failed", "attempt": 0}),
            invalid(&["/attempt"]),
        ),
        (
            "attempt -1",
            json!({"channel": "in_app", "outcome": "failed", "attempt": -1}),
            invalid(&["/attempt"]),
        ),
        (
            "attempt 1.5",
            json!({"channel": "in_app", "outcome": "failed", "attempt": 1.5}),
            invalid(&["/attempt"]),
        ),
        (
            "attempt 2^32",
            json!({"channel": "in_app", "outcome": "failed", "attempt": 1_u64 << 32}),
            invalid(&["/attempt"]),
        ),
        (
            "an error of a success",
            json!({"channel": "in_app", "outcome": "delivered", "error": "x"}),
            invalid(&["/error"]),
        ),
        (
            "a long error",
            json!({"channel": "in_app", "outcome": "failed", "error": "é".repeat(1_001)}),
            invalid(&["/error"]),
        ),
        (
            "an unknown member",
            json!({"channel": "in_app", "outcome": "failed", "why": "x"}),
            invalid(&["/why"]),
        ),
        ("members without names", json!(["in_app", "failed", null, null]), invalid(&[""])),
    ] {
        let request = refusing.command("deliver").json(&body);
        refusing.refuse(&format!("deliver: {what}"), request, expected).await;
    }
    for (what, body, expected) in [
        ("an unknown channel", json!({"channel": "pigeon"}), invalid(&["/channel"])),
        ("an unknown member", json!({"attempt": 2}), invalid(&["/attempt"])),
        ("members without names", json!(["in_app"]), invalid(&[""])),
    ] {
        let request = refusing.command("retry").json(&body);
        refusing.refuse(&format!("retry: {what}"), request, expected).await;
    }
    let bodiless = refusing.command("deliver");
    refusing.refuse("deliver: no body", bodiless, NOT_JSON).await;
    refusing.finish().await;
}

#[tokio::test]
async fn a_batch_that_is_none_is_refused_as_a_whole() {
    let mut refusing = Refusing::start().await;
    let note = crate::support::note("alice");
    for (what, body, expected) in [
        ("none", json!({"notifications": []}), invalid(&["/notifications"])),
        ("1,001", json!({"notifications": vec![&note; 1_001]}), invalid(&["/notifications"])),
        ("no list", json!({"notifications": note}), invalid(&["/notifications"])),
        ("null", json!({"notifications": null}), invalid(&["/notifications"])),
        ("no member", json!({}), invalid(&["/notifications"])),
        ("an unknown member", json!({"notifications": [note], "dry_run": true}), invalid(&["/dry_run"])),
        ("members without names", json!([[note]]), invalid(&[""])),
        ("a bare list", json!([note]), invalid(&[""])),
    ] {
        let request = refusing.post("/v1/notifications/batch").json(&body);
        refusing.refuse(what, request, expected).await;
    }
    let broken = r#"{"notifications":[{"user_id":"alice","content":{"title":"t","body":"b"}},{]}"#;
    let request =
        refusing.post("/v1/notifications/batch").header("content-type", "application/json").body(broken);
    refusing.refuse("one that is no JSON", request, malformed(&[])).await;
    refusing.finish().await;
}
