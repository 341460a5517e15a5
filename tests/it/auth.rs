//! Who may do what: services with a key, users with a token, and nobody across tenants.

use serde_json::{Value, json};

use crate::support::{Answer, LONG_AGO, NEVER, Service, Stored, note, signed, unsigned};

const MARKS: [&str; 5] = ["read", "unread", "seen", "archive", "unarchive"];
const INBOX: &str = "/v1/users/alice/inbox";

async fn with_token(service: &Service, token: &str) -> Answer {
    service.send(service.as_user(token, "GET", INBOX)).await
}

#[tokio::test]
async fn without_good_credentials_every_route_answers_401() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    let mut routes = vec![
        ("POST", "/v1/notifications".to_owned()),
        ("POST", "/v1/notifications/batch".into()),
        ("GET", format!("/v1/notifications/{id}")),
        ("GET", INBOX.into()),
        ("GET", format!("{INBOX}/counts")),
        ("GET", format!("{INBOX}/stream")),
        ("GET", "/v1/events".into()),
    ];
    let words = MARKS.iter().chain(&["cancel", "deliver", "retry"]);
    routes.extend(words.map(|word| ("POST", format!("/v1/notifications/{id}/{word}"))));
    let mut sql = service.sql().await;
    let stored = service.stored(&mut sql).await;
    for (method, path) in routes {
        let bare = service.request(method, &path);
        let unknown = service.request(method, &path).header("x-api-key", "k".repeat(64));
        let basic = service.request(method, &path).header("authorization", "Basic YTpi");
        for request in [bare, unknown, basic] {
            let answer = service.send(request).await;
            assert_eq!(answer.problem(401), "unauthorized", "{method} {path}");
            assert!(answer.header("www-authenticate").is_some(), "RFC 9110, section 11.6.1");
        }
    }
    assert_eq!(service.stored(&mut sql).await, stored);
}

#[tokio::test]
async fn a_token_that_is_expired_unsigned_or_incomplete_is_refused() {
    let service = Service::start().await;
    let secret = service.jwt_secret();
    let good = json!({"sub": "alice", "exp": NEVER});
    with_token(&service, &signed(&secret, &good)).await.expect(200);
    let foreign_audience = json!({"sub": "alice", "exp": NEVER, "aud": "elsewhere", "iss": "somebody"});
    with_token(&service, &signed(&secret, &foreign_audience)).await.expect(200);

    let by_secret = |claims| signed(&secret, &claims);
    for (why, token) in [
        ("expired", by_secret(json!({"sub": "alice", "exp": LONG_AGO}))),
        ("not valid yet", by_secret(json!({"sub": "alice", "exp": NEVER, "nbf": NEVER - 1}))),
        ("no exp", by_secret(json!({"sub": "alice"}))),
        ("no sub", by_secret(json!({"exp": NEVER}))),
        ("an empty sub", by_secret(json!({"sub": "", "exp": NEVER}))),
        ("a sub that is no text", by_secret(json!({"sub": 7, "exp": NEVER}))),
        ("a sub with U+0000", by_secret(json!({"sub": "a\u{0}b", "exp": NEVER}))),
        ("a tenant that is none", by_secret(json!({"sub": "alice", "exp": NEVER, "tenant": "No Tenant"}))),
        ("a wrong secret", signed("another secret of thirty-two bytes", &good)),
        ("alg none", unsigned(&json!({"alg": "none", "typ": "JWT"}), &good)),
        ("alg nOnE", unsigned(&json!({"alg": "nOnE"}), &good)),
        ("no alg", unsigned(&json!({}), &good)),
        ("HS512 by the same secret", {
            let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS512);
            let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
            jsonwebtoken::encode(&header, &good, &key).unwrap()
        }),
        ("a cut signature", signed(&secret, &good).rsplit_once('.').unwrap().0.to_owned() + "."),
        ("garbage", "not.a.token".into()),
        ("nothing", String::new()),
    ] {
        let answer = with_token(&service, &token).await;
        assert_eq!(answer.problem(401), "unauthorized", "{why}");
        assert!(!answer.body.contains(&secret), "{why}");
    }
    // A key that is shown is the one that counts.
    let both = service.as_user(&signed(&secret, &good), "GET", INBOX).header("x-api-key", "unknown");
    assert_eq!(service.send(both).await.problem(401), "unauthorized");
}

#[tokio::test]
async fn audience_and_issuer_are_checked_where_they_are_configured() {
    let secret = "a secret of at least thirty-two bytes";
    let settings =
        [("TIDINGS_JWT_SECRET", secret), ("TIDINGS_JWT_AUDIENCE", "tidings"), ("TIDINGS_JWT_ISSUER", "idp")];
    let service = Service::start_with(&settings).await;
    let claims = |aud: Value, iss: Value| json!({"sub": "alice", "exp": NEVER, "aud": aud, "iss": iss});
    for good in [claims("tidings".into(), "idp".into()), claims(json!(["web", "tidings"]), "idp".into())] {
        with_token(&service, &signed(secret, &good)).await.expect(200);
    }
    for bad in [
        claims("elsewhere".into(), "idp".into()),
        claims("tidings".into(), "somebody".into()),
        claims(json!([]), "idp".into()),
        json!({"sub": "alice", "exp": NEVER}),
        json!({"sub": "alice", "exp": NEVER, "aud": "tidings"}),
    ] {
        assert_eq!(with_token(&service, &signed(secret, &bad)).await.problem(401), "unauthorized", "{bad}");
    }
}

#[tokio::test]
async fn a_user_reads_and_marks_his_own_inbox_and_nothing_else() {
    let service = Service::start().await;
    let (alices, bobs) = (service.create("alice").await, service.create("bob").await);
    let token = service.token("alice");
    let done = service.done().unwrap();
    let ask = async |method: &str, path: &str| {
        let request = service.as_user(&token, method, path).header("tidings-min-cursor", &done);
        service.send(request).await
    };
    assert_eq!(ask("GET", INBOX).await.expect(200).json()["items"][0]["id"], alices);
    ask("GET", &format!("{INBOX}/counts")).await.expect(200);
    for word in MARKS {
        ask("POST", &format!("/v1/notifications/{alices}/{word}")).await.expect(200);
    }

    let mut sql = service.sql().await;
    let stored = service.stored(&mut sql).await;
    for path in ["/v1/users/bob/inbox", "/v1/users/bob/inbox/counts", "/v1/users/bob/inbox/stream"] {
        assert_eq!(ask("GET", path).await.problem(403), "forbidden", "{path}");
    }
    for word in MARKS {
        let answer = ask("POST", &format!("/v1/notifications/{bobs}/{word}")).await;
        assert_eq!(answer.problem(404), "not-found", "{word}");
    }
    // What only a service may do is refused before anything is looked at, a body included.
    for (method, path) in [
        ("POST", "/v1/notifications".to_owned()),
        ("POST", "/v1/notifications/batch".into()),
        ("GET", "/v1/notifications?user_id=alice".into()),
        ("GET", format!("/v1/notifications/{alices}")),
        ("POST", format!("/v1/notifications/{alices}/cancel")),
        ("POST", format!("/v1/notifications/{alices}/deliver")),
        ("POST", format!("/v1/notifications/{alices}/retry")),
        ("GET", "/v1/events".into()),
    ] {
        assert_eq!(ask(method, &path).await.problem(403), "forbidden", "{method} {path}");
    }
    assert_eq!(service.stored(&mut sql).await, stored);
    assert_eq!(service.counts("bob").await, (1, 1));
}

#[tokio::test]
async fn nothing_crosses_from_one_tenant_to_another() {
    let service = Service::start().await;
    let ours = service.create("alice").await;
    let mut sql = service.sql().await;
    let theirs = "ntf_01890a5d-ac96-774b-bcce-b302099a8057";
    let mut payload = note("alice");
    payload["tenant"] = "acme".into();
    payload["priority"] = "normal".into();
    payload["plan"] = json!([{"channel": "in_app"}]);
    let created = Stored {
        tenant: "acme",
        user: "alice",
        id: theirs,
        sequence: 1,
        name: "notification.created",
        version: "1.0.0",
        payload,
    };
    let cursor = created.append(&mut sql).await;
    let stored = service.stored(&mut sql).await;

    // The service of `default` does not find it, whatever it asks for.
    assert_eq!(service.get(&format!("/v1/notifications/{theirs}")).await.problem(404), "not-found");
    for word in MARKS.iter().chain(&["cancel", "retry"]) {
        let answer = service.post(&format!("/v1/notifications/{theirs}/{word}"), &Value::Null).await;
        assert_eq!(answer.problem(404), "not-found", "{word}");
    }
    let outcome = json!({"channel": "in_app", "outcome": "delivered"});
    let answer = service.post(&format!("/v1/notifications/{theirs}/deliver"), &outcome).await;
    assert_eq!(answer.problem(404), "not-found");
    assert_eq!(service.events(&format!("aggregate_id={theirs}")).await, [Value::Null; 0]);
    assert_eq!(service.events("").await.len(), 1);

    // Nor does another tenant's Alice find ours, in the same words.
    let token = service.token_of("acme", "alice");
    for word in MARKS {
        let request = service.as_user(&token, "POST", &format!("/v1/notifications/{ours}/{word}"));
        assert_eq!(service.send(request).await.problem(404), "not-found", "{word}");
    }
    assert_eq!(service.stored(&mut sql).await, stored);

    // Two inboxes of one name.
    let request = service.as_user(&token, "GET", INBOX).header("tidings-min-cursor", &cursor);
    let page = service.send(request).await.expect(200).json();
    assert_eq!(
        (&page["items"][0]["id"], &page["items"][1], &page["unread"]),
        (&theirs.into(), &Value::Null, &1.into())
    );
    let page = service.inbox("alice", "").await;
    assert_eq!(
        (&page["items"][0]["id"], &page["items"][1], &page["unread"]),
        (&ours.into(), &Value::Null, &1.into())
    );
    let read = service.as_user(&token, "POST", &format!("/v1/notifications/{theirs}/read"));
    service.send(read).await.expect(200);
    assert_eq!(service.counts("alice").await, (1, 1), "ours is as unread as before");
}
