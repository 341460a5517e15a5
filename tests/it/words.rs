//! Notifications of templates: each reader is told in the language and on the clock of the profile, wherever it is shown,
//! and in the version that was the latest when the notification was made.

use serde_json::{Value, json};

use crate::support::{Answer, Service, Socket, Sse, Stored, run_to_end};

const DUE: &str = "2026-07-01T22:30:00Z";

async fn put(service: &Service, path: &str, body: &Value) {
    let request = service.request("PUT", path).header("x-api-key", service.root_key());
    service.send(request.json(body)).await.expect(200);
}

async fn retire(service: &Service, key: &str) {
    let path = format!("/v1/templates/{key}");
    service.send(service.request("DELETE", &path).header("x-api-key", service.root_key())).await.expect(200);
}

async fn describe(service: &Service, user: &str, locale: &str, time_zone: &str) {
    put(service, &format!("/v1/users/{user}"), &json!({"locale": locale, "time_zone": time_zone})).await;
}

/// Invoices, in English and German, due on some day.
fn invoice() -> Value {
    let english = "title = { $count ->\n    [one] One invoice\n   *[other] { $count } invoices\n}\n\
                   body = Due { DATETIME($due, dateStyle: \"short\", timeStyle: \"short\") }\naction-url = /invoices/{ $path }\n";
    let german = "title = { $count ->\n    [one] Eine Rechnung\n   *[other] { $count } Rechnungen\n}\n\
                  body = Fällig { DATETIME($due, dateStyle: \"short\", timeStyle: \"short\") }\naction-url = /rechnungen/{ $path }\n";
    json!({
        "default_locale": "en", "sources": {"en": english, "de": german},
        "arguments": {"count": "number", "due": "date", "path": "string"},
    })
}

fn says(title: &str) -> Value {
    let (english, german) = (format!("title = {title}\n"), format!("title = {title} auf Deutsch\n"));
    json!({"default_locale": "en", "sources": {"en": english, "de": german}})
}

fn of_invoice(user: &str, count: u32) -> Value {
    let args = json!({"count": count, "due": DUE, "path": "42"});
    json!({"user_id": user, "template": {"key": "invoice", "args": args}})
}

fn of(user: &str, key: &str) -> Value {
    json!({"user_id": user, "template": {"key": key, "args": {}}})
}

/// Title, body and link; white space is CLDR's, and changes with it.
fn told(item: &Value) -> [String; 3] {
    ["title", "body", "action_url"].map(|name| item[name].as_str().unwrap_or("-").replace('\u{202f}', " "))
}

async fn first_title(service: &Service, user: &str) -> String {
    service.inbox(user, "").await["items"][0]["title"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_reader_is_told_in_his_language_and_on_his_clock_wherever_it_is_shown() {
    let service = Service::start().await;
    let other = service.another_node().await;
    put(&service, "/v1/templates/invoice", &invoice()).await;
    describe(&service, "alice", "de-AT", "Europe/Vienna").await;
    let readers = [
        ("alice", 1, ["Eine Rechnung", "Fällig 02.07.26, 00:30", "/rechnungen/42"]),
        ("bob", 1_200, ["1,200 invoices", "Due 7/1/26, 10:30 PM", "/invoices/42"]),
    ];
    for (user, count, words) in readers {
        let words = words.map(str::to_owned);
        let (mut socket, welcome) = Socket::of(&service, user).await;
        let (mut elsewhere, _) = Socket::of(&other, user).await;
        let mut stream = Sse::of(&service, user, &[]).await;
        stream.event("welcome").await;
        let id = service.create_with(&of_invoice(user, count)).await;
        let event = socket.event("notification.created").await;
        assert_eq!(told(&event["notification"]), words);
        assert_eq!(elsewhere.event("notification.created").await, event);
        assert_eq!(stream.event("event").await.data, event);

        let cursor = welcome["cursor"].as_str().unwrap();
        let (mut resumed, _) = Socket::resumed(&service, user, cursor).await;
        assert_eq!(resumed.event("notification.created").await, event, "what was missed is told alike");
        service.mark(&id, "seen").await;
        assert_eq!(told(&socket.event("notification.seen").await["notification"]), words);

        assert_eq!(told(&service.inbox(user, "").await["items"][0]), words);
        let one = service.get(&format!("/v1/notifications/{id}")).await.expect(200).json();
        assert_eq!(told(&one), words);
        assert_eq!(one["template"], json!({"key": "invoice", "version": 1}));
        let listed = service.read(&format!("/v1/notifications?user_id={user}")).await.expect(200).json();
        assert_eq!(told(&listed["notifications"][0]), words);
        let stored = &service.events(&format!("aggregate_id={id}")).await[0]["data"]["content"];
        let args = json!({"count": count, "due": DUE, "path": "42"});
        assert_eq!(*stored, json!({"template": {"key": "invoice", "version": 1, "args": args}}));
        for socket in [socket, elsewhere, resumed] {
            socket.close().await;
        }
    }
}

#[tokio::test]
async fn a_version_stays_and_a_new_language_counts_from_the_next_look_on() {
    let service = Service::start().await;
    put(&service, "/v1/templates/hello", &says("Hello")).await;
    service.create_with(&of("alice", "hello")).await;
    put(&service, "/v1/templates/hello", &says("Welcome")).await;
    service.create_with(&of("alice", "hello")).await;
    retire(&service, "hello").await;
    let titles = async || {
        let inbox = service.inbox("alice", "").await;
        [0, 1].map(|at: usize| inbox["items"][at]["title"].as_str().unwrap().to_owned())
    };
    assert_eq!(titles().await, ["Welcome", "Hello"]);
    let then = service.head().await;

    describe(&service, "alice", "de", "UTC").await;
    assert_eq!(titles().await, ["Welcome auf Deutsch", "Hello auf Deutsch"]);
    describe(&service, "alice", "fr", "UTC").await;
    assert_eq!(titles().await, ["Welcome", "Hello"], "a language it does not have");
    describe(&service, "alice", "de", "UTC").await;
    let path = format!("/v1/users/alice/inbox?at={then}");
    let as_it_was = service.get(&path).await.expect(200).json();
    assert_eq!(as_it_was["items"][0]["title"], "Welcome", "as she read it then");
    let replay = |at: &str| {
        let mut command = service.command("replay");
        command.args(["--user", "alice", "--at", at]);
        serde_json::from_str::<Value>(&run_to_end(command).output).unwrap()
    };
    assert_eq!(replay(&then)["items"], as_it_was["items"]);
    assert_eq!(replay(&service.head().await)["items"][1]["title"], "Hello auf Deutsch");
}

#[tokio::test]
async fn what_does_not_go_together_is_refused_where_it_stands() {
    let service = Service::start().await;
    put(&service, "/v1/templates/invoice", &invoice()).await;
    put(&service, "/v1/templates/gone", &says("Gone")).await;
    retire(&service, "gone").await;
    let link = json!({"default_locale": "en", "sources": {"en": "title = x\naction-url = { $url }\n"}, "arguments": {"url": "string"}});
    put(&service, "/v1/templates/link", &link).await;
    let with = |name: &str, value: Value| {
        let mut body = of_invoice("alice", 1);
        if value.is_null() {
            body["template"]["args"].as_object_mut().unwrap().remove(name);
        } else {
            body["template"]["args"][name] = value;
        }
        body
    };
    let to = |url: &str| json!({"user_id": "alice", "template": {"key": "link", "args": {"url": url}}});
    let mut both = of_invoice("alice", 1);
    both["content"] = json!({"title": "t", "body": "b"});
    let mut own_link = to("/fine");
    own_link["template"]["action_url"] = "javascript:alert(1)".into();
    let cases = [
        (json!({"user_id": "alice"}), "/content"),
        (json!({"user_id": "alice", "template": null}), "/content"),
        (both, "/template"),
        (of("alice", "none"), "/template/key"),
        (of("alice", "gone"), "/template/key"),
        (of("alice", "No Key"), "/template/key"),
        (json!({"user_id": "alice", "template": {"args": {}}}), "/template/key"),
        (json!({"user_id": "alice", "template": {"key": "invoice", "version": 1}}), "/template/version"),
        (json!({"user_id": "alice", "template": {"key": "invoice"}}), "/template/args/count"),
        (json!({"user_id": "alice", "template": {"key": "invoice", "args": []}}), "/template/args"),
        (with("count", Value::Null), "/template/args/count"),
        (with("count", "1".into()), "/template/args/count"),
        (with("due", "tomorrow".into()), "/template/args/due"),
        (with("path", json!({"a": 1})), "/template/args/path"),
        (with("a/b~", 1.into()), "/template/args/a~1b~0"),
        (to("javascript:alert(1)"), "/template/args"),
        (own_link, "/template/action_url"),
    ];
    for (body, pointer) in &cases {
        let answer = service.post("/v1/notifications", body).await;
        let told = (answer.status, answer.pointers());
        assert_eq!(told, (422, vec![(*pointer).to_owned()]), "{body}: {}", answer.body);
    }
    let mut batch: Vec<&Value> = cases.iter().map(|(body, _)| body).collect();
    let (first, last) =
        (of_invoice("alice", 2), json!({"user_id": "alice", "content": {"title": "t", "body": "b"}}));
    batch.insert(0, &first);
    batch.push(&last);
    let results =
        service.post("/v1/notifications/batch", &json!({"notifications": batch})).await.expect(200).json();
    let statuses: Vec<&Value> =
        results["results"].as_array().unwrap().iter().map(|it| &it["status"]).collect();
    let expected: Vec<Value> =
        [201].into_iter().chain(cases.iter().map(|_| 422)).chain([201]).map(Value::from).collect();
    assert_eq!(statuses, expected.iter().collect::<Vec<_>>());
    let inbox = service.inbox("alice", "").await;
    assert_eq!(
        [0, 1].map(|at: usize| inbox["items"][at]["title"].clone()),
        [json!("t"), json!("2 invoices")]
    );
}

#[tokio::test]
async fn a_repetition_is_answered_as_the_first_though_the_template_is_gone_meanwhile() {
    let service = Service::start().await;
    put(&service, "/v1/templates/hello", &says("Hello")).await;
    let one = of("alice", "hello");
    let many = json!({"notifications": [of("alice", "hello"), of("bob", "none")]});
    let sent = async |path: &str, body: &Value| -> Answer { service.post_keyed(path, body, path).await };
    let first = sent("/v1/notifications", &one).await.expect(201);
    let batch = sent("/v1/notifications/batch", &many).await.expect(200).json();
    retire(&service, "hello").await;
    let again = sent("/v1/notifications", &one).await.expect(201);
    assert_eq!((&again.body, again.header("idempotent-replayed")), (&first.body, Some("true")));
    assert_eq!(sent("/v1/notifications/batch", &many).await.expect(200).json(), batch);
    assert_eq!(sent("/v1/notifications", &of("bob", "hello")).await.problem(422), "idempotency-key-reused");
    assert_eq!(service.post("/v1/notifications", &one).await.pointers(), ["/template/key"]);
    assert_eq!(service.counts("alice").await.0, 2);
}

#[tokio::test]
async fn an_arabic_number_has_its_own_form_and_nothing_marks_where_it_stands() {
    let service = Service::start().await;
    let source = "title = { $n ->\n    [zero] لا رسائل\n    [one] رسالة واحدة\n    [two] رسالتان\n    [few] { $n } رسائل من { $who }\n    [many] { $n } رسالة\n   *[other] { $n } رسالة أخرى\n}\n";
    let template = json!({"default_locale": "en", "sources": {"en": "title = { $n } of { $who }\n", "ar": source},
        "arguments": {"n": "number", "who": "string"}});
    put(&service, "/v1/templates/messages", &template).await;
    describe(&service, "alice", "ar-EG", "Africa/Cairo").await;
    let forms = [
        (0, "لا رسائل"),
        (1, "رسالة واحدة"),
        (2, "رسالتان"),
        (3, "٣ رسائل من Ada"),
        (11, "١١ رسالة"),
        (100, "١٠٠ رسالة أخرى"),
        (103, "١٠٣ رسائل من Ada"),
    ];
    for (n, words) in forms {
        let body =
            json!({"user_id": "alice", "template": {"key": "messages", "args": {"n": n, "who": "Ada"}}});
        service.create_with(&body).await;
        let title = first_title(&service, "alice").await;
        assert_eq!(title, words, "{n}: {title:?}");
        assert!(!title.contains(['\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}']));
    }
}

#[tokio::test]
async fn whoever_is_forgotten_leaves_no_words_and_no_arguments() {
    let mut service = Service::start().await;
    put(&service, "/v1/templates/invoice", &invoice()).await;
    let id = service.create_with(&of_invoice("alice", 1)).await;
    let mut sql = service.sql().await;
    sqlx::query("DELETE FROM recipient_keys WHERE recipient = 'alice'").execute(&mut sql).await.unwrap();
    service.terminate();
    service.start_again().await;
    let left = service.get(&format!("/v1/notifications/{id}")).await.expect(200).json();
    assert_eq!(told(&left), ["", "", "-"]);
    assert!(left.get("template").is_none(), "{left}");
    assert!(service.events(&format!("aggregate_id={id}")).await[0]["data"].get("content").is_none());
}

#[tokio::test]
async fn what_cannot_be_said_is_shown_by_its_key_and_the_log_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let service = Service::start_logging(&[], Some(&log)).await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let id = "ntf_019c9a0f-0000-7000-8000-00000000000a";
    let template = json!({"key": "lost.words", "version": 7, "args": {}, "action_url": "/x"});
    let payload = json!({"tenant": "default", "user_id": "alice", "content": {"template": template},
        "priority": "normal", "plan": [{"channel": "in_app"}]});
    let (name, version) = ("notification.created", "1.0.0");
    let stored = Stored { tenant: "default", user: "alice", id, sequence: 1, name, version, payload };
    stored.append(&mut service.sql().await).await;
    let shown = ["lost.words", "", "/x"].map(str::to_owned);
    assert_eq!(told(&socket.event("notification.created").await["notification"]), shown);
    for _ in 0..2 {
        assert_eq!(told(&service.get("/v1/users/alice/inbox").await.expect(200).json()["items"][0]), shown);
    }
    socket.close().await;
    let said =
        std::fs::read_to_string(&log).unwrap().lines().filter(|line| line.contains("lost.words")).count();
    assert_eq!(said, 1, "once, for all of them");
}

#[tokio::test]
async fn the_stream_of_other_services_carries_an_item_of_a_template_as_it_is_stored() {
    let service = Service::start().await;
    put(&service, "/v1/templates/hello", &says("Hello")).await;
    service.create_with(&of("alice", "hello")).await;
    let entries = service.mirrored_after("0", 2).await;
    let item: Value = serde_json::from_str(&entries[1].get::<String>("item").unwrap()).unwrap();
    assert_eq!(item["template"], json!({"key": "hello", "version": 1, "args": {}}));
    assert!(item.get("title").is_none() && item["priority"] == "normal", "{item}");
}

#[tokio::test]
async fn a_broadcast_tells_each_of_its_readers_in_his_own_language() {
    let service = Service::start().await;
    put(&service, "/v1/templates/hello", &says("Hello")).await;
    describe(&service, "alice", "de-AT", "UTC").await;
    let (mut alice, _) = Socket::of(&service, "alice").await;
    let (mut bob, _) = Socket::of(&service, "bob").await;
    let wanted = json!({"user_ids": ["alice", "bob"], "template": {"key": "hello"}});
    let first = service.post_keyed("/v1/broadcasts", &wanted, "once").await.expect(201);
    let title = async |socket: &mut Socket| {
        socket.event("notification.created").await["notification"]["title"].clone()
    };
    assert_eq!(
        (title(&mut alice).await, title(&mut bob).await),
        (json!("Hello auf Deutsch"), json!("Hello"))
    );
    alice.close().await;
    bob.close().await;
    retire(&service, "hello").await;
    let again = service.post_keyed("/v1/broadcasts", &wanted, "once").await.expect(201);
    assert_eq!(again.text("id"), first.text("id"));
    assert_eq!(service.post("/v1/broadcasts", &wanted).await.pointers(), ["/template/key"]);
}
