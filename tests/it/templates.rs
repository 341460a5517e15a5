//! Templates: published version by version, kept for ever, refused with the place of what is wrong, and shown as a reader
//! would see them.

use serde_json::{Value, json};

use crate::support::{Answer, Service};

const INVOICE: &str = "/v1/templates/invoice.ready";

async fn send(service: &Service, method: &str, path: &str, body: &Value) -> Answer {
    let request = service.request(method, path).header("x-api-key", service.root_key());
    service.send(if body.is_null() { request } else { request.json(body) }).await
}

async fn publish(service: &Service, path: &str, body: &Value) -> Answer {
    send(service, "PUT", path, body).await
}

fn invoice() -> Value {
    json!({
        "default_locale": "en",
        "sources": {
            "en": "title = { $count ->\n    [one] One invoice\n   *[other] { $count } invoices\n}\nemail-html = <p>{ $who }</p>\n",
            "de": "title = { $count ->\n    [one] Eine Rechnung\n   *[other] { $count } Rechnungen\n}\nemail-html = <p>{ $who }</p>\n",
        },
        "arguments": {"count": "number", "who": "string"},
    })
}

fn hello() -> Value {
    json!({"default_locale": "en", "sources": {"en": "title = Hello\n"}})
}

#[tokio::test]
async fn versions_are_counted_kept_and_there_after_a_restart() {
    let mut service = Service::start().await;
    let first = publish(&service, INVOICE, &invoice()).await.expect(200);
    assert_eq!(first.header("tidings-cursor"), Some(service.head().await.as_str()));
    let shown = first.json();
    assert_eq!(
        (&shown["version"], &shown["retired"], &shown["key"]),
        (&json!(1), &json!(false), &json!("invoice.ready"))
    );
    assert_eq!((&shown["sources"], &shown["arguments"]), (&invoice()["sources"], &invoice()["arguments"]));
    assert_eq!(
        publish(&service, INVOICE, &invoice()).await.expect(200).json()["version"],
        1,
        "it says so already"
    );
    assert_eq!(publish(&service, INVOICE, &hello()).await.expect(200).json()["version"], 2);
    assert_eq!(service.events("").await.len(), 2);

    service.terminate();
    service.start_again().await;
    assert_eq!(service.get(INVOICE).await.expect(200).json()["sources"], hello()["sources"]);
    assert_eq!(service.get(&format!("{INVOICE}?version=1")).await.expect(200).json(), shown);
    for missing in ["?version=3", "?version=0"] {
        assert_eq!(service.get(&format!("{INVOICE}{missing}")).await.problem(404), "not-found");
    }
    assert_eq!(service.get("/v1/templates/none").await.problem(404), "not-found");
    assert_eq!(service.get("/v1/templates/Invoice").await.problem(400), "malformed-request");
    let of_it = service.events("aggregate_id=tpl_7:defaultinvoice.ready").await;
    assert_eq!(of_it.len(), 2);
}

#[tokio::test]
async fn what_is_retired_stays_to_be_seen_and_begins_anew_when_it_is_published() {
    let service = Service::start().await;
    assert_eq!(send(&service, "DELETE", INVOICE, &Value::Null).await.problem(404), "not-found");
    publish(&service, INVOICE, &hello()).await.expect(200);
    for _ in 0..2 {
        let retired = send(&service, "DELETE", INVOICE, &Value::Null).await.expect(200).json();
        assert_eq!((&retired["retired"], &retired["version"]), (&json!(true), &json!(1)));
    }
    assert_eq!(service.get(INVOICE).await.expect(200).json()["retired"], true);
    let again = publish(&service, INVOICE, &hello()).await.expect(200).json();
    assert_eq!((&again["retired"], &again["version"]), (&json!(false), &json!(2)));
    assert_eq!(service.events("").await.len(), 3);
}

#[tokio::test]
async fn templates_are_listed_by_key_page_by_page_and_by_tenant() {
    let service = Service::start().await;
    for key in ["c", "a", "b.2", "b", "b-1"] {
        publish(&service, &format!("/v1/templates/{key}"), &hello()).await.expect(200);
    }
    publish(&service, "/v1/templates/a", &invoice()).await.expect(200);
    send(&service, "DELETE", "/v1/templates/b", &Value::Null).await.expect(200);
    let theirs = json!({"name": "theirs", "tenant": "defaults", "scopes": ["admin"]});
    let theirs = service.key_with(theirs).await;
    service.send(service.by(&theirs, "PUT", "/v1/templates/z").json(&hello())).await.expect(200);

    let (mut seen, mut path) = (Vec::new(), "/v1/templates?limit=2".to_owned());
    loop {
        let page = service.get(&path).await.expect(200).json();
        let templates = page["templates"].as_array().unwrap();
        assert!(templates.len() <= 2);
        seen.extend(
            templates.iter().map(|it| (it["key"].as_str().unwrap().to_owned(), it["retired"] == true)),
        );
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/templates?limit=2&after={next}");
    }
    let expected = [("a", false), ("b", true), ("b-1", false), ("b.2", false), ("c", false)];
    assert_eq!(seen, expected.map(|(key, retired)| (key.to_owned(), retired)));
    let of_theirs = service.send(service.by(&theirs, "GET", "/v1/templates")).await.expect(200).json();
    assert_eq!(of_theirs, json!({"templates": [{"key": "z", "retired": false}], "next": null}));
    assert_eq!(service.send(service.by(&theirs, "GET", "/v1/templates/a")).await.problem(404), "not-found");
}

#[tokio::test]
async fn a_preview_is_what_a_reader_would_see_of_a_version_or_a_draft() {
    let service = Service::start().await;
    publish(&service, INVOICE, &invoice()).await.expect(200);
    publish(&service, INVOICE, &hello()).await.expect(200);
    let preview = format!("{INVOICE}/preview");
    let asked = json!({"version": 1, "locale": "de-AT", "args": {"count": 1_200, "who": "<O'Hara>"}});
    let seen = service.post(&preview, &asked).await.expect(200).json();
    let parts = json!({"title": "1\u{a0}200 Rechnungen", "email-html": "<p>&lt;O&#39;Hara&gt;</p>"});
    assert_eq!(seen, json!({"locale": "de", "parts": parts}));
    let latest = service.post(&preview, &json!({})).await.expect(200).json();
    assert_eq!(latest, json!({"locale": "en", "parts": {"title": "Hello"}}));
    let draft = json!({"draft": {"default_locale": "ar", "sources": {"ar": "title = { $n ->\n    [few] قليل\n   *[other] كثير\n}\n"}, "arguments": {"n": "number"}}, "args": {"n": 103}});
    let seen = service.post("/v1/templates/unborn/preview", &draft).await.expect(200).json();
    assert_eq!(seen["parts"]["title"], "قليل");
    let due = json!({"draft": {"default_locale": "en", "sources": {"en": "title = { DATETIME($at, timeStyle: \"short\") }\n"}, "arguments": {"at": "date"}},
        "args": {"at": "2026-07-01T10:30:00Z"}, "time_zone": "Asia/Kolkata"});
    let seen = service.post(&preview, &due).await.expect(200).json();
    assert_eq!(seen["parts"]["title"].as_str().unwrap().replace('\u{202f}', " "), "4:00 PM");
    assert_eq!(service.events("").await.len(), 2, "nothing is recorded");

    for (body, status, pointer) in [
        (json!({"version": 1, "args": {"count": 1}}), 422, "/args/who"),
        (json!({"version": 1, "args": {"count": "1", "who": "x"}}), 422, "/args/count"),
        (json!({"args": {"extra": 1}}), 422, "/args/extra"),
        (json!({"locale": "!"}), 422, "/locale"),
        (json!({"time_zone": "Mars/Base"}), 422, "/time_zone"),
        (json!({"version": 1, "draft": hello()}), 422, "/version"),
        (
            json!({"draft": {"default_locale": "en", "sources": {"en": "title = { $x }\n"}}}),
            422,
            "/draft/sources/en",
        ),
    ] {
        let answer = service.post(&preview, &body).await;
        assert_eq!(
            (answer.status, answer.pointers()),
            (status, vec![pointer.to_owned()]),
            "{body}: {answer:?}"
        );
    }
    assert_eq!(service.post(&preview, &json!({"version": 9})).await.problem(404), "not-found");
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_its_place_all_of_it_and_changes_nothing() {
    let service = Service::start().await;
    let with = |source: &str| json!({"default_locale": "en", "sources": {"en": source}, "arguments": {"n": "number"}});
    let long = format!("title = {}\n", "x".repeat(33 << 10));
    // Whoever follows it to its end has no stack left.
    let deep = format!("title = {}\n", "{".repeat(30_000));
    let cases = [
        (with("title = Hi\nbody = { $n \n"), "/sources/en", "line 3, column 1: "),
        (with("title = { $m }\n"), "/sources/en", "line 1, column 11: `$m` is no argument of this template"),
        (with("body = Hi\n"), "/sources/en", "line 1, column 1: `title` is missing: every template has one"),
        (with("title = { title }\n"), "/sources/en", "line 1, column 1: `title` contains itself"),
        (with("title = { LINK($n) }\n"), "/sources/en", "line 1, column 11: `LINK` is no function"),
        (
            with("title = { DATETIME($n) }\n"),
            "/sources/en",
            "line 1, column 20: `DATETIME` takes a date, and `$n`",
        ),
        (
            with("title = { -t }\n-t = { $n }\n"),
            "/sources/en",
            "line 1, column 11: `$n` is not passed to `-t`",
        ),
        (
            with("title = a\naction-url = javascript:b\n"),
            "/sources/en",
            "line 2, column 1: `action-url` must not",
        ),
        (with(&long), "/sources/en", "must have at most 32 KiB"),
        (with(&deep), "/sources/en", "line 1, column 1009: there are more than 1000 brackets"),
        (
            json!({"default_locale": "de", "sources": {"en": "title = Hi\n"}}),
            "/sources",
            "must have one of the default locale",
        ),
        (json!({"default_locale": "de!", "sources": {}}), "/default_locale", "must be a language tag"),
        (
            json!({"default_locale": "en", "sources": {"en": "title = a\n", "x!": "title = b\n"}}),
            "/sources/x!",
            "must be a language tag",
        ),
        (
            json!({"default_locale": "en", "sources": {"en": "title = a\n", "EN": "title = b\n"}}),
            "/sources/en",
            "is the locale of another source",
        ),
        (
            json!({"default_locale": "en", "sources": {"en": "title = a\n"}, "arguments": {"1": "string"}}),
            "/arguments/1",
            "must be a letter",
        ),
        (
            json!({"default_locale": "en", "sources": {"en": "title = a\n"}, "arguments": {"n": "float"}}),
            "/arguments/n",
            "unknown variant",
        ),
        (json!({"sources": {"en": "title = a\n"}}), "/default_locale", "missing field"),
    ];
    let mut wrong = Vec::new();
    for (body, pointer, detail) in cases {
        let answer = publish(&service, INVOICE, &body).await;
        let told = answer.json()["errors"][0]["detail"].as_str().unwrap_or_default().to_owned();
        let named = answer.pointers().iter().any(|it| it == pointer);
        if answer.status != 422 || !named || !told.starts_with(detail) {
            wrong.push(format!("{pointer} {detail}: {}", answer.body));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let two = json!({"default_locale": "en", "sources": {"en": "title = { $x }\nbody = b\n", "de": "title = { $y }\n"}});
    assert_eq!(
        publish(&service, INVOICE, &two).await.pointers().len(),
        3,
        "all that is wrong is told at once"
    );
    assert_eq!(service.events("").await.len(), 0);
}

#[tokio::test]
async fn a_repetition_has_one_effect() {
    let service = Service::start().await;
    let keyed = |body: Value| {
        let put = service.request("PUT", INVOICE).header("x-api-key", service.root_key());
        let put = put.header("Idempotency-Key", "once").json(&body);
        async { service.send(put).await }
    };
    let first = keyed(invoice()).await.expect(200);
    publish(&service, INVOICE, &hello()).await.expect(200);
    let again = keyed(invoice()).await.expect(200);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!((again.header("tidings-cursor"), &again.body), (first.header("tidings-cursor"), &first.body));
    assert_eq!(service.events("").await.len(), 2, "it is not published again");
    assert_eq!(keyed(hello()).await.problem(422), "idempotency-key-reused");
}
