//! Who registers a browser, what of it is kept, and what is refused.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{CHANNEL, SUBSCRIPTIONS, browser, channel, endpoints, register, service, shown};
use crate::dispatch::put;
use crate::support::{Answer, Service};

const ALICE: &str = "/v1/users/alice";

fn at(number: usize) -> String {
    format!("https://push.example/{number}")
}

fn removal(endpoint: &str) -> String {
    format!("{SUBSCRIPTIONS}?endpoint={endpoint}")
}

async fn post(service: &Service, token: &str, body: &Value) -> Answer {
    service.send(service.as_user(token, "POST", SUBSCRIPTIONS).json(body)).await
}

async fn delete(service: &Service, token: &str, endpoint: &str) -> Answer {
    service.send(service.as_user(token, "DELETE", &removal(endpoint))).await
}

#[tokio::test]
async fn a_browser_comes_and_goes_by_its_own_user_s_word_and_is_nobody_else_s_business() {
    let service = service().await;
    let [alice, bob] = ["alice", "bob"].map(|user| service.token(user));
    let kept = post(&service, &alice, &browser(&at(1))).await.expect(200);
    assert_eq!(kept.json(), json!({"user_id": "alice", "endpoint": at(1)}));
    assert_eq!(kept.header("tidings-cursor"), Some(service.head().await.as_str()));
    post(&service, &alice, &browser(&at(1))).await.expect(200);
    assert_eq!(service.events("type=recipient.profile_changed").await.len(), 1, "said once");

    assert_eq!(post(&service, &bob, &browser(&at(2))).await.problem(403), "forbidden");
    assert_eq!(delete(&service, &bob, &at(1)).await.problem(403), "forbidden");
    let seen = service.send(service.as_user(&alice, "GET", ALICE)).await;
    assert_eq!(seen.problem(403), "forbidden", "addresses are for services");
    for (scope, status) in [("notifications:write", 200), ("inbox:write", 403), ("notifications:read", 403)] {
        let key = service.key(&[scope]).await;
        let request = service.by(&key, "POST", SUBSCRIPTIONS).json(&browser(&at(2)));
        service.send(request).await.expect(status);
    }
    let profile = service.get(ALICE).await.expect(200).json();
    assert_eq!(profile["addresses"], json!({"web_push": [shown(&at(1)), shown(&at(2))]}));

    let stored: Vec<(String,)> =
        sqlx::query_as("SELECT payload::text FROM events").fetch_all(&mut service.sql().await).await.unwrap();
    let stored: String = stored.into_iter().map(|(text,)| text).collect();
    for secret in ["push.example", "BCVxsr7N", "private_key"] {
        assert!(!stored.contains(secret), "{secret} in {stored}");
    }

    let gone = delete(&service, &alice, &at(1)).await.expect(200);
    assert_eq!(gone.json(), json!({"user_id": "alice", "endpoint": at(1)}));
    assert_eq!(endpoints(&service).await, [at(2)]);
    let keyed = |number: usize| {
        let request = service.as_user(&alice, "DELETE", &removal(&at(number)));
        service.send(request.header("Idempotency-Key", "once"))
    };
    keyed(1).await.expect(200);
    assert_eq!(keyed(1).await.expect(200).header("idempotent-replayed"), Some("true"));
    assert_eq!(keyed(2).await.problem(422), "idempotency-key-reused", "another was meant");
}

#[tokio::test]
async fn ten_at_once_are_all_there_and_the_eleventh_takes_the_place_of_the_oldest() {
    let service = service().await;
    futures_util::future::join_all((1..=10).map(|number| {
        let service = &service;
        async move { register(service, &at(number)).await }
    }))
    .await;
    let there = endpoints(&service).await;
    assert_eq!(there.iter().collect::<BTreeSet<_>>().len(), 10, "{there:?}");
    register(&service, &at(11)).await;
    let others = [&there[1..], &[at(11)]].concat();
    assert_eq!(endpoints(&service).await, others);
    let mut renewed = browser(&others[0]);
    renewed["keys"]["auth"] = "AAAAAAAAAAAAAAAAAAAAAA".into();
    post(&service, &service.token("alice"), &renewed).await.expect(200);
    let profile = service.get(ALICE).await.json();
    let browsers = profile["addresses"]["web_push"].as_array().unwrap();
    assert_eq!((browsers.len(), &browsers[9]["keys"]), (10, &renewed["keys"]), "of one endpoint");
}

#[tokio::test]
async fn a_profile_is_replaced_around_browsers_that_it_does_not_name() {
    let service = service().await;
    register(&service, &at(1)).await;
    let keyed = |key: &str, body: Value| {
        let request = service.request("PUT", ALICE).header("x-api-key", service.root_key());
        service.send(request.header("Idempotency-Key", key.to_owned()).json(&body))
    };
    let of_mail = json!({"addresses": {"email": "alice@clinic.example"}});
    let first = keyed("once", of_mail.clone()).await.expect(200);
    let both = json!({"email": "alice@clinic.example", "web_push": [shown(&at(1))]});
    assert_eq!(first.json()["addresses"], both);
    register(&service, &at(2)).await;
    assert_eq!(keyed("once", of_mail).await.expect(200).body, first.body, "as it was");
    put(&service, ALICE, &json!({"addresses": {"web_push": [browser(&at(3))]}})).await;
    assert_eq!(endpoints(&service).await, [at(3)]);
    put(&service, ALICE, &json!({})).await;
    assert_eq!(endpoints(&service).await, [at(3)]);
    put(&service, ALICE, &json!({"addresses": {"web_push": []}})).await;
    assert_eq!(service.get(ALICE).await.json(), json!({"user_id": "alice", "addresses": {}}));
}

#[tokio::test]
async fn what_is_no_browser_is_refused_by_its_name() {
    let service = Service::start().await;
    let token = service.token("alice");
    let with = |pointer: &str, value: Value| {
        let mut body = browser(&at(1));
        *body.pointer_mut(pointer).unwrap() = value;
        (body, pointer.to_owned())
    };
    let good = browser("")["keys"]["p256dh"].as_str().unwrap().to_owned();
    let off_the_curve = good.replace("Aiw4", "Aiw8");
    let mut cases = vec![
        with("/endpoint", json!("push.example/1")),
        with("/endpoint", json!("")),
        with("/endpoint", json!("http://push.example/1")),
        with("/endpoint", json!("https://127.0.0.1/1")),
        with("/endpoint", json!("https://eve:pw@push.example/1")),
        with("/endpoint", json!(format!("https://push.example/{}", "x".repeat(2_048)))),
        with("/expirationTime", json!("soon")),
        with("/keys/p256dh", json!(off_the_curve)),
        with("/keys/p256dh", json!(format!("{good}="))),
        with("/keys/p256dh", json!("BTBZMqHH6r4Tts7J_aSIgg")),
        with("/keys/p256dh", json!(format!("{}!", &good[..86]))),
        with("/keys/auth", json!("BTBZMqHH6r4Tts7J_aSI")),
        with("/keys/auth", json!(good)),
    ];
    for missing in ["endpoint", "keys"] {
        let mut body = browser(&at(1));
        body.as_object_mut().unwrap().remove(missing);
        cases.push((body, format!("/{missing}")));
    }
    let mut odd = browser(&at(1));
    odd["p256dh"] = "x".into();
    cases.push((odd, "/p256dh".into()));
    let mut wrong = Vec::new();
    for (body, pointer) in cases {
        let told = post(&service, &token, &body).await;
        let inside = format!("/addresses/web_push/1{pointer}");
        let request = service.request("PUT", ALICE).header("x-api-key", service.root_key());
        let profile = json!({"addresses": {"web_push": [browser(&at(2)), body]}});
        let put = service.send(request.json(&profile)).await;
        for (answer, pointer) in [(told, pointer), (put, inside)] {
            if (answer.status, answer.pointers()) != (422, vec![pointer]) {
                wrong.push(format!("{body}: {}", answer.body));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for browsers in [(0..11).map(|number| browser(&at(number))).collect::<Vec<_>>(), vec![browser(&at(1)); 2]]
    {
        let request = service.request("PUT", ALICE).header("x-api-key", service.root_key());
        let answer = service.send(request.json(&json!({"addresses": {"web_push": browsers}}))).await;
        assert_eq!((answer.status, answer.pointers()), (422, vec!["/addresses/web_push".to_owned()]));
    }
    let request = service.as_user(&token, "DELETE", SUBSCRIPTIONS);
    assert_eq!(service.send(request).await.problem(400), "malformed-request");
    assert_eq!(service.events("").await.len(), 0);
}

#[tokio::test]
async fn a_tenant_s_key_is_made_once_and_stays_until_another_is_named() {
    let service = Service::start().await;
    let token = service.token("alice");
    let key = async |token: &str| {
        service.send(service.as_user(token, "GET", "/v1/push_key")).await.expect(200).json()
    };
    assert_eq!(key(&token).await, json!({}), "nobody has set it up");
    let configure = async |members: Value| {
        let request = service.request("PUT", CHANNEL).header("x-api-key", service.root_key());
        service.send(request.json(&channel(&members))).await
    };
    let made = configure(json!({})).await.expect(200).json()["providers"][0]["web_push"].clone();
    assert_eq!(made["public_key"].as_str().unwrap().len(), 87);
    let again = configure(json!({"subject": "https://acme.example/contact"})).await.expect(200).json();
    assert_eq!(again["providers"][0]["web_push"]["public_key"], made["public_key"]);
    assert_eq!(service.get(CHANNEL).await.expect(200).json(), again);
    assert_eq!(key(&token).await, json!({"public_key": made["public_key"]}));
    assert_eq!(key(&service.token_of("acme", "alice")).await, json!({}), "another tenant has another");

    // RFC 8291, section 5: the keys of the application server.
    configure(json!({"private_key": "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"})).await.expect(200);
    let public = "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8";
    configure(json!({})).await.expect(200);
    assert_eq!(key(&token).await, json!({"public_key": public}));

    for (member, value) in [
        ("subject", "ops@acme.example"),
        ("subject", "mailto:nobody"),
        ("subject", "http://acme.example"),
        ("private_key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ("private_key", "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ"),
    ] {
        let answer = configure(json!({member: value})).await;
        let pointer = format!("/providers/0/web_push/{member}");
        assert_eq!((answer.status, answer.pointers()), (422, vec![pointer]), "{value}");
    }
    let mut two = channel(&json!({}));
    let other = json!({"name": "other", "web_push": {"subject": "mailto:ops@acme.example"}});
    two["providers"].as_array_mut().unwrap().push(other);
    let request = service.request("PUT", CHANNEL).header("x-api-key", service.root_key());
    assert_eq!(service.send(request.json(&two)).await.pointers(), ["/providers"]);
}
