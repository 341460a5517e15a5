//! What recipients want, and when: switched off, asleep, read meanwhile, cancelled.

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::{by_webhook, delivery, instant, names, put, reach, service, service_with, story};
use crate::support::{Endpoint, Says, Stored};

/// Quiet hours around this instant, in UTC.
fn night(around: OffsetDateTime) -> Value {
    let clock = |at: OffsetDateTime| format!("{:02}:{:02}", at.hour(), at.minute());
    json!({"quiet_hours": {"from": clock(around - Duration::HOUR), "to": clock(around + Duration::HOUR)}})
}

#[tokio::test]
async fn a_channel_that_is_switched_off_is_skipped() {
    let service = service().await;
    let endpoint = Endpoint::saying(200).await;
    reach(&service, "alice", &endpoint).await;
    let off = json!({"categories": {"marketing": {"webhook": false}}});
    put(&service, "/v1/users/alice/preferences", &off).await;
    let mut marketing = by_webhook("alice");
    marketing["category"] = "marketing".into();
    let unwanted = service.create_with(&marketing).await;
    let events = story(&service, &unwanted, "delivery.skipped").await;
    assert_eq!(events[1]["data"]["reason"], "preference");
    let wanted = service.create_with(&by_webhook("alice")).await;
    story(&service, &wanted, "delivery.succeeded").await;
    assert_eq!(endpoint.so_far().len(), 1);
}

#[tokio::test]
async fn who_is_asleep_is_not_called_before_the_morning() {
    let service = service().await;
    let endpoint = Endpoint::saying(200).await;
    reach(&service, "alice", &endpoint).await;
    let now = instant(&service.in_ms(0).await.into());
    put(&service, "/v1/users/alice/preferences", &night(now)).await;
    let id = service.create_with(&by_webhook("alice")).await;
    let events = story(&service, &id, "delivery.deferred").await;
    assert_eq!(names(&events), ["notification.created", "delivery.deferred 1"]);
    assert_eq!(events[1]["data"]["reason"], "quiet_hours");
    let due_at = instant(&events[1]["data"]["due_at"]);
    assert!(due_at > now + Duration::minutes(58) && due_at <= now + Duration::HOUR, "{due_at}");
    let stands = delivery(&service, &id).await;
    assert_eq!((&stands["status"], instant(&stands["due_at"])), (&"scheduled".into(), due_at));

    let mut brief = by_webhook("alice");
    brief["expires_at"] = (now + Duration::minutes(30)).format(&Rfc3339).unwrap().into();
    let id = service.create_with(&brief).await;
    let events = story(&service, &id, "delivery.skipped").await;
    assert_eq!(events[1]["data"]["reason"], "quiet_hours");
    assert!(endpoint.so_far().is_empty(), "nobody was called");
}

#[tokio::test]
async fn what_is_critical_passes_preferences_and_quiet_hours() {
    let service = service().await;
    let endpoint = Endpoint::saying(200).await;
    reach(&service, "alice", &endpoint).await;
    let now = instant(&service.in_ms(0).await.into());
    let mut wishes = night(now);
    wishes["channels"] = json!({"webhook": false});
    put(&service, "/v1/users/alice/preferences", &wishes).await;
    put(&service, "/v1/categories/alarms", &json!({"critical": true})).await;
    let mut alarm = by_webhook("alice");
    alarm["category"] = "alarms".into();
    let id = service.create_with(&alarm).await;
    story(&service, &id, "delivery.succeeded").await;
}

#[tokio::test]
async fn a_cancel_beats_what_has_not_begun_and_waits_for_what_has() {
    let service = service_with(&[("TIDINGS_DISPATCH_CONCURRENCY", "1")]).await;
    let endpoint =
        Endpoint::start(|number, _| if number == 1 { Says::Gated } else { Says::Status(200) }).await;
    reach(&service, "alice", &endpoint).await;
    let under_way = service.create_with(&by_webhook("alice")).await;
    endpoint.calls(1).await;
    // There is one place, and that is taken.
    let waiting = service.create_with(&by_webhook("alice")).await;
    for id in [&under_way, &waiting] {
        service.mark(id, "cancel").await;
    }
    endpoint.open();
    let events = story(&service, &under_way, "delivery.succeeded").await;
    assert_eq!(names(&events)[2..], ["notification.cancelled", "delivery.succeeded 1"]);
    let last = service.create_with(&by_webhook("alice")).await;
    story(&service, &last, "delivery.succeeded").await;
    assert_eq!(delivery(&service, &waiting).await["status"], "cancelled");
    assert_eq!(endpoint.so_far().len(), 2);
}

#[tokio::test]
async fn a_template_is_sent_in_the_words_of_its_reader() {
    let service = service().await;
    let endpoint = Endpoint::saying(200).await;
    let profile = json!({"locale": "de-AT", "addresses": {"webhook": endpoint.url()}});
    put(&service, "/v1/users/alice", &profile).await;
    let template = json!({
        "default_locale": "en",
        "sources": {"en": "title = Your invoice is ready\n", "de": "title = Ihre Rechnung ist da\n"},
    });
    put(&service, "/v1/templates/invoice", &template).await;
    let body = json!({
        "user_id": "alice", "template": {"key": "invoice"}, "plan": [{"channel": "webhook"}],
    });
    let id = service.create_with(&body).await;
    story(&service, &id, "delivery.succeeded").await;
    assert!(endpoint.so_far()[0].body.contains("Ihre Rechnung ist da"), "{:?}", endpoint.so_far());
}

#[tokio::test]
async fn what_goes_out_at_most_once_is_not_sent_again_after_the_night() {
    let service = service().await;
    let smtp = json!({"host": "127.0.0.1", "port": 1, "security": "none", "from": "no-reply@acme.example"});
    let email = json!({"providers": [{"name": "main", "smtp": smtp}], "semantics": "at_most_once"});
    put(&service, "/v1/channels/email", &email).await;
    put(&service, "/v1/users/alice", &json!({"addresses": {"email": "alice@b.example"}})).await;
    let now = instant(&service.in_ms(0).await.into());
    put(&service, "/v1/users/alice/preferences", &night(now)).await;
    let (id, begun) = ("ntf_01890a5d-ac96-774b-bcce-b302099a8059", "2026-08-01T09:00:00Z");
    let retry = json!({"attempts_max": 3, "backoff": {"exponential": {"base_ms": 10, "cap_ms": 10}}});
    let created = json!({
        "tenant": "default", "user_id": "alice", "content": {"title": "Rent is due", "body": ""},
        "priority": "normal", "plan": [{"channel": "email", "due_at": begun, "retry": retry}],
    });
    let started = json!({"channel": "email", "attempt": 1, "deadline": begun});
    let event = |sequence, name, payload| Stored {
        tenant: "default",
        user: "alice",
        id,
        sequence,
        name,
        version: "1.0.0",
        payload,
    };
    let mut sql = service.sql().await;
    event(1, "notification.created", created).append(&mut sql).await;
    event(2, "delivery.started", started).append(&mut sql).await;
    let events = story(&service, id, "delivery.dead_lettered").await;
    let told = ["delivery.started 1", "delivery.failed 1", "delivery.exhausted", "delivery.dead_lettered"];
    assert_eq!(names(&events)[1..], told, "it may have been taken over when its worker died");
    assert_eq!(delivery(&service, id).await["error_class"], "unknown");
}
