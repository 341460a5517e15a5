//! Hooks that are not believed, in one way; and hooks that nothing can be made of, which are recorded.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::Executor;

use super::{
    SECRET, Signed, configure, deliveries, github, github_as, hex_mac, issue, posting, put, send, source,
    titles,
};
use crate::support::Service;

#[tokio::test]
async fn a_hook_that_is_not_signed_is_refused_as_one_to_nobody_is() {
    let service = Service::start().await;
    configure(&service, "github", &json!({})).await.expect(200);
    let theirs = json!({"name": "theirs", "tenant": "acme", "scopes": ["admin"]});
    let theirs = service.key_with(theirs).await;
    let of_acme = json!({"secrets": ["a secret that acme has"]});
    let put = service.by(&theirs, "PUT", "/v1/sources/github").json(&source(&of_acme));
    assert_eq!(service.send(put).await.expect(200).text("path"), "/v1/hooks/acme:github");

    let body = issue("alice");
    let unsigned = || Signed { headers: vec![("x-github-delivery", "1".into())], body: issue("alice") };
    let mut words = Vec::new();
    let began = Instant::now();
    for (path, hook) in [
        ("/v1/hooks/github", github_as("1", "another secret of nobody", &body)),
        ("/v1/hooks/github", unsigned()),
        ("/v1/hooks/acme:github", github(&body)),
        ("/v1/hooks/github", github_as("1", "a secret that acme has", &body)),
        ("/v1/hooks/nobody", github(&body)),
        ("/v1/hooks/nobody:github", github(&body)),
        ("/v1/hooks/default:github", github(&body)),
        ("/v1/hooks/acme:github:x", github(&body)),
        ("/v1/hooks/GitHub", github(&body)),
        ("/v1/hooks/%00", unsigned()),
        (
            "/v1/hooks/nobody",
            Signed { headers: vec![("stripe-signature", "t=1,v1=00".into())], body: body.clone() },
        ),
        ("/v1/hooks/nobody", Signed { headers: vec![("webhook-id", "1".into())], body: "no JSON".into() }),
        ("/v1/hooks/github", Signed { headers: vec![("webhook-id", "1".into())], body: "no JSON".into() }),
    ] {
        let answer = send(&service, path, hook).await;
        assert_eq!(answer.problem(401), "unauthorized");
        words.push(answer.body);
    }
    assert!(began.elapsed() >= Duration::from_millis(100) * words.len() as u32, "each at its time");
    words.dedup();
    assert_eq!(words.len(), 1, "{words:?}");
    let altered = Signed { body: issue("bob"), ..github(&body) };
    assert_eq!(send(&service, "/v1/hooks/github", altered).await.problem(401), "unauthorized");
    assert!(service.events("type=notification.created").await.is_empty());
    assert!(deliveries(&service, "github").await.is_empty(), "what is not signed leaves nothing behind");

    let answer =
        send(&service, "/v1/hooks/acme:github", github_as("1", "a secret that acme has", &body)).await;
    answer.expect(201);
    assert!(titles(&service, "alice").await.is_empty(), "that is acme's Alice");
}

#[tokio::test]
async fn a_hook_that_nothing_can_be_made_of_is_told_and_recorded_and_may_come_again() {
    let service = Service::start().await;
    configure(&service, "github", &json!({"mapping": {"priority": "payload.priority"}})).await.expect(200);
    let mut expected: Vec<(String, String)> = Vec::new();
    let with = |members: Value| {
        let mut hook: Value = serde_json::from_str(&issue("alice")).unwrap();
        hook["priority"] = json!("high");
        hook.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        hook.to_string()
    };
    for (number, (body, pointer, detail)) in [
        (json!({}).to_string(), "/user_id", "there is no such member"),
        (with(json!({"issue": {"title": 5, "number": 1}})), "/title", "must be a string, not int"),
        (with(json!({"issue": {"title": "", "number": 1}})), "/title", "1 to 1,000 characters"),
        (
            with(json!({"issue": {"title": "a\u{0}b", "number": 1}})),
            "/title",
            "is not what a notification may have",
        ),
        (with(json!({"priority": "hunter2"})), "/priority", "is not what a notification may have"),
        (with(json!({"assignee": {"login": ""}})), "/user_id", "256"),
        ("[]".to_owned(), "/user_id", ""),
        ("{".to_owned(), "", "the body is not JSON"),
    ]
    .into_iter()
    .enumerate()
    {
        let hook = github_as(&number.to_string(), SECRET, &body);
        let refused = send(&service, "/v1/hooks/github", hook).await;
        assert_eq!(refused.problem(422), "invalid-request", "{body}");
        assert_eq!(refused.pointers(), [pointer], "{body}: {refused:?}");
        assert!(refused.text("detail").contains(detail), "{body}: {refused:?}");
        assert!(!refused.body.contains("hunter2"));
        expected.insert(0, (number.to_string(), pointer.to_owned()));
    }
    let seen = deliveries(&service, "github").await;
    let failed = seen.iter().map(|it| {
        assert_eq!((&it["outcome"], it["reason"].is_string()), (&json!("failed"), true), "{it}");
        let text = |member: &str| it[member].as_str().unwrap_or_default().to_owned();
        (text("delivery_id"), text("pointer"))
    });
    assert_eq!(failed.collect::<Vec<_>>(), expected);
    let events = service.events("type=hook.failed").await;
    assert_eq!((events.len(), &events[0]["metadata"]["actor"]), (expected.len(), &json!("source:github")));
    assert!(!json!(events).to_string().contains("hunter2"), "the log has nothing of what it said");
    assert!(service.events("type=notification.created").await.is_empty());
    // With another mapping it is another matter.
    configure(&service, "github", &json!({"mapping": {"user_id": "'alice'", "title": "'Hi'", "body": "''"}}))
        .await
        .expect(200);
    send(&service, "/v1/hooks/github", github_as("0", SECRET, "{}")).await.expect(201);
    assert_eq!(deliveries(&service, "github").await[0]["outcome"], "accepted");
    let page = service.get("/v1/sources/github/deliveries?limit=5").await.expect(200).json();
    let path = format!("/v1/sources/github/deliveries?before={}", page["next"].as_str().unwrap());
    let rest = service.get(&path).await.expect(200).json();
    let length = |page: &Value| page["deliveries"].as_array().unwrap().len();
    assert_eq!((length(&page), length(&rest), &rest["next"]), (5, expected.len() + 1 - 5, &Value::Null));
}

#[tokio::test]
async fn a_delivery_without_an_id_is_refused_and_recorded() {
    let service = Service::start().await;
    configure(&service, "github", &json!({})).await.expect(200);
    let mut hook = github(&issue("alice"));
    hook.headers.retain(|(name, _)| *name != "x-github-delivery");
    assert_eq!(send(&service, "/v1/hooks/github", hook).await.problem(422), "invalid-request");
    let secret = "whsec_test_secret_of_stripe";
    configure(&service, "payments", &json!({"scheme": "stripe", "secrets": [secret]})).await.expect(200);
    for body in ["{}", r#"{"id":5}"#, r#"{"id":""}"#, r#"{"id":"a\nb"}"#, "[]"] {
        let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let mac = hex_mac(secret.as_bytes(), &format!("{at}.{body}"));
        let headers = vec![("stripe-signature", format!("t={at},v1={mac}"))];
        let answer = send(&service, "/v1/hooks/payments", Signed { headers, body: body.into() }).await;
        assert_eq!(answer.problem(422), "invalid-request", "{body}");
    }
    assert_eq!(
        (deliveries(&service, "github").await.len(), deliveries(&service, "payments").await.len()),
        (1, 5)
    );
}

#[tokio::test]
async fn a_hook_may_bring_the_arguments_of_a_template_and_is_told_which_of_them_is_wrong() {
    let service = Service::start().await;
    let template = json!({
        "default_locale": "en",
        "sources": {"en": "title = Issue { $number }\nbody = { $of }\n"},
        "arguments": {"number": "number", "of": "string"},
    });
    let put_template = service.request("PUT", "/v1/templates/issue").header("x-api-key", service.root_key());
    service.send(put_template.json(&template)).await.expect(200);
    let with = |number: &str| {
        let args = json!({"number": number, "of": "payload.repository.full_name"});
        let mut it = source(&json!({"mapping": {"template": "issue", "args": args}}));
        let mapping = it["mapping"].as_object_mut().unwrap();
        mapping.retain(|name, _| !["title", "body"].contains(&name.as_str()));
        it
    };
    let payload = json!({
        "assignee": {"login": "alice"}, "issue": {"number": 42}, "repository": {"full_name": "example/bell"},
    });
    for (number, pointer) in [("'42'", "/args/number"), ("payload.issue.numbr", "/args/number")] {
        put(&service, "github", &with(number)).await.expect(200);
        let refused =
            send(&service, "/v1/hooks/github", github_as(number, SECRET, &payload.to_string())).await;
        assert_eq!(
            (refused.problem(422).as_str(), refused.pointers()),
            ("invalid-request", vec![pointer.into()])
        );
    }
    let kept = put(&service, "github", &with("payload.issue.number")).await.expect(200).json();
    assert_eq!((&kept["mapping"]["template"], &kept["mapping"]["title"]), (&json!("issue"), &Value::Null));
    send(&service, "/v1/hooks/github", github_as("made", SECRET, &payload.to_string())).await.expect(201);
    let item = &service.inbox("alice", "").await["items"][0];
    assert_eq!((&item["title"], &item["body"]), (&json!("Issue 42"), &json!("example/bell")));
}

#[tokio::test]
async fn what_the_mapping_passes_over_is_ignored_and_seen() {
    let service = Service::start().await;
    let when =
        json!({"mapping": {"when": "headers['x-github-event'] == 'issues' && payload.action == 'assigned'"}});
    configure(&service, "github", &when).await.expect(200);
    let opened = json!({"action": "opened"}).to_string();
    for _ in 0..2 {
        let ignored = send(&service, "/v1/hooks/github", github(&opened)).await.expect(200);
        assert_eq!(
            (&ignored.json()["ignored"], &ignored.json()["notifications"]),
            (&json!(true), &json!([]))
        );
    }
    send(&service, "/v1/hooks/github", github(&issue("alice"))).await.expect(201);
    let seen = deliveries(&service, "github").await;
    let outcomes: Vec<&Value> = seen.iter().map(|it| &it["outcome"]).collect();
    assert_eq!(outcomes, [&json!("accepted"), &json!("ignored"), &json!("ignored")]);
}

#[tokio::test]
async fn a_body_that_is_no_json_or_too_large_is_refused_before_anybody_looks_at_it() {
    let service = Service::start().await;
    configure(&service, "github", &json!({})).await.expect(200);
    for path in ["/v1/hooks/github", "/v1/hooks/nobody"] {
        let form = service.request("POST", path).header("content-type", "application/x-www-form-urlencoded");
        let form = form.header("x-hub-signature-256", "sha256=00").body("payload=%7B%7D");
        assert_eq!(service.send(form).await.problem(415), "unsupported-media-type");
        let large = json!({"it": "x".repeat(256 << 10)}).to_string();
        // The connection ends with what was not read of it.
        let large = posting(&service, path, github(&large)).header("connection", "close");
        assert_eq!(service.send(large).await.problem(413), "payload-too-large");
        let unknown = format!("{path}?tenant=acme");
        assert_eq!(send(&service, &unknown, github("{}")).await.problem(400), "malformed-request");
    }
    // What just fits is looked at.
    let mut fits: Value = serde_json::from_str(&issue("alice")).unwrap();
    fits["it"] = json!("x".repeat(250 << 10));
    send(&service, "/v1/hooks/github", github(&fits.to_string())).await.expect(201);
}

/// What is remembered of a source needs no look at the log.
#[tokio::test]
async fn made_up_names_push_no_source_out_of_memory() {
    let service = Service::start().await;
    configure(&service, "github", &json!({})).await.expect(200);
    let first = send(&service, "/v1/hooks/github", github(&issue("alice"))).await.expect(201);
    for hundred in 0..13 {
        let made_up = (0..100).map(async |n| {
            let path = format!("/v1/hooks/made-up-{hundred}-{n}");
            send(&service, &path, github("{}")).await.problem(401)
        });
        join_all(made_up).await;
        // By now no news of the source itself is on its way, which would have it read anew.
        if hundred == 1 {
            send(&service, "/v1/hooks/github", github(&issue("alice"))).await.expect(201);
        }
    }
    let mut sql = service.sql().await;
    sql.execute("BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let again = send(&service, "/v1/hooks/github", github(&issue("alice"))).await.expect(201);
    assert_eq!(again.json(), first.json());
    sql.execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn hooks_whose_mapping_must_wait_too_long_are_told_to_come_again() {
    let service = Service::start().await;
    let slow = "payload.l.all(a, payload.l.all(b, payload.l.all(c, payload.l.all(d, true)))) ? 'a' : 'b'";
    configure(&service, "github", &json!({"mapping": {"title": slow}})).await.expect(200);
    let body = json!({"l": vec![1; 200], "assignee": {"login": "alice"}, "issue": {"number": 1}}).to_string();
    let hooks = (0..60).map(|n| {
        let hook = github_as(&format!("delivery-{n}"), SECRET, &body);
        send(&service, "/v1/hooks/github", hook)
    });
    let mut busy = 0;
    for answer in join_all(hooks).await {
        if answer.status == 503 {
            assert_eq!((answer.problem(503), answer.header("retry-after")), ("busy".into(), Some("1")));
            busy += 1;
        } else {
            answer.expect(422);
        }
    }
    assert!((1..60).contains(&busy), "{busy}");
}
