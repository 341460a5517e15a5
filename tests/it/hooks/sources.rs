//! Sources: configured, looked at without their secrets, tried, listed and removed; and refused with the place of what is wrong.

use serde_json::{Value, json};

use super::{SECRET, configure, github, issue, put, send, source};
use crate::support::{Answer, Service};

const GITHUB: &str = "/v1/sources/github";

async fn remove(service: &Service, path: &str) -> Answer {
    service.send(service.request("DELETE", path).header("x-api-key", service.root_key())).await
}

#[tokio::test]
async fn a_source_is_shown_as_it_was_said_but_never_its_secrets() {
    let mut service = Service::start().await;
    assert_eq!(service.get(GITHUB).await.problem(404), "not-found");
    let members = json!({"tolerance": "90s", "requests_per_second": 5, "burst": 9});
    let first = configure(&service, "github", &members).await.expect(200);
    let expected = json!({
        "source": "github", "path": "/v1/hooks/github", "scheme": "github", "secrets": 1, "tolerance": "90s",
        "mapping": source(&json!({}))["mapping"], "requests_per_second": 5, "burst": 9,
    });
    assert_eq!(first.json(), expected);
    configure(&service, "github", &members).await.expect(200);
    assert_eq!(service.events("").await.len(), 1, "it says so already");
    service.terminate();
    service.start_again().await;
    assert_eq!(service.get(GITHUB).await.expect(200).json(), expected);
    send(&service, "/v1/hooks/github", github(&issue("alice"))).await.expect(201);

    let mut sql = service.sql().await;
    let stored: Vec<(String,)> =
        sqlx::query_as("SELECT payload::text FROM events").fetch_all(&mut sql).await.unwrap();
    let listed = json!(service.events("").await).to_string();
    assert!(listed.contains("source.configured") && listed.contains("hook.accepted"));
    for text in stored.iter().map(|(text,)| text).chain([&listed, &first.body]) {
        assert!(!text.contains("Secret to Everybody"), "{text}");
    }
    assert_eq!(service.events("aggregate_id=src_7:defaultgithub").await.len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_source_is_refused_with_its_place() {
    let service = Service::start().await;
    let nested = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    for (members, pointer) in [
        (json!({"mapping": {"title": "payload."}}), "/mapping/title"),
        (json!({"mapping": {"title": "paylod.title"}}), "/mapping/title"),
        (json!({"mapping": {"title": "payload.title.matches('(a+)+$')"}}), "/mapping/title"),
        (json!({"mapping": {"when": nested}}), "/mapping/when"),
        (json!({"mapping": {"tags": "x".repeat(2_001)}}), "/mapping/tags"),
        (json!({"mapping": {"title": null}}), "/mapping/title"),
        (json!({"mapping": {"colour": "'red'"}}), "/mapping/colour"),
        (json!({"mapping": {"template": "issue"}}), "/mapping/title"),
        (json!({"mapping": {"args": {"n": "1"}}}), "/mapping/args"),
        (json!({"mapping": {"template": "two words", "title": null, "body": null}}), "/mapping/template"),
        (json!({"mapping": {"user_id": 5}}), "/mapping/user_id"),
        (json!({"scheme": "gitlab"}), "/scheme"),
        (json!({"secrets": []}), "/secrets"),
        (json!({"secrets": [SECRET, SECRET, SECRET]}), "/secrets"),
        (json!({"secrets": ["short"]}), "/secrets/0"),
        (json!({"secrets": [SECRET, ""]}), "/secrets/1"),
        (json!({"scheme": "standard_webhooks"}), "/secrets/0"),
        (json!({"secrets": null}), "/secrets"),
        (json!({"tolerance": "0s"}), "/tolerance"),
        (json!({"tolerance": "2h"}), "/tolerance"),
        (json!({"tolerance": "1500ms"}), "/tolerance"),
        (json!({"tolerance": "soon"}), "/tolerance"),
        (json!({"requests_per_second": 0}), "/requests_per_second"),
        (json!({"burst": 5}), "/burst"),
        (json!({"more": 1}), "/more"),
    ] {
        let answer = configure(&service, "github", &members).await;
        assert_eq!(answer.problem(422), "invalid-request", "{members}");
        assert_eq!(answer.pointers(), [pointer], "{members}: {answer:?}");
    }
    let two = json!({"mapping": {"title": "payload.a +", "body": "\n  nobody"}});
    let answer = configure(&service, "github", &two).await;
    assert_eq!(answer.pointers(), ["/mapping/title", "/mapping/body"]);
    assert!(answer.text("detail").contains("line 2, column 3"), "{answer:?}");
    for name in ["GitHub", "a.b", "a:b", &"n".repeat(64)] {
        assert_eq!(configure(&service, name, &json!({})).await.problem(400), "malformed-request", "{name}");
    }
    assert!(service.events("").await.is_empty());
}

#[tokio::test]
async fn a_source_that_is_removed_is_deaf_and_forgets_its_secrets_but_not_its_deliveries() {
    let service = Service::start().await;
    assert_eq!(remove(&service, GITHUB).await.problem(404), "not-found");
    configure(&service, "github", &json!({})).await.expect(200);
    send(&service, "/v1/hooks/github", github(&issue("alice"))).await.expect(201);
    for _ in 0..2 {
        remove(&service, GITHUB).await.expect(200);
    }
    assert_eq!(service.get(GITHUB).await.problem(404), "not-found");
    assert_eq!(
        send(&service, "/v1/hooks/github", github(&issue("alice"))).await.problem(401),
        "unauthorized"
    );
    let mut without = source(&json!({}));
    without.as_object_mut().unwrap().shift_remove("secrets");
    let answer = put(&service, "github", &without).await;
    assert_eq!((answer.problem(422), answer.pointers()), ("invalid-request".into(), vec!["/secrets".into()]));
    configure(&service, "github", &json!({})).await.expect(200);
    let again = send(&service, "/v1/hooks/github", github(&issue("alice"))).await.expect(201);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
}

#[tokio::test]
async fn sources_are_listed_by_name_page_by_page_and_by_tenant() {
    let service = Service::start().await;
    for name in ["c", "a", "b_2", "b", "b-1"] {
        configure(&service, name, &json!({})).await.expect(200);
    }
    remove(&service, "/v1/sources/b").await.expect(200);
    let theirs = json!({"name": "theirs", "tenant": "defaults", "scopes": ["admin"]});
    let theirs = service.key_with(theirs).await;
    service.send(service.by(&theirs, "PUT", "/v1/sources/z").json(&source(&json!({})))).await.expect(200);
    let (mut seen, mut path) = (Vec::new(), "/v1/sources?limit=2".to_owned());
    loop {
        let page = service.get(&path).await.expect(200).json();
        let sources = page["sources"].as_array().unwrap().iter();
        seen.extend(sources.map(|it| it["source"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/sources?limit=2&after={next}");
    }
    assert_eq!(seen, ["a", "b-1", "b_2", "c"]);
    let of_theirs = service.send(service.by(&theirs, "GET", "/v1/sources")).await.expect(200).json();
    assert_eq!(of_theirs["sources"][0]["path"], "/v1/hooks/defaults:z");
}

#[tokio::test]
async fn a_preview_shows_what_would_be_made_and_makes_nothing() {
    let service = Service::start().await;
    let members = json!({"mapping": {"when": "headers['x-github-event'] == 'issues'", "tags": "[source]"}});
    configure(&service, "github", &members).await.expect(200);
    let preview = async |headers: Value, payload: Value| {
        service.post(&format!("{GITHUB}/preview"), &json!({"headers": headers, "payload": payload})).await
    };
    let payload: Value = serde_json::from_str(&issue("alice")).unwrap();
    let made = preview(json!({"X-GitHub-Event": "issues"}), payload.clone()).await.expect(200).json();
    let content = json!({"title": "The bell does not ring", "body": "#42"});
    let expected = json!({"user_id": "alice", "tags": ["github"], "content": content});
    assert_eq!(made, json!({"ignored": false, "notifications": [expected]}));
    let passed = preview(json!({"x-github-event": "push"}), payload.clone()).await.expect(200).json();
    assert_eq!(passed, json!({"ignored": true, "notifications": []}));
    let refused = preview(json!({"x-github-event": "issues"}), json!({})).await;
    assert_eq!(
        (refused.problem(422), refused.pointers()),
        ("invalid-request".into(), vec!["/user_id".into()])
    );
    // What proves who sent it is no mapping's to see.
    let refused = preview(json!({"authorization": "Bearer x"}), payload).await;
    assert_eq!(refused.pointers(), ["/when"]);
    let unknown = service.post("/v1/sources/none/preview", &json!({"payload": {}})).await;
    assert_eq!(unknown.problem(404), "not-found");
    assert_eq!(service.events("").await.len(), 1);
}
