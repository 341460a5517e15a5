//! What a tenant says of its channels is kept: durably, its secrets sealed and shown to nobody, in its tenant, once, and refused
//! where it could not be used.

use serde_json::{Value, json};

use crate::support::{Answer, Service};

const EMAIL: &str = "/v1/channels/email";
const WEBHOOK: &str = "/v1/channels/webhook";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEXT_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

async fn put(service: &Service, path: &str, body: &Value) -> Answer {
    let request = service.request("PUT", path).header("x-api-key", service.root_key());
    service.send(request.json(body)).await
}

fn email() -> Value {
    json!({
        "providers": [{
            "name": "main",
            "smtp": {
                "host": "mail.acme.example",
                "port": 587,
                "security": "starttls",
                "username": "tidings",
                "password": "hush-hush",
                "from": "Acme <no-reply@acme.example>",
                "unsubscribe": {"url": "https://acme.example/u/{user_id}", "one_click": true},
            },
        }],
        "timeout": "20s",
        "retry": {"schedule": "exponential", "attempts_max": 5, "base": "30s", "cap": "60m"},
        "rate": {"per_second": 20},
        "semantics": "at_most_once",
    })
}

fn webhook(members: &Value) -> Value {
    json!({"providers": [{"name": "main", "webhook": members}]})
}

#[tokio::test]
async fn what_is_put_is_shown_without_its_secrets_and_there_after_a_restart() {
    let mut service = Service::start().await;
    assert_eq!(service.get("/v1/channels").await.expect(200).json(), json!({"channels": []}));
    assert_eq!(service.get(EMAIL).await.problem(404), "not-found");

    let mut shown = email();
    shown["channel"] = "email".into();
    shown["retry"]["cap"] = "1h".into();
    shown["providers"][0]["disabled"] = false.into();
    let smtp = shown["providers"][0]["smtp"].as_object_mut().unwrap();
    smtp.remove("password");
    smtp.insert("has_password".into(), true.into());
    let kept = put(&service, EMAIL, &email()).await.expect(200);
    assert_eq!(kept.json(), shown);
    assert_eq!(kept.header("tidings-cursor"), Some(service.head().await.as_str()));
    put(&service, WEBHOOK, &webhook(&json!({"url": "https://acme.example/in", "secret": SECRET})))
        .await
        .expect(200);

    service.terminate();
    service.start_again().await;
    assert_eq!(service.get(EMAIL).await.expect(200).json(), shown);
    let listed = service.get("/v1/channels").await.expect(200);
    assert_eq!(listed.json()["channels"][0], shown);
    let webhook = &listed.json()["channels"][1];
    assert_eq!((&webhook["timeout"], &webhook["semantics"]), (&json!("15s"), &json!("at_least_once")));
    assert_eq!(webhook["retry"], json!({"schedule": "standard_webhooks", "attempts_max": 10}));
    assert_eq!(webhook["providers"][0]["webhook"], json!({"url": "https://acme.example/in", "secrets": 1}));

    // Nothing tells a secret: no answer, no listing, no export, no stream, no table.
    let mut told = listed.body + &service.get("/v1/events?limit=100").await.body;
    let export = service.request("GET", "/v1/events").header("accept", "application/x-ndjson");
    told += &service.send(export.header("x-api-key", service.root_key())).await.expect(200).body;
    assert!(told.contains("settings.channel_configured") && told.contains("mail.acme.example"), "{told}");
    let stored: Vec<(String,)> =
        sqlx::query_as("SELECT payload::text FROM events").fetch_all(&mut service.sql().await).await.unwrap();
    stored.into_iter().for_each(|(text,)| told += &text);
    assert!(told.contains(r#""sealed""#), "{told}");
    for secret in ["hush-hush", SECRET, "\"secrets\":{"] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}

#[tokio::test]
async fn secrets_that_are_left_out_stay_and_one_that_is_replaced_overlaps() {
    let service = Service::start().await;
    let url = "https://acme.example/in";
    put(&service, WEBHOOK, &webhook(&json!({"url": url, "secret": SECRET}))).await.expect(200);
    let again = put(&service, WEBHOOK, &webhook(&json!({"url": url}))).await.expect(200);
    assert_eq!(service.events("type=settings.channel_configured").await.len(), 1, "nothing changed");
    assert_eq!(again.json()["providers"][0]["webhook"], json!({"url": url, "secrets": 1}));
    let rotated = json!({"url": url, "secret": NEXT_SECRET, "overlap": "2h"});
    let rotated = put(&service, WEBHOOK, &webhook(&rotated)).await.expect(200).json();
    let shown = &rotated["providers"][0]["webhook"];
    assert!(shown["secrets"] == 2 && shown["overlap_until"].is_string(), "{shown}");
    let ended = json!({"url": url, "secret": SECRET, "overlap": "0s"});
    let ended = put(&service, WEBHOOK, &webhook(&ended)).await.expect(200).json();
    assert_eq!(ended["providers"][0]["webhook"], json!({"url": url, "secrets": 1}));

    // A password is not sent to another server because the host was changed.
    put(&service, EMAIL, &email()).await.expect(200);
    let mut elsewhere = email();
    elsewhere["providers"][0]["smtp"].as_object_mut().unwrap().remove("password");
    put(&service, EMAIL, &elsewhere).await.expect(200);
    elsewhere["providers"][0]["smtp"]["host"] = "mail.eve.example".into();
    let refused = put(&service, EMAIL, &elsewhere).await;
    assert_eq!(refused.problem(422), "invalid-request");
    assert_eq!(refused.pointers(), ["/providers/0/smtp/password"]);
}

#[tokio::test]
async fn a_repetition_has_one_effect_and_removal_ends_it() {
    let service = Service::start().await;
    let keyed = |body: &Value| {
        let request = service.request("PUT", WEBHOOK).header("x-api-key", service.root_key());
        request.header("Idempotency-Key", "once").json(body)
    };
    let body = webhook(&json!({"url": "https://acme.example/in", "secret": SECRET}));
    let first = service.send(keyed(&body)).await.expect(200);
    let delete = || service.request("DELETE", WEBHOOK).header("x-api-key", service.root_key());
    assert_eq!(service.send(delete()).await.expect(200).json(), json!({"channel": "webhook"}));
    service.send(delete()).await.expect(200);
    let again = service.send(keyed(&body)).await.expect(200);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!((again.header("tidings-cursor"), &again.body), (first.header("tidings-cursor"), &first.body));
    assert_eq!(service.get(WEBHOOK).await.problem(404), "not-found", "not said again");
    let other = service.send(keyed(&webhook(&json!({"secret": NEXT_SECRET})))).await;
    assert_eq!(other.problem(422), "idempotency-key-reused");
    let events = service.events("aggregate_id=set_default").await;
    let types: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["settings.channel_configured", "settings.channel_removed"]);
    let unsigned = put(&service, WEBHOOK, &webhook(&json!({"url": "https://acme.example/in"}))).await;
    assert_eq!(unsigned.pointers(), ["/providers/0/webhook/secret"], "the secret is gone with it");
}

#[tokio::test]
async fn what_could_not_be_used_is_refused_by_its_name() {
    let service = Service::start().await;
    let smtp = |member: &str, value: Value| {
        let mut body = email();
        body["providers"][0]["smtp"][member] = value;
        (EMAIL, body, format!("/providers/0/smtp/{member}"))
    };
    let hook = |member: &str, value: &str| {
        let mut members = json!({"url": "https://acme.example/in", "secret": SECRET});
        members[member] = value.into();
        (WEBHOOK, webhook(&members), format!("/providers/0/webhook/{member}"))
    };
    let channel = |member: &str, value: Value, pointer: &str| {
        let mut body = email();
        body[member] = value;
        (EMAIL, body, pointer.to_owned())
    };
    let retry = |base: &str, cap: &str| json!({"schedule": "exponential", "attempts_max": 3, "base": base, "cap": cap});
    let cases = [
        smtp("host", json!("mail acme.example")),
        smtp("host", json!("mail.acme.example:25")),
        smtp("host", json!("mail.acme.example/x")),
        smtp("host", json!("127.0.0.1")),
        smtp("host", json!("::ffff:10.0.0.1")),
        smtp("port", json!(65_536)),
        smtp("security", json!("ssl")),
        smtp("username", json!("a\r\nRCPT TO:<eve@b.example>")),
        smtp("from", json!("no-reply")),
        smtp("from", json!("Acme <a@b.example>\r\nBcc: eve@b.example")),
        smtp("reply_to", json!("a@b.example\nX: y")),
        smtp("tls_ca", json!("not a certificate")),
        hook("url", "http://acme.example/in"),
        hook("url", "https://169.254.169.254/latest"),
        hook("url", "https://[::1]/"),
        hook("url", "https://2130706433/"),
        hook("url", "https://eve:pw@acme.example/"),
        hook("url", "ftp://acme.example/"),
        hook("secret", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        hook("secret", "whsec_dG9vIHNob3J0"),
        hook("secret", "whsec_!"),
        hook("overlap", "8d"),
        channel("timeout", json!("2m"), "/timeout"),
        channel("timeout", json!("soon"), "/timeout"),
        channel("rate", json!({"per_second": 0}), "/rate/per_second"),
        channel("retry", retry("2h", "1h"), "/retry/base"),
        channel("retry", retry("1s", "8d"), "/retry/cap"),
        channel("retry", json!({"schedule": "exponential", "attempts_max": 3}), "/retry/base"),
        channel("retry", json!({"schedule": "standard_webhooks", "cap": "1h"}), "/retry/cap"),
        channel("providers", json!([]), "/providers"),
        channel("providers", json!([{"name": "Main", "slack": {}}]), "/providers/0/name"),
        channel("providers", json!([{"name": "main"}]), "/providers/0"),
        channel("providers", json!([{"name": "main", "slack": {}, "webhook": {}}]), "/providers/0"),
        channel("providers", json!([{"name": "main", "slack": {}}]), "/providers/0/slack"),
        channel("fallback", json!(true), "/fallback"),
    ];
    let mut wrong = Vec::new();
    for (path, body, pointer) in cases {
        let answer = put(&service, path, &body).await;
        let named = answer.status == 422 && answer.pointers() == [pointer.clone()];
        if !named {
            wrong.push(format!("{pointer} of {body}: {}", answer.body));
        }
    }
    let mut unsubscribe = email();
    unsubscribe["providers"][0]["smtp"]["unsubscribe"]["url"] = "https://acme.example/{email}".into();
    let answer = put(&service, EMAIL, &unsubscribe).await;
    assert_eq!(answer.pointers(), ["/providers/0/smtp/unsubscribe/url"]);
    // Also where nothing would be sent.
    for (member, length) in [("title", 0), ("title", 1_001), ("address", 0), ("address", 2_049)] {
        let body = Value::Object([(member.to_owned(), "x".repeat(length).into())].into_iter().collect());
        let answer = service.post("/v1/channels/slack/test", &body).await;
        assert_eq!((answer.status, answer.pointers()), (422, vec![format!("/{member}")]), "{length}");
    }
    for name in ["in_app", "fax", "EMAIL"] {
        let answer = put(&service, &format!("/v1/channels/{name}"), &email()).await;
        assert_eq!(answer.problem(400), "malformed-request");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(service.events("").await.len(), 0);
}

#[tokio::test]
async fn nothing_crosses_from_one_tenant_to_another() {
    let service = Service::start().await;
    put(&service, EMAIL, &email()).await.expect(200);
    let acme = service.key_with(json!({"name": "acme", "tenant": "acme", "scopes": ["admin"]})).await;
    assert_eq!(service.send(service.by(&acme, "GET", EMAIL)).await.problem(404), "not-found");
    service.send(service.by(&acme, "DELETE", EMAIL)).await.expect(200);
    service.get(EMAIL).await.expect(200);
}
