//! What becomes of a push: to every browser, by what each push service says.

use serde_json::{Value, json};

use super::{CHANNEL, browser, endpoints, pushed, register, service};
use crate::dispatch::{delivery, instant, names, story};
use crate::support::{Call, Endpoint, Says, Service};

/// A browser of Alice's whose push service always answers so.
async fn saying(service: &Service, status: u16) -> Endpoint {
    let endpoint = Endpoint::saying(status).await;
    register(service, &endpoint.url()).await;
    endpoint
}

fn topics(calls: &[Call]) -> Vec<&str> {
    calls.iter().map(|call| call.header("topic")).collect()
}

#[tokio::test]
async fn a_browser_that_is_no_more_is_removed_and_the_others_are_told() {
    let service = service().await;
    let gone = saying(&service, 410).await;
    let unknown = saying(&service, 404).await;
    let silent = Endpoint::start(|_, _| Says::Gated).await;
    register(&service, &silent.url()).await;
    let taken = Endpoint::start(|_, _| Says::Created("/m/7")).await;
    register(&service, &taken.url()).await;

    let id = service.create_with(&pushed()).await;
    let events = story(&service, &id, "delivery.succeeded").await;
    assert_eq!(names(&events)[1..], ["delivery.started 1", "delivery.succeeded 1"]);
    assert_eq!(events[2]["data"]["provider_ref"], "/m/7");
    assert_eq!(endpoints(&service).await, [silent.url(), taken.url()]);
    let disabled = service.events("type=recipient.address_disabled").await;
    assert_eq!((disabled.len(), &disabled[0]["data"]["channel"]), (2, &json!("web_push")));

    let next = service.create_with(&pushed()).await;
    story(&service, &next, "delivery.succeeded").await;
    let calls = [&gone, &unknown, &silent, &taken].map(|endpoint| endpoint.so_far().len());
    assert_eq!(calls, [1, 1, 2, 2], "and nobody was told twice of one");
}

#[tokio::test]
async fn where_nobody_takes_it_now_it_is_sent_again_under_the_same_topic() {
    let service = service().await;
    let busy = Endpoint::start(|number, _| match number {
        1 => Says::Busy(429, 2),
        _ => Says::Status(201),
    });
    let busy = busy.await;
    register(&service, &busy.url()).await;
    let refusing = saying(&service, 413).await;
    let id = service.create_with(&pushed()).await;
    let events = story(&service, &id, "delivery.succeeded").await;
    assert_eq!(names(&events).last().unwrap(), "delivery.succeeded 2");
    let error = &events[2]["data"]["error"];
    let told = "main: HTTP 429 Too Many Requests; main: HTTP 413 Payload Too Large";
    assert_eq!(error, &json!({"class": "transient", "detail": told}));
    let apart = instant(&events[3]["data"]["due_at"]) - instant(&events[1]["recorded_at"]);
    assert!(apart >= time::Duration::seconds(2), "it asked for two seconds: {apart}");
    let topic = id.trim_start_matches("ntf_").replace('-', "");
    assert_eq!((topic.len(), topics(&busy.so_far())), (32, vec![topic.as_str(); 2]));
    assert_eq!(refusing.so_far().len(), 2);
}

#[tokio::test]
async fn who_has_no_browser_left_is_not_reached_and_that_is_told() {
    let service = service().await;
    let id = service.create_with(&pushed()).await;
    let events = story(&service, &id, "delivery.skipped").await;
    assert_eq!(events[1]["data"]["reason"], "no_address");

    let gone = [saying(&service, 410).await, saying(&service, 404).await];
    let id = service.create_with(&pushed()).await;
    let events = story(&service, &id, "delivery.dead_lettered").await;
    assert_eq!(events[2]["data"]["error"]["class"], "gone");
    assert_eq!(gone.map(|endpoint| endpoint.so_far().len()), [1, 1]);
    assert!(endpoints(&service).await.is_empty());

    let refusing = saying(&service, 403).await;
    let id = service.create_with(&pushed()).await;
    story(&service, &id, "delivery.dead_lettered").await;
    assert_eq!(delivery(&service, &id).await["error_class"], "permanent");
    assert_eq!(refusing.so_far().len(), 1);

    service
        .send(service.request("DELETE", CHANNEL).header("x-api-key", service.root_key()))
        .await
        .expect(200);
    let id = service.create_with(&pushed()).await;
    let events = story(&service, &id, "delivery.skipped").await;
    assert_eq!(events[1]["data"]["reason"], "not_configured");
}

#[tokio::test]
async fn a_push_service_that_fails_and_fails_is_left_alone_and_holds_up_no_other() {
    let service = service().await;
    let broken = saying(&service, 503).await;
    let taken = saying(&service, 201).await;
    for _ in 0..7 {
        let id = service.create_with(&pushed()).await;
        let events = story(&service, &id, "delivery.succeeded").await;
        assert_eq!(names(&events).last().unwrap(), "delivery.succeeded 1");
    }
    assert_eq!((broken.so_far().len(), taken.so_far().len()), (5, 7), "five in a row");
    // What is left alone may take it later, so nothing is lost where the others are gone.
    let gone = Endpoint::saying(410).await;
    let profile = json!({"addresses": {"web_push": [browser(&broken.url()), browser(&gone.url())]}});
    crate::dispatch::put(&service, "/v1/users/alice", &profile).await;
    let id = service.create_with(&pushed()).await;
    gone.calls(1).await;
    let events = story(&service, &id, "delivery.retry_scheduled").await;
    assert_eq!(events[2]["data"]["error"]["class"], "transient");
}

#[tokio::test]
async fn it_is_as_urgent_as_it_is_and_kept_until_it_expires() {
    let service = service().await;
    let taken = saying(&service, 201).await;
    let mut urgent = pushed();
    urgent["priority"] = "urgent".into();
    urgent["expires_at"] = service.in_ms(3_600_000).await.into();
    let mut low = pushed();
    low["priority"] = "low".into();
    for (body, urgency, ttl) in [(urgent, "high", 3_500..=3_600), (low, "low", 604_800..=604_800)] {
        let id = service.create_with(&body).await;
        story(&service, &id, "delivery.succeeded").await;
        let calls = taken.so_far();
        let call = calls.last().unwrap();
        assert_eq!(call.header("urgency"), urgency);
        assert!(ttl.contains(&call.header("ttl").parse().unwrap()), "{}", call.header("ttl"));
        assert_eq!(call.header("content-encoding"), "aes128gcm");
    }
}

#[tokio::test]
async fn a_channel_is_tried_with_a_browser_and_nothing_else() {
    let service = service().await;
    let taken = Endpoint::start(|_, _| Says::Created("https://push.example/m/7")).await;
    let tried = async |body: Value| service.post(&format!("{CHANNEL}/test"), &body).await;
    let asked = json!({"push_subscription": browser(&taken.url())});
    let told = tried(asked.clone()).await.expect(200).json();
    assert_eq!(told, json!({"outcome": "delivered", "provider_ref": "https://push.example/m/7"}));
    let skipped = json!({"outcome": "skipped", "reason": "no_address"});
    assert_eq!(tried(json!({})).await.expect(200).json(), skipped);
    assert_eq!(tried(json!({"address": taken.url()})).await.pointers(), ["/address"]);
    let wrong = json!({"push_subscription": browser("https://eve:pw@push.example/")});
    assert_eq!(tried(wrong).await.pointers(), ["/push_subscription/endpoint"]);
    let elsewhere = service.post("/v1/channels/slack/test", &asked).await;
    assert_eq!(elsewhere.pointers(), ["/push_subscription"]);
    assert_eq!(taken.so_far().len(), 1);
}
