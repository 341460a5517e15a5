//! Each scheme as its senders speak it: believed when it is right, once for each delivery, and by nobody else's secret.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{
    Signed, configure, deliveries, github, github_as, hex_mac, issue, posting, put, send, source, titles,
};
use crate::generated_clients::{Python, missing};
use crate::support::Service;

const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn standard(id: &str, at: u64, secret: &str, body: &str) -> Signed {
    let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mac = hex::decode(hex_mac(&key, &format!("{id}.{at}.{body}"))).unwrap();
    signed_standard(id, at, &format!("v1,{}", BASE64.encode(mac)), body)
}

fn signed_standard(id: &str, at: u64, signature: &str, body: &str) -> Signed {
    let headers = vec![
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", at.to_string()),
        ("webhook-signature", signature.to_owned()),
    ];
    Signed { headers, body: body.to_owned() }
}

fn stripe(at: u64, secret: &str, body: &str) -> Signed {
    let mac = hex_mac(secret.as_bytes(), &format!("{at}.{body}"));
    Signed { headers: vec![("stripe-signature", format!("t={at},v1={mac},v0=00"))], body: body.to_owned() }
}

fn standard_source() -> Value {
    source(&json!({"scheme": "standard_webhooks", "secrets": [STANDARD_SECRET]}))
}

#[tokio::test]
async fn a_hook_of_github_makes_a_notification_once_whoever_asks_again() {
    let mut service = Service::start().await;
    let configured = configure(&service, "github", &json!({})).await.expect(200);
    assert_eq!(configured.text("path"), "/v1/hooks/github");
    let first = send(&service, "/v1/hooks/github", github(&issue("alice"))).await.expect(201);
    let (id, cursor) = (first.json()["notifications"][0]["id"].clone(), first.text("cursor"));
    assert_eq!(
        (first.header("tidings-cursor"), &first.json()["ignored"]),
        (Some(cursor.as_str()), &json!(false))
    );
    assert_eq!(titles(&service, "alice").await, ["The bell does not ring"]);
    // In other words, and after a crash: it is the same delivery.
    for body in [issue("alice"), issue("bob")] {
        let again = send(&service, "/v1/hooks/github", github(&body)).await.expect(201);
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.json(), first.json());
        service.kill();
        service.start_again().await;
    }
    assert!(titles(&service, "bob").await.is_empty());
    assert_eq!(titles(&service, "alice").await.len(), 1);
    let seen = deliveries(&service, "github").await;
    assert_eq!((seen.len(), &seen[0]["outcome"], &seen[0]["notifications"][0]), (1, &json!("accepted"), &id));
    let created = &service.events("type=notification.created").await[0];
    assert_eq!(created["metadata"]["actor"], "source:github");
    // Its name is not signed: the same under another is the same.
    let replay = github_as("replay", SECRET_OF_GITHUB, &issue("alice"));
    let replayed = send(&service, "/v1/hooks/github", replay).await.expect(201);
    assert_eq!((replayed.header("idempotent-replayed"), replayed.json()), (Some("true"), first.json()));
    let another = github_as("another", SECRET_OF_GITHUB, &issue("alice").replace("42", "43"));
    send(&service, "/v1/hooks/github", another).await.expect(201);
    assert_eq!(titles(&service, "alice").await.len(), 2);
}

const SECRET_OF_GITHUB: &str = super::SECRET;

#[tokio::test]
async fn deliveries_that_race_have_one_effect() {
    let service = Service::start().await;
    configure(&service, "github", &json!({"mapping": {"user_id": "['alice', 'bob', 'alice']"}}))
        .await
        .expect(200);
    let hooks = (0..20).map(|_| send(&service, "/v1/hooks/github", github(&issue("nobody"))));
    let answers = futures_util::future::join_all(hooks).await;
    let first = answers[0].json();
    assert_eq!(first["notifications"].as_array().unwrap().len(), 2, "{first}");
    let mut fresh = 0;
    for answer in answers {
        fresh += usize::from(answer.header("idempotent-replayed").is_none());
        assert_eq!(answer.expect(201).json(), first);
    }
    assert_eq!(fresh, 1);
    for user in ["alice", "bob"] {
        assert_eq!(titles(&service, user).await.len(), 1, "{user}");
    }
    assert_eq!(deliveries(&service, "github").await.len(), 1);
    assert_eq!(service.events("").await.len(), 4, "the source, two notifications, and what became of it");
}

#[tokio::test]
async fn the_official_package_of_standard_webhooks_is_believed() {
    let Some(python) = Python::find() else { return missing("standardwebhooks") };
    let service = Service::start().await;
    put(&service, "billing", &standard_source()).await.expect(200);
    let script = "import sys, datetime; from standardwebhooks.webhooks import Webhook; \
                  at = datetime.datetime.fromtimestamp(int(sys.argv[3]), datetime.timezone.utc); \
                  print(Webhook(sys.argv[1]).sign(sys.argv[2], at, sys.argv[4]))";
    let (id, at, body) = ("msg_1", now(), issue("alice"));
    let mut signing = python.program("python");
    let output = signing.args(["-c", script, STANDARD_SECRET, id, &at.to_string(), &body]).output().unwrap();
    let signature = String::from_utf8(output.stdout).unwrap();
    let by_package = || signed_standard(id, at, signature.trim(), &body);
    let answer = send(&service, "/v1/hooks/billing", by_package()).await.expect(201);
    assert_eq!(answer.header("idempotent-replayed"), None);
    let again = send(&service, "/v1/hooks/billing", by_package()).await.expect(201);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(titles(&service, "alice").await.len(), 1);
}

#[tokio::test]
async fn a_timestamp_that_is_not_around_now_is_refused_even_with_the_right_signature() {
    let service = Service::start().await;
    put(&service, "billing", &standard_source()).await.expect(200);
    let mut strict = source(&json!({"scheme": "stripe", "secrets": [STRIPE_SECRET], "tolerance": "1m"}));
    strict["mapping"]["user_id"] = json!("payload.user");
    strict["mapping"]["title"] = json!("payload.type");
    strict["mapping"]["body"] = json!("payload.id");
    put(&service, "payments", &strict).await.expect(200);
    let (body, event) = (issue("alice"), json!({"id": "evt_1", "type": "paid", "user": "alice"}).to_string());
    for at in [now() - 400, now() + 400] {
        let refused =
            send(&service, "/v1/hooks/billing", standard("msg_1", at, STANDARD_SECRET, &body)).await;
        assert_eq!(refused.problem(401), "unauthorized");
        assert!(refused.text("detail").contains("not made around now"), "{refused:?}");
        let refused = send(&service, "/v1/hooks/payments", stripe(at, STRIPE_SECRET, &event)).await;
        assert_eq!(refused.problem(401), "unauthorized");
    }
    send(&service, "/v1/hooks/billing", standard("msg_1", now() - 200, STANDARD_SECRET, &body))
        .await
        .expect(201);
    let stale = send(&service, "/v1/hooks/payments", stripe(now() - 200, STRIPE_SECRET, &event)).await;
    assert_eq!(stale.problem(401), "unauthorized", "its tolerance is a minute");
    // Stripe sends an event again with another timestamp, and so with another signature.
    for (at, replayed) in [(now() - 30, None), (now(), Some("true"))] {
        let paid = send(&service, "/v1/hooks/payments", stripe(at, STRIPE_SECRET, &event)).await.expect(201);
        assert_eq!(paid.header("idempotent-replayed"), replayed);
    }
    assert_eq!(titles(&service, "alice").await, ["paid", "The bell does not ring"]);
}

const STRIPE_SECRET: &str = "whsec_test_secret_of_stripe";

#[tokio::test]
async fn a_secret_is_rotated_while_hooks_come() {
    let service = Service::start().await;
    let (old, new) = ("the old secret, 26 letters", "the new secret, 26 letters");
    configure(&service, "github", &json!({"secrets": [old]})).await.expect(200);
    let delivered = async |number: u32, secret: &str| {
        let hook = github_as(&number.to_string(), secret, &issue("alice"));
        send(&service, "/v1/hooks/github", hook).await.status
    };
    assert_eq!((delivered(1, old).await, delivered(2, new).await), (201, 401));
    configure(&service, "github", &json!({"secrets": [new, old]})).await.expect(200);
    assert_eq!((delivered(3, old).await, delivered(4, new).await), (201, 201));
    configure(&service, "github", &json!({"secrets": [new]})).await.expect(200);
    assert_eq!((delivered(5, old).await, delivered(6, new).await), (401, 201));
    let mut kept = source(&json!({"mapping": {"title": "'kept'"}}));
    kept.as_object_mut().unwrap().shift_remove("secrets");
    put(&service, "github", &kept).await.expect(200);
    assert_eq!((delivered(7, old).await, delivered(8, new).await), (401, 201));
}

#[tokio::test]
async fn a_source_that_sends_too_much_is_told_when_to_come_back() {
    let service = Service::start().await;
    configure(&service, "github", &json!({"requests_per_second": 1, "burst": 2})).await.expect(200);
    for number in 0..2 {
        let hook = github_as(&number.to_string(), super::SECRET, &issue("alice"));
        let answer = send(&service, "/v1/hooks/github", hook).await.expect(201);
        assert!(answer.header("ratelimit").is_some(), "{answer:?}");
    }
    // What is not signed uses nothing up, and is not told.
    for _ in 0..3 {
        let forged = github_as("9", "another secret of nobody", &issue("alice"));
        let answer = send(&service, "/v1/hooks/github", forged).await;
        assert_eq!((answer.problem(401), answer.header("ratelimit")), ("unauthorized".into(), None));
    }
    let mut limited = None;
    for number in 2..20 {
        let hook = github_as(&number.to_string(), super::SECRET, &issue("alice"));
        let answer = service.send(posting(&service, "/v1/hooks/github", hook)).await;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.expect("a burst is over at some time");
    assert_eq!(limited.problem(429), "rate-limited");
    assert_eq!(limited.header("retry-after"), Some("1"));
}
