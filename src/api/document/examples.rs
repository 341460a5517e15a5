//! The examples of the document: requests that the service answers with success as they stand, which a test sends.
//! Only what names a thing that must exist (an id, a cursor) has none; links say which answer it comes from.

use serde_json::{Value, json};

/// A browser's, with the keys of RFC 8291, section 5.
const PUSH_ENDPOINT: &str = "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV";

/// What a required parameter of this name may be.
pub fn parameter(name: &str) -> Option<Value> {
    match name {
        "user_id" => Some(json!("alice")),
        "name" => Some(json!("inbox")),
        "key" => Some(json!("invoice.ready")),
        "topic" => Some(json!("releases")),
        "channel" => Some(json!("webhook")),
        "source" => Some(json!("github")),
        "category" => Some(json!("billing")),
        "plan" => Some(json!("insist")),
        "endpoint" => Some(json!(PUSH_ENDPOINT)),
        _ => None,
    }
}

/// A request body of this schema.
pub fn body(schema: &str) -> Option<Value> {
    match schema {
        "CreateNotification" => Some(invoice()),
        "CreateNotifications" => Some(json!({"notifications": [invoice(), reminder()]})),
        "SnoozeNotification" => Some(json!({"until": "2099-01-01T09:00:00Z"})),
        "ReportDelivery" => Some(json!({"channel": "in_app", "outcome": "delivered"})),
        "RetryDelivery" => Some(json!({"channel": "in_app"})),
        "MarkInbox" => Some(json!({"category": "billing"})),
        "CreateApiKey" => Some(json!({"name": "billing", "scopes": ["notifications:write"]})),
        "CreateTicket" => Some(json!({"user_id": "alice"})),
        "PutProfile" => Some(json!({
            "locale": "de-AT",
            "time_zone": "Europe/Vienna",
            "addresses": {"email": "alice@example.com"}
        })),
        "PublishTemplate" => Some(invoice_template()),
        "PreviewTemplate" => Some(json!({
            "locale": "de-AT",
            "time_zone": "Europe/Vienna",
            "args": {"amount": 20, "due": "2026-12-01T11:00:00Z"},
            "draft": invoice_template()
        })),
        "PutPreferences" => Some(json!({
            "channels": {"slack": false},
            "categories": {"marketing": {"email": false}},
            "quiet_hours": {"from": "22:00", "to": "07:00"}
        })),
        "CreateBroadcast" => Some(json!({
            "user_ids": ["alice", "bob"],
            "content": {"title": "Version 2 is out", "body": "Read what is new."},
            "category": "releases"
        })),
        "PutSchedule" => Some(standup()),
        "SubscribeUsers" => Some(json!({"user_ids": ["alice", "bob"]})),
        "TestChannel" => Some(json!({"title": "A test", "body": "This channel works."})),
        "PutPushSubscription" => Some(browser()),
        "PutCategory" => Some(json!({
            "channels": {"slack": false},
            "plan": [{"channel": "in_app"}, {"channel": "email", "after": "5m", "unless": "read"}]
        })),
        "PutPlan" => Some(json!({
            "plan": [{"channel": "email"}, {"channel": "slack", "after": "1h"}]
        })),
        "PutChannel" => Some(json!({
            "providers": [{
                "name": "main",
                "webhook": {
                    "url": "https://example.com/tidings",
                    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
                }
            }],
            "timeout": "10s",
            "rate": {"per_second": 50}
        })),
        "PutSource" => Some(issues()),
        "RedriveDeliveries" => {
            Some(json!({"channel": "webhook", "error_class": "transient", "dry_run": true}))
        }
        "PreviewHook" => Some(json!({"headers": {"X-GitHub-Event": "issues"}, "payload": hook()})),
        _ => None,
    }
}

fn invoice() -> Value {
    json!({
        "user_id": "alice",
        "content": {
            "title": "Your invoice is ready",
            "body": "Invoice 1042 over 20 EUR is due on 1 December.",
            "action_url": "https://example.com/invoices/1042"
        },
        "category": "billing",
        "priority": "high",
        "plan": [{"channel": "in_app"}, {"channel": "email", "after": "5m", "unless": "read"}],
        "data": {"invoice": 1042},
        "tags": ["invoice"]
    })
}

fn invoice_template() -> Value {
    json!({
        "default_locale": "en",
        "sources": {
            "en": "title = Your invoice is ready\nbody = { $amount } EUR are due on { $due }.\n",
            "de": "title = Ihre Rechnung ist da\nbody = { $amount } EUR sind am { $due } fällig.\n"
        },
        "arguments": {"amount": "number", "due": "date"}
    })
}

fn reminder() -> Value {
    json!({
        "user_id": "bob",
        "content": {"title": "Stand-up in five minutes", "body": "Room 3."},
        "expires_at": "2099-01-01T09:00:00Z"
    })
}

/// What GitHub tells of issues.
fn issues() -> Value {
    json!({
        "scheme": "github",
        "secrets": ["It's a Secret to Everybody"],
        "mapping": {
            "when": "headers['x-github-event'] == 'issues' && payload.action == 'assigned'",
            "user_id": "payload.assignee.login",
            "title": "payload.repository.full_name + ' #' + string(payload.issue.number)",
            "body": "payload.issue.title",
            "action_url": "payload.issue.html_url",
            "category": "'issues'"
        },
        "requests_per_second": 50,
        "burst": 100
    })
}

/// What GitHub might send, cut to what a mapping looks at.
pub fn hook() -> Value {
    json!({
        "action": "assigned",
        "assignee": {"login": "alice"},
        "issue": {
            "number": 42,
            "title": "The bell does not ring",
            "html_url": "https://github.com/example/bell/issues/42"
        },
        "repository": {"full_name": "example/bell"}
    })
}

/// What a browser says after it subscribed.
fn browser() -> Value {
    json!({
        "endpoint": PUSH_ENDPOINT,
        "keys": {
            "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            "auth": "BTBZMqHH6r4Tts7J_aSIgg"
        }
    })
}

/// Every working day.
fn standup() -> Value {
    json!({
        "cron": "0 9 * * 1-5",
        "time_zone": "Europe/Vienna",
        "notification": {"user_id": "alice", "content": {"title": "Standup", "body": "In ten minutes."}}
    })
}
