//! Deliveries of all notifications: found by how they stand, and redriven once what was broken is mended.

use serde_json::{Value, json};

use crate::dispatch::{NEAR, by_webhook, planned, put, reach, service, story};
use crate::support::{Door, Endpoint, Says, Service};

const REDRIVE: &str = "/v1/deliveries/redrive";

async fn page(service: &Door, query: &str) -> Value {
    service.read(&format!("/v1/deliveries?{query}")).await.expect(200).json()
}

async fn listed(service: &Door, query: &str) -> Vec<Value> {
    page(service, query).await["deliveries"].as_array().unwrap().clone()
}

fn ids(deliveries: &[Value]) -> Vec<&str> {
    deliveries.iter().map(|one| one["notification_id"].as_str().unwrap()).collect()
}

/// What a test has done so far is what later reads wait for.
async fn done(service: &Door) {
    *service.done.lock().unwrap() = Some(service.head().await);
}

/// A user whose webhooks are answered so, and a notification for him that came to this.
async fn told(service: &Door, user: &str, status: u16, last: &str) -> (Endpoint, String) {
    let endpoint = Endpoint::saying(status).await;
    reach(service, user, &endpoint).await;
    let id = service.create_with(&by_webhook(user)).await;
    story(service, &id, last).await;
    (endpoint, id)
}

/// A notification in the inbox whose delivery a service reported as failed.
async fn reported(service: &Door, user: &str) -> String {
    let id = service.create(user).await;
    let failed = json!({"channel": "in_app", "outcome": "failed", "error": "no device"});
    service.post(&format!("/v1/notifications/{id}/deliver"), &failed).await.expect(200);
    id
}

async fn redrive(service: &Door, body: Value) -> Value {
    service.post(REDRIVE, &body).await.expect(200).json()
}

/// Matched, redriven, refused.
fn counts(answer: &Value) -> [i64; 3] {
    ["matched", "redriven", "refused"].map(|name| answer[name].as_i64().unwrap())
}

#[tokio::test]
async fn deliveries_are_found_by_each_of_their_features_and_all_together() {
    let service = service().await;
    let (_taken, delivered) = told(&service, "bob", 200, "delivery.succeeded").await;
    let (_refusing, permanent) = told(&service, "carol", 400, "delivery.dead_lettered").await;
    let (_broken, transient) = told(&service, "dave", 503, "delivery.dead_lettered").await;
    let middle = service.in_ms(0).await;
    let mut two_steps =
        planned("alice", json!([{"channel": "in_app"}, {"channel": "webhook", "after": "1h"}]));
    two_steps["category"] = "billing".into();
    two_steps["priority"] = "high".into();
    let waiting = service.create_with(&two_steps).await;
    let skipped = service.create_with(&planned("alice", json!([{"channel": "email"}]))).await;
    story(&service, &skipped, "delivery.skipped").await;
    done(&service).await;

    let all = listed(&service, "").await;
    let expected =
        [&skipped, &waiting, &waiting, &transient, &permanent, &delivered].map(String::as_str).to_vec();
    assert_eq!(ids(&all), expected, "the last changed first");
    assert_eq!((&all[1]["channel"], &all[2]["channel"]), (&"webhook".into(), &"in_app".into()));
    let since = format!("since={}", middle.replace('+', "%2B"));
    for (query, expected) in [
        ("status=delivered", vec![&delivered]),
        ("status=dead_lettered", vec![&transient, &permanent]),
        ("status=waiting", vec![&waiting]),
        ("status=pending", vec![&waiting]),
        ("status=skipped", vec![&skipped]),
        ("status=exhausted", vec![]),
        ("channel=webhook", vec![&waiting, &transient, &permanent, &delivered]),
        ("channel=email", vec![&skipped]),
        ("error_class=permanent", vec![&permanent]),
        ("error_class=transient", vec![&transient]),
        ("error_class=gone", vec![]),
        ("user_id=alice", vec![&skipped, &waiting, &waiting]),
        ("user_id=nobody", vec![]),
        (&since, vec![&skipped, &waiting, &waiting]),
        ("status=dead_lettered&channel=webhook&error_class=transient&user_id=dave", vec![&transient]),
        ("status=dead_lettered&error_class=transient&user_id=carol", vec![]),
        ("error_class=permanent&user_id=carol", vec![&permanent]),
        ("user_id=alice&channel=in_app", vec![&waiting]),
        (&format!("{since}&error_class=transient"), vec![]),
    ] {
        let found = listed(&service, query).await;
        assert_eq!(ids(&found), expected.iter().map(|id| id.as_str()).collect::<Vec<_>>(), "{query}");
    }
    let one = &listed(&service, "user_id=dave").await[0];
    assert_eq!(
        (&one["status"], &one["attempt"], &one["error_class"], &one["priority"]),
        (&"dead_lettered".into(), &4.into(), &"transient".into(), &"normal".into())
    );
    assert!(one["error"].as_str().unwrap().starts_with("HTTP 503"), "{one}");
    let last = story(&service, &transient, "delivery.dead_lettered").await.pop().unwrap();
    assert_eq!(one["updated_at"], last["recorded_at"]);
    let none = ["reason", "due_at", "category"].map(|name| &one[name]);
    assert_eq!(none, [&Value::Null; 3]);
    assert_eq!(all[0]["reason"], "not_configured");
    assert_eq!((&all[1]["category"], &all[1]["priority"]), (&"billing".into(), &"high".into()));
    assert!(all[1]["due_at"].is_string(), "{}", all[1]);
}

#[tokio::test]
async fn what_waits_for_the_morning_says_so() {
    let service = service().await;
    let endpoint = Endpoint::saying(200).await;
    reach(&service, "alice", &endpoint).await;
    // Whatever the hour: two halves of the day but for a minute.
    let now: time::OffsetDateTime = service.in_ms(0).await.parse_rfc3339();
    let hour = |hours: i64| {
        let at = now + time::Duration::hours(hours);
        format!("{:02}:{:02}", at.hour(), at.minute())
    };
    let quiet = json!({"quiet_hours": {"from": hour(-1), "to": hour(2)}});
    let put = service.request("PUT", "/v1/users/alice/preferences").header("x-api-key", service.root_key());
    service.send(put.json(&quiet)).await.expect(200);
    let id = service.create_with(&by_webhook("alice")).await;
    story(&service, &id, "delivery.deferred").await;
    done(&service).await;
    let one = &listed(&service, "status=scheduled").await[0];
    assert_eq!((&one["reason"], &one["notification_id"]), (&"quiet_hours".into(), &id.into()));
}

/// An instant as the service writes it.
trait Instant {
    fn parse_rfc3339(&self) -> time::OffsetDateTime;
}

impl Instant for String {
    fn parse_rfc3339(&self) -> time::OffsetDateTime {
        time::OffsetDateTime::parse(self, &time::format_description::well_known::Rfc3339).unwrap()
    }
}

#[tokio::test]
async fn pages_show_nothing_twice_and_all_that_stays_while_rows_change() {
    let service = Service::start().await;
    let mut made = Vec::new();
    for n in 0..12 {
        made.insert(0, service.create(["alice", "bob"][n % 2]).await);
    }
    let (mut seen, mut query, mut marked) = (Vec::new(), "limit=4".to_owned(), vec![&made[1], &made[9]]);
    loop {
        let page = page(&service, &query).await;
        let found = page["deliveries"].as_array().unwrap();
        assert!(found.len() <= 4);
        seen.extend(ids(found).into_iter().map(str::to_owned));
        if let Some(id) = marked.pop() {
            service.mark(id, "seen").await;
        }
        match page["next"].as_str() {
            Some(next) => query = format!("limit=4&before={next}"),
            None => break,
        }
    }
    // Of those that were marked, one was shown and one was not yet.
    let expected: Vec<&String> = made.iter().filter(|id| **id != made[9]).collect();
    assert_eq!(seen.iter().collect::<Vec<_>>(), expected);
    let anew = listed(&service, "limit=2").await;
    assert_eq!(ids(&anew), [made[1].as_str(), made[9].as_str()], "the last changed first");
    assert_eq!(listed(&service, "limit=100").await.len(), 12);
}

#[tokio::test]
async fn a_redrive_retries_exactly_what_fits_once_its_endpoint_is_mended() {
    let service = service().await;
    // Four attempts each, then they are mended.
    let mended = || Endpoint::start(|number, _| Says::Status(if number <= 4 { 503 } else { 200 }));
    let (anns, bens) = (mended().await, mended().await);
    reach(&service, "ann", &anns).await;
    reach(&service, "ben", &bens).await;
    let early = service.create_with(&by_webhook("ann")).await;
    story(&service, &early, "delivery.dead_lettered").await;
    let (refusing, _) = told(&service, "carol", 400, "delivery.dead_lettered").await;
    reported(&service, "dora").await;
    let since = service.in_ms(0).await;
    let late = service.create_with(&by_webhook("ben")).await;
    story(&service, &late, "delivery.dead_lettered").await;
    done(&service).await;

    let wanted = json!({"channel": "webhook", "error_class": "transient", "since": since});
    let mut dry = wanted.clone();
    dry["dry_run"] = true.into();
    let before = service.head().await;
    assert_eq!(counts(&redrive(&service, dry.clone()).await), [1, 0, 0]);
    assert_eq!(counts(&redrive(&service, json!({"dry_run": true})).await), [4, 0, 0]);
    assert_eq!(service.head().await, before, "nothing is recorded");
    let answer = redrive(&service, wanted.clone()).await;
    assert_eq!((counts(&answer), &answer["next"]), ([1, 1, 0], &Value::Null));
    story(&service, &late, "delivery.succeeded").await;
    done(&service).await;
    assert_eq!([&anns, &bens, &refusing].map(|endpoint| endpoint.so_far().len()), [4, 5, 1]);
    assert_eq!(ids(&listed(&service, "status=delivered").await), [late.as_str()]);
    assert_eq!(counts(&redrive(&service, wanted).await), [0, 0, 0], "it is delivered");
    // Up to that instant lies the other one.
    let earlier = json!({"error_class": "transient", "until": since});
    assert_eq!(counts(&redrive(&service, earlier).await), [1, 1, 0]);
    story(&service, &early, "delivery.succeeded").await;
    done(&service).await;
    assert_eq!(counts(&redrive(&service, json!({"user_id": "dora"})).await), [1, 1, 0]);
    assert_eq!(listed(&service, "status=dead_lettered&user_id=dora").await, [Value::Null; 0]);
}

#[tokio::test]
async fn a_redrive_goes_on_where_the_one_before_ended_and_a_key_does_it_once() {
    let service = Service::start().await;
    let mut failed = Vec::new();
    for _ in 0..7 {
        failed.insert(0, reported(&service, "alice").await);
    }
    // Seen meanwhile is no matter in the app; an end is.
    service.mark(&failed[6], "cancel").await;
    let three = json!({"limit": 3});
    let first = service.post_keyed(REDRIVE, &three, "a key").await.expect(200);
    let (answer, again) = (first.json(), service.post_keyed(REDRIVE, &three, "a key").await.expect(200));
    assert_eq!(counts(&answer), [6, 3, 0], "what is cancelled fits nothing");
    assert_eq!(
        (first.header("idempotent-replayed"), again.header("idempotent-replayed")),
        (None, Some("true"))
    );
    assert_eq!(again.json(), answer, "and nothing more");
    let other = json!({"limit": 4});
    assert_eq!(service.post_keyed(REDRIVE, &other, "a key").await.problem(422), "idempotency-key-reused");
    assert_eq!(ids(&listed(&service, "status=pending").await), [2, 1, 0].map(|n| failed[n].as_str()));
    // One that has failed again lies before `next`.
    let deliver = format!("/v1/notifications/{}/deliver", failed[0]);
    service.post(&deliver, &json!({"channel": "in_app", "outcome": "failed"})).await.expect(200);
    let rest = redrive(&service, json!({"before": answer["next"]})).await;
    assert_eq!((counts(&rest), &rest["next"]), ([3, 3, 0], &Value::Null));
    assert_eq!(counts(&redrive(&service, json!({})).await), [1, 1, 0]);
    assert_eq!(counts(&redrive(&service, json!({})).await), [0, 0, 0]);
}

#[tokio::test]
async fn what_was_seen_meanwhile_is_refused_and_what_another_channel_took_over_waits_to_be_named() {
    let service = service().await;
    let plan = json!([{"channel": "in_app"}, {"channel": "webhook", "after": "1s"}]);
    let endpoint = Endpoint::saying(400).await;
    reach(&service, "alice", &endpoint).await;
    let id = service.create_with(&planned("alice", plan)).await;
    story(&service, &id, "delivery.dead_lettered").await;
    service.mark(&id, "read").await;
    let answer = redrive(&service, json!({"channel": "webhook"})).await;
    assert_eq!(counts(&answer), [1, 0, 1]);
    let slack = Endpoint::saying(200).await;
    put(&service, "/v1/channels/slack", &json!({"providers": [{"name": "main", "slack": {}}]})).await;
    let addresses = json!({"webhook": endpoint.url(), "slack": slack.url()});
    put(&service, "/v1/users/bob", &json!({"addresses": addresses})).await;
    let plan = json!([{"channel": "webhook"}, {"channel": "slack"}]);
    let taken_over = service.create_with(&planned("bob", plan)).await;
    story(&service, &taken_over, "delivery.succeeded").await;
    done(&service).await;
    assert_eq!(ids(&listed(&service, "status=exhausted").await), [taken_over.as_str()]);
    assert_eq!(counts(&redrive(&service, json!({"user_id": "bob"})).await), [0, 0, 0]);
    let exhausted = json!({"status": "exhausted", "user_id": "bob"});
    assert_eq!(counts(&redrive(&service, exhausted).await), [1, 1, 0]);
    endpoint.calls(3).await;
}

#[tokio::test]
async fn two_nodes_that_redrive_the_same_begin_nothing_twice() {
    let first = Service::start_with(&[NEAR]).await;
    let second = first.another_node_with(&[NEAR]).await;
    for _ in 0..40 {
        reported(&first, "alice").await;
    }
    let body = json!({"limit": 40});
    let (one, other) = tokio::join!(first.post(REDRIVE, &body), second.post(REDRIVE, &body));
    let (one, other) = (counts(&one.expect(200).json()), counts(&other.expect(200).json()));
    assert_eq!(one[1] + other[1], 40, "{one:?} {other:?}");
    let asked = first.events("type=delivery.retry_requested").await;
    assert_eq!(asked.len(), 40);
    assert!(asked.iter().all(|event| event["data"]["attempt"] == 2), "{asked:?}");
}

#[tokio::test]
async fn another_tenant_finds_and_redrives_nothing_of_ours() {
    let service = Service::start().await;
    let id = reported(&service, "alice").await;
    let key = json!({"name": "theirs", "tenant": "acme", "scopes": ["admin"]});
    let theirs = service.key_with(key).await;
    let get =
        service.request("GET", "/v1/deliveries?status=dead_lettered").header("x-api-key", &theirs.secret);
    let get = get.header("tidings-min-cursor", service.done().unwrap());
    assert_eq!(service.send(get).await.expect(200).json()["deliveries"], json!([]));
    let post = service.request("POST", REDRIVE).header("x-api-key", &theirs.secret).json(&json!({}));
    assert_eq!(counts(&service.send(post).await.expect(200).json()), [0, 0, 0]);
    assert_eq!(ids(&listed(&service, "status=dead_lettered").await), [id.as_str()]);
}

#[tokio::test]
async fn of_who_was_forgotten_or_is_parked_nothing_private_or_uncertain_is_told() {
    let service = Service::start().await;
    reported(&service, "alice").await;
    let bobs = reported(&service, "bob").await;
    assert_eq!(listed(&service, "user_id=alice").await[0]["error"], "no device");
    let mut sql = service.sql().await;
    sqlx::query("DELETE FROM recipient_keys WHERE recipient = 'alice'").execute(&mut sql).await.unwrap();
    let forgotten = &listed(&service, "user_id=alice").await[0];
    assert_eq!((&forgotten["error"], &forgotten["error_class"]), (&Value::Null, &"reported".into()));
    let parked = "INSERT INTO delivery_v3.parked (tenant, user_id, position, generation, error)
                  VALUES ('default', 'alice', 1, 1, 'for a test')";
    sqlx::query(parked).execute(&mut sql).await.unwrap();
    assert_eq!(service.read("/v1/deliveries?user_id=alice").await.problem(503), "projection-behind");
    assert_eq!(ids(&listed(&service, "").await), [bobs.as_str()]);
    let refused = service.post(REDRIVE, &json!({"user_id": "alice"})).await;
    assert_eq!(refused.problem(503), "projection-behind");
    assert_eq!(counts(&redrive(&service, json!({})).await), [1, 1, 0]);
}

#[tokio::test]
async fn what_is_no_filter_is_refused_by_its_name() {
    let service = Service::start().await;
    let future = service.in_ms(3_600_000).await;
    for (query, status, name) in [
        ("status=sent", 400, "status"),
        ("status=", 400, "status"),
        ("status=pending&status=started", 400, "status"),
        ("channel=fax", 400, "channel"),
        ("error_class=fatal", 400, "error_class"),
        ("user_id=", 400, "user_id"),
        ("since=yesterday", 400, "since"),
        ("since=2026-13-01T00:00:00Z", 400, "since"),
        (&format!("since={future}"), 422, "since"),
        ("limit=0", 400, "limit"),
        ("limit=101", 400, "limit"),
        ("limit=ten", 400, "limit"),
        ("before=nothing", 400, "before"),
        ("before=ffffffffffffffffff", 400, "before"),
    ] {
        let answer = service.get(&format!("/v1/deliveries?{query}")).await;
        assert_eq!(answer.status, status, "{query}: {answer:?}");
        assert_eq!(answer.pointers(), [name], "{query}");
    }
    assert_eq!(service.get("/v1/deliveries?before=7fffffffffffffff").await.status, 200);
    for (body, status, pointer) in [
        (json!({"status": "delivered"}), 422, "/status"),
        (json!({"channel": "fax"}), 422, "/channel"),
        (json!({"error_class": 5}), 422, "/error_class"),
        (json!({"user_id": ""}), 422, "/user_id"),
        (json!({"since": "yesterday"}), 422, "/since"),
        (json!({"since": future}), 422, "/since"),
        (json!({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}), 422, "/until"),
        (json!({"until": 7}), 422, "/until"),
        (json!({"limit": 0}), 422, "/limit"),
        (json!({"limit": 10_001}), 422, "/limit"),
        (json!({"limit": -1}), 422, "/limit"),
        (json!({"before": "nothing"}), 400, "/before"),
        (json!({"dry_run": "yes"}), 422, "/dry_run"),
        (json!({"tenant": "acme"}), 422, "/tenant"),
    ] {
        let answer = service.post(REDRIVE, &body).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert_eq!(answer.pointers(), [pointer], "{body}");
    }
    assert_eq!(service.head().await.split('.').nth(1), Some("0"), "nothing was recorded");
}
