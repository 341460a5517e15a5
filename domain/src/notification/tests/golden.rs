//! What the golden files of a notification's events mean.

use std::collections::BTreeMap;

use serde_json::{Map, json};
use time::macros::datetime;

use crate::golden::Contract;
use crate::notification::{
    Backoff, Category, Channel, Collected, Content, Created, Digested, Event, Failure, FailureClass, Plan,
    PlanStep, Priority, RetryPolicy, SkipReason, Tags, TemplateVersion, Templated, Unless, Words,
};
use crate::template::TemplateKey;

use super::samples::*;

fn created_with_everything() -> Created {
    let words = ("Rechnung 42 – fällig", "Bitte bis Montag zahlen. 💶", "https://app.example/invoices/42");
    Created {
        tenant: tenant("acme"),
        user_id: user("user-7@example.com"),
        content: Content::new(words.0.into(), words.1.into(), Some(words.2.into())).ok(),
        category: Category::new("billing".into()).ok(),
        priority: Priority::Urgent,
        plan: Plan::default(),
        data: Some(Map::from_iter([
            ("amount".to_owned(), json!(12.5)),
            ("lines".to_owned(), json!([{"sku": "A-1", "count": 2}, null, true])),
        ])),
        tags: Tags::new(vec!["vip".into(), "q3".into()]).unwrap(),
        deliver_at: Some(datetime!(2026-08-01 09:30:00.25 UTC)),
        expires_at: Some(datetime!(2026-09-01 00:00 +02:00)),
        digest: None,
    }
}

fn created_with_the_least() -> Created {
    Created {
        tenant: tenant("acme"),
        user_id: user("ada"),
        content: Content::new("Invoice 42".into(), String::new(), None).ok(),
        category: None,
        priority: Priority::Normal,
        plan: Plan::default(),
        data: None,
        tags: Tags::default(),
        deliver_at: None,
        expires_at: None,
        digest: None,
    }
}

/// A plan with all that a step can say.
fn created_with_a_plan() -> Created {
    let seconds = Backoff::Exponential { base_ms: 2000, cap_ms: 3_600_000 };
    let email = PlanStep {
        channel: Channel::Email,
        after_s: Some(300),
        unless: Some(Unless::Read),
        retry: Some(RetryPolicy { attempts_max: 8, backoff: seconds }),
        due_at: Some(datetime!(2026-08-01 09:35:00.25 UTC)),
        skipped: None,
    };
    let webhook = PlanStep {
        channel: Channel::Webhook,
        after_s: Some(3600),
        unless: Some(Unless::Seen),
        retry: Some(RetryPolicy::STANDARD_WEBHOOKS),
        due_at: Some(datetime!(2026-08-01 10:30:00.25 UTC)),
        skipped: None,
    };
    let slack = PlanStep { unless: Some(Unless::Delivered), ..PlanStep::on(Channel::Slack) };
    Created {
        plan: Plan::new(vec![in_app(), email, slack, webhook]).unwrap(),
        deliver_at: Some(datetime!(2026-08-01 09:30:00.25 UTC)),
        ..created_with_the_least()
    }
}

/// What a template says, of a version that stays.
fn created_of_a_template() -> Created {
    let args = json!({"amount": 12.5, "who": "Ada", "due": "2026-12-01T11:00:00Z"});
    let template = Templated {
        key: TemplateKey::new("invoice.ready".into()).unwrap(),
        version: 3,
        args: args.as_object().unwrap().clone(),
        action_url: Some("/invoices/42".into()),
    };
    Created { content: Some(Content::Template { template }), ..created_with_the_least() }
}

/// A first step outside is due at the release.
fn created_outside() -> Created {
    let email = PlanStep { due_at: Some(datetime!(2026-08-01 08:00 UTC)), ..PlanStep::on(Channel::Email) };
    Created { plan: Plan::new(vec![email]).unwrap(), ..created_with_the_least() }
}

/// What is not wanted in the inbox goes out at once on the channel after it.
fn created_without_the_inbox() -> Created {
    let in_app = PlanStep { skipped: Some(SkipReason::Preference), ..in_app() };
    let email = PlanStep {
        after_s: Some(300),
        due_at: Some(datetime!(2026-08-01 08:00 UTC)),
        ..PlanStep::on(Channel::Email)
    };
    Created { plan: Plan::new(vec![in_app, email]).unwrap(), ..created_with_the_least() }
}

/// The first of a digest that a template says.
fn created_to_collect() -> Created {
    Created {
        deliver_at: Some(datetime!(2026-08-01 08:10 UTC)),
        digest: Some(said_by_a_template()),
        ..created_with_the_least()
    }
}

fn collected() -> Collected {
    let data = json!({"thread_id": "t-7"});
    let words = Words { action_url: Some("/t/7".into()), ..item("Ada commented").words };
    Collected { number: 3, bytes: 240, content: Some(words), data: data.as_object().cloned(), template: None }
}

fn collected_of_a_template() -> Collected {
    let template = TemplateVersion { key: TemplateKey::new("comment".into()).unwrap(), version: 3 };
    Collected { number: 1, bytes: 80, template: Some(template), data: None, ..collected() }
}

fn digested() -> Digested {
    let content = Content::new("Bob commented".into(), "Ada commented\nBob commented".into(), None).ok();
    let data = json!({"thread_id": "t-7", "items": [{"title": "Ada commented", "body": "Hm."}]});
    Digested { count: 2, content, data: data.as_object().cloned() }
}

fn delivered_as(provider_ref: &str) -> Event {
    Event::DeliverySucceeded { channel: Channel::Email, attempt: 2, provider_ref: Some(provider_ref.into()) }
}

/// What each file means, in the words of today.
fn expectations() -> BTreeMap<&'static str, Event> {
    let channel = Channel::InApp;
    let error = |detail: &str| Failure { class: FailureClass::Reported, detail: detail.into() };
    let failed = |detail| Event::DeliveryFailed { channel, attempt: 1, error: error(detail) };
    BTreeMap::from([
        ("notification.created@1.0.0", Event::Created(Box::new(created_with_everything()))),
        ("notification.created@1.0.0-minimal", Event::Created(Box::new(created_with_the_least()))),
        ("notification.created@1.0.0-plan", Event::Created(Box::new(created_with_a_plan()))),
        ("notification.created@1.0.0-template", Event::Created(Box::new(created_of_a_template()))),
        ("notification.created@1.0.0-outside", Event::Created(Box::new(created_outside()))),
        ("notification.created@1.0.0-skipped", Event::Created(Box::new(created_without_the_inbox()))),
        ("notification.created@1.0.0-digest", Event::Created(Box::new(created_to_collect()))),
        ("notification.collected@1.0.0", Event::Collected(Box::new(collected()))),
        ("notification.collected@1.0.0-template", Event::Collected(Box::new(collected_of_a_template()))),
        ("notification.digested@1.0.0", Event::Digested(Box::new(digested()))),
        ("notification.digested@1.0.0-forgotten", Event::Digested(Box::new(digested_to_nothing()))),
        ("notification.released@1.0.0", Event::Released {}),
        ("notification.woken@1.0.0", Event::Woken {}),
        ("notification.seen@1.0.0", Event::Seen {}),
        ("notification.read@1.0.0", Event::Read {}),
        ("notification.unread@1.0.0", Event::Unread {}),
        ("notification.archived@1.0.0", Event::Archived {}),
        ("notification.unarchived@1.0.0", Event::Unarchived {}),
        ("notification.snoozed@1.0.0", Event::Snoozed { until: datetime!(2026-08-02 07:00 UTC) }),
        ("notification.cancelled@1.0.0", Event::Cancelled {}),
        ("notification.expired@1.0.0", Event::Expired {}),
        ("delivery.fallback_activated@1.0.0", activated(Channel::InApp, Channel::Email, EMAIL_AT)),
        ("delivery.started@1.0.0", started(Channel::Email, 1)),
        ("delivery.succeeded@1.0.0", succeeded(1)),
        ("delivery.succeeded@1.0.0-provider", delivered_as("<1@mail.example>")),
        ("delivery.failed@1.0.0", failed("the device is gone")),
        ("delivery.failed@2.0.0", failed("the device is gone")),
        ("delivery.failed@2.0.0-transient", failed_on(Channel::Email, 1, FailureClass::Transient)),
        ("delivery.failed@2.0.0-permanent", failed_on(Channel::Email, 1, FailureClass::Permanent)),
        ("delivery.failed@2.0.0-gone", failed_on(Channel::Email, 1, FailureClass::Gone)),
        ("delivery.failed@2.0.0-unknown", failed_on(Channel::Email, 1, FailureClass::Unknown)),
        ("delivery.retry_scheduled@1.0.0", scheduled_again(Channel::Email, 2, EMAIL_AT)),
        ("delivery.deferred@1.0.0", deferred(Channel::Email, 2)),
        ("delivery.skipped@1.0.0", skipped(Channel::Slack, SkipReason::NoAddress)),
        ("delivery.skipped@1.0.0-preference", skipped(Channel::Slack, SkipReason::Preference)),
        ("delivery.skipped@1.0.0-quiet_hours", skipped(Channel::Slack, SkipReason::QuietHours)),
        ("delivery.skipped@1.0.0-not_configured", skipped(Channel::Slack, SkipReason::NotConfigured)),
        ("delivery.skipped@1.0.0-throttled", skipped(Channel::Slack, SkipReason::Throttled)),
        ("delivery.skipped@1.0.0-seen", skipped(Channel::Slack, SkipReason::Seen)),
        ("delivery.skipped@1.0.0-read", skipped(Channel::Slack, SkipReason::Read)),
        ("delivery.skipped@1.0.0-delivered", skipped(Channel::Slack, SkipReason::Delivered)),
        ("delivery.skipped@1.0.0-cancelled", skipped(Channel::Slack, SkipReason::Cancelled)),
        ("delivery.skipped@1.0.0-expired", skipped(Channel::Slack, SkipReason::Expired)),
        ("delivery.exhausted@1.0.0", Event::DeliveryExhausted { channel, attempts: 1 }),
        ("delivery.dead_lettered@1.0.0", Event::DeliveryDeadLettered { channel }),
        ("delivery.retry_requested@1.0.0", Event::DeliveryRetryRequested { channel, attempt: 2 }),
    ])
}

#[test]
fn the_log_is_read_for_ever() {
    let contract = Contract { families: &["notification.", "delivery."], expectations: expectations() };
    contract.check(&one_event_of_each_kind().collect::<Vec<_>>());
}
