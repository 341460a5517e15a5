//! The log as auditors read it: ranges of it, by user, by aggregate, by type and by time; pages and lines.

use serde_json::{Value, json};

use crate::support::{Answer, Service, note, position};

const LINES: &str = "application/x-ndjson";

async fn export(service: &Service, query: &str) -> Answer {
    let request = service.request("GET", &format!("/v1/events?{query}"));
    let request = request.header("x-api-key", service.root_key()).header("accept", LINES);
    service.send(request).await
}

/// The events of a whole export, and the cursor of its last line.
fn whole(answer: &Answer) -> (Vec<Value>, String) {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(LINES)), "{answer:?}");
    assert!(answer.body.ends_with('\n'), "{answer:?}");
    let mut lines: Vec<Value> = answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.pop().unwrap();
    assert_eq!(last["end"], true, "{last}");
    (lines, last["cursor"].as_str().unwrap().to_owned())
}

/// All pages of a listing, each of at most `limit` events.
async fn paged(service: &Service, query: &str, limit: usize) -> Vec<Value> {
    let (mut events, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/events?limit={limit}&{query}{after}");
        let page = service.get(&path).await.expect(200).json();
        let part = page["events"].as_array().unwrap();
        assert!(part.len() <= limit);
        events.extend(part.iter().cloned());
        let next = format!("&after={}", page["next"].as_str().unwrap());
        if next == after {
            assert!(part.is_empty());
            return events;
        }
        after = next;
    }
}

/// Alice and Bob, each with notifications that were marked, some in a batch.
async fn busy() -> Service {
    let service = Service::start().await;
    for user in ["alice", "bob", "alice"] {
        let id = service.create(user).await;
        service.mark(&id, "read").await;
    }
    let batch = json!({"notifications": vec![note("bob"); 130]});
    service.post("/v1/notifications/batch", &batch).await.expect(200);
    let last = service.create("alice").await;
    service.mark(&last, "archive").await;
    service
}

#[tokio::test]
async fn pages_and_lines_are_the_same_events_whatever_the_filter() {
    let service = busy().await;
    let all = service.events("").await;
    assert!(all.len() > 130);
    let head = service.head().await;
    let id = all[0]["aggregate_id"].as_str().unwrap().to_owned();
    let has = |member: &'static str, value: &str| {
        let value = Value::from(value);
        move |event: &&Value| event[member] == value
    };
    let of_alice: Vec<Value> = all.iter().filter(has("user_id", "alice")).cloned().collect();
    let reads: Vec<Value> = all.iter().filter(has("type", "notification.read")).cloned().collect();
    let both: Vec<Value> = reads.iter().filter(has("user_id", "alice")).cloned().collect();
    let of_one: Vec<Value> = all.iter().filter(has("aggregate_id", &id)).cloned().collect();
    assert!(both.len() >= 2 && of_one.len() >= 2 && reads.len() > both.len());
    let read_once: Vec<Value> = of_one.iter().filter(has("type", "notification.read")).cloned().collect();
    for (query, expected) in [
        (String::new(), &all),
        ("user_id=alice".into(), &of_alice),
        ("type=notification.read".into(), &reads),
        ("type=notification.read&user_id=alice".into(), &both),
        (format!("aggregate_id={id}"), &of_one),
        (format!("aggregate_id={id}&type=notification.read&user_id=alice"), &read_once),
        (format!("aggregate_id={id}&user_id=bob"), &vec![]),
        ("user_id=nobody".into(), &vec![]),
        ("type=nothing".into(), &vec![]),
        ("aggregate_id=nothing".into(), &vec![]),
    ] {
        assert_eq!(&paged(&service, &query, 2).await, expected, "{query}");
        assert_eq!(&paged(&service, &query, 1_000).await, expected, "{query}");
        assert_eq!(whole(&export(&service, &query).await), (expected.clone(), head.clone()), "{query}");
    }
}

#[tokio::test]
async fn a_range_of_time_begins_with_its_first_instant_and_ends_before_its_last() {
    let service = busy().await;
    let all = service.events("").await;
    let at = |event: &Value| event["recorded_at"].as_str().unwrap().to_owned();
    let mut instants: Vec<String> = all.iter().map(at).collect();
    instants.dedup();
    assert!(instants.len() > 4);
    let (from, to) = (&instants[1], &instants[instants.len() - 2]);
    let between = |event: &&Value| &at(event) >= from && &at(event) < to;
    let expected: Vec<Value> = all.iter().filter(between).cloned().collect();
    let query = format!("from={from}&to={to}");
    assert_eq!(paged(&service, &query, 50).await, expected);
    let (lines, end) = whole(&export(&service, &query).await);
    assert_eq!((&lines, &end), (&expected, &expected.last().unwrap()["cursor"].as_str().unwrap().to_owned()));

    // The same instant elsewhere on earth, where a `+` is a `+`.
    let elsewhere = format!("from={}", from.replace('Z', "%2B00:00"));
    let later: Vec<Value> = all.iter().filter(|event| &at(event) >= from).cloned().collect();
    assert_eq!(service.events(&elsewhere).await, later);
    // After the cursor and from the instant: whichever is later.
    let after = all[all.len() - 3]["cursor"].as_str().unwrap();
    assert_eq!(service.events(&format!("from={from}&after={after}")).await, all[all.len() - 2..]);
    assert_eq!(service.events("from=9999-12-31T23:59:59Z").await.len(), 0);
    assert_eq!(service.events("to=0001-01-01T00:00:00Z").await.len(), 0);
    assert_eq!(service.events("from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59Z").await, all);
}

#[tokio::test]
async fn the_database_finds_where_the_log_stood_at_any_instant() {
    let service = busy().await;
    let mut sql = service.sql().await;
    let wrong: Vec<i64> = sqlx::query_scalar(
        "SELECT e.position FROM events e, unnest(ARRAY['-1 microsecond', '0', '1 microsecond']::interval[]) d
          WHERE log_position_at(e.recorded_at + d) <>
                (SELECT coalesce(max(b.position), 0) FROM events b WHERE b.recorded_at < e.recorded_at + d)",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    assert_eq!(wrong, [0; 0]);
}

#[tokio::test]
async fn a_page_looks_at_so_many_events_and_no_more() {
    let service = Service::start().await;
    service.create("alice").await;
    let first = service.head().await;
    let mut sql = service.sql().await;
    // What 60,000 commands of somebody else leave, without their time.
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             position, recorded_at, tenant, recipient)
         SELECT 'notification', 'ntf_00000000-0000-0000-0000-000000000001', n, 'notification.seen', '1.0.0', '{}',
                '{}', $1 + n, now(), 'other', 'eve' FROM generate_series(1, 60000) n",
    )
    .bind(position(&first))
    .execute(&mut sql)
    .await
    .unwrap();
    sqlx::query("UPDATE log_head SET position = position + 60000, last_recorded_at = now()")
        .execute(&mut sql)
        .await
        .unwrap();

    let page = service.get(&format!("/v1/events?type=none&after={first}")).await.expect(200).json();
    assert_eq!(page["events"], json!([]));
    let next = page["next"].as_str().unwrap();
    assert_eq!(position(next), position(&first) + 50_000);
    let page = service.get(&format!("/v1/events?type=none&after={next}")).await.expect(200).json();
    assert_eq!(position(page["next"].as_str().unwrap()), position(&first) + 60_000);
    let (events, end) = whole(&export(&service, "type=notification.created").await);
    assert_eq!((events.len(), position(&end)), (1, position(&first) + 60_000), "lines go on by themselves");
}

#[tokio::test]
async fn anything_but_exactly_lines_is_answered_with_a_page() {
    let service = Service::start().await;
    service.create("alice").await;
    for accept in
        ["*/*", "application/json", "application/x-ndjson, */*", "application/X-NDJSON", "text/html"]
    {
        let request = service.request("GET", "/v1/events").header("x-api-key", service.root_key());
        let answer = service.send(request.header("accept", accept)).await.expect(200);
        assert_eq!(answer.json()["events"].as_array().unwrap().len(), 1, "{accept}");
    }
    assert_eq!(export(&service, "limit=5").await.pointers(), ["limit"]);
    assert_eq!(export(&service, "after=1.1").await.problem(410), "epoch-lost");
}

#[tokio::test]
async fn an_export_nobody_takes_holds_no_connection_and_broken_off_has_no_last_line() {
    let mut service = Service::start_with(&[("TIDINGS_DATABASE_CONNECTIONS_MAX", "1")]).await;
    for _ in 0..5 {
        let long = "x".repeat(100_000);
        let large = json!({"user_id": "alice", "content": {"title": "Large", "body": long}});
        let batch = json!({"notifications": vec![large; 60]});
        service.post("/v1/notifications/batch", &batch).await.expect(200);
    }
    let request = service.request("GET", "/v1/events").header("x-api-key", service.root_key());
    let mut response = request.header("accept", LINES).send().await.unwrap();
    // The rest of 30 MB is neither in the socket's buffers nor read from the database yet.
    let mut body = response.chunk().await.unwrap().unwrap().to_vec();
    service.head().await;
    service.kill();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend(chunk);
    }
    assert!(!String::from_utf8_lossy(&body).contains("\"end\":true"));
}

#[tokio::test]
async fn the_timeline_of_a_notification_is_its_events() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    service.create("alice").await;
    service.mark(&id, "read").await;
    service.mark(&id, "cancel").await;
    let timeline = service.get(&format!("/v1/notifications/{id}/events")).await.expect(200).json();
    let listed = service.events(&format!("aggregate_id={id}")).await;
    assert_eq!(timeline["events"], Value::from(listed.clone()));
    assert_eq!(timeline["cursor"], listed.last().unwrap()["cursor"]);
    let names: Vec<&str> = listed.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let story = ["notification.created", "notification.read", "delivery.succeeded", "notification.cancelled"];
    assert_eq!(names, story);

    let nobody = service.get("/v1/notifications/ntf_01890a5d-ac96-774b-bcce-b302099a8057/events").await;
    assert_eq!(nobody.problem(404), "not-found");
    let own = service.as_user(&service.token("alice"), "GET", &format!("/v1/notifications/{id}/events"));
    assert_eq!(service.send(own).await.problem(403), "forbidden");
}
