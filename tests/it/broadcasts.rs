//! Broadcasts: everybody who was meant gets one notification, whoever comes, goes or dies meanwhile.

use std::time::Instant;

use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::support::{Answer, PATIENCE, Service, Socket, note, run_to_end};

const BROADCASTS: &str = "/v1/broadcasts";
/// More than a few chunks, and soon made.
const MANY: usize = 3_000;

fn to_topic(topic: &str) -> Value {
    json!({"topic": topic, "content": {"title": "Version 2 is out", "body": "Read what is new."}})
}

fn to_users(users: &[&str]) -> Value {
    json!({"user_ids": users, "content": {"title": "Version 2 is out", "body": ""}})
}

async fn subscribe(service: &Service, topic: &str, users: &[String]) {
    for users in users.chunks(1_000) {
        let request = service.request("PUT", &format!("/v1/topics/{topic}/subscribers"));
        let request = request.json(&json!({"user_ids": users})).header("x-api-key", service.root_key());
        service.send(request).await.expect(200);
    }
}

async fn unsubscribe(service: &Service, topic: &str, user: &str) {
    let request = service.request("DELETE", &format!("/v1/topics/{topic}/subscribers/{user}"));
    service.send(request.header("x-api-key", service.root_key())).await.expect(200);
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("user-{n:05}")).collect()
}

async fn broadcast(service: &Service, body: &Value) -> String {
    service.post(BROADCASTS, body).await.expect(201).text("id")
}

async fn shown(service: &Service, id: &str) -> Value {
    service.get(&format!("{BROADCASTS}/{id}")).await.expect(200).json()
}

/// Asks until it is at its end; what was made is what reads wait for from there on.
async fn ended(service: &Service, id: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = shown(service, id).await;
        if shown["status"] != "running" {
            *service.done.lock().unwrap() = Some(shown["cursor"].as_str().unwrap().to_owned());
            return shown;
        }
        assert!(Instant::now() < deadline, "{shown}");
    }
}

/// Notifications that were made, and for how many users.
async fn made(sql: &mut PgConnection) -> (i64, i64) {
    let made = "SELECT count(*), count(DISTINCT (tenant, recipient)) FROM events
                 WHERE event_type = 'notification.created'";
    sqlx::query_as(made).fetch_one(sql).await.unwrap()
}

fn rebuilt_without_difference(service: &Service) {
    let mut command = service.command("rebuild");
    command.args(["subscribers", "inbox", "--diff"]);
    let ended = run_to_end(command);
    assert_eq!((ended.code, ended.output.as_str()), (Some(0), ""), "{}", ended.errors);
}

#[tokio::test]
async fn everybody_subscribed_gets_one_notification_and_who_has_left_or_comes_later_none() {
    let service = Service::start().await;
    subscribe(&service, "releases", &["alice", "bob", "carol"].map(str::to_owned)).await;
    unsubscribe(&service, "releases", "bob").await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let mut body = to_topic("releases");
    let more = json!({"category": "releases", "priority": "high", "data": {"version": 2}, "tags": ["news"]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = service.post(BROADCASTS, &body).await.expect(201);
    let (id, asked_at) = (answer.text("id"), answer.text("cursor"));
    // After it, whatever has been fanned out by now.
    unsubscribe(&service, "releases", "carol").await;
    subscribe(&service, "releases", &["dora".to_owned()]).await;

    let frame = socket.event("notification.created").await;
    let item = frame["notification"].clone();
    assert_eq!((&item["title"], &item["data"]), (&"Version 2 is out".into(), &json!({"version": 2})));
    assert_eq!((&item["category"], &item["priority"]), (&"releases".into(), &"high".into()));
    let ended = ended(&service, &id).await;
    assert_eq!(ended["status"], "completed");
    assert_eq!(
        (&ended["topic"], &ended["created"], &ended["total"]),
        (&"releases".into(), &2.into(), &2.into())
    );
    for (user, expected) in [("alice", 1), ("bob", 0), ("carol", 1), ("dora", 0)] {
        assert_eq!(service.counts(user).await, (expected, expected), "{user}");
    }
    let events = service.events(&format!("aggregate_id={id}")).await;
    let types: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["broadcast.created", "broadcast.progressed", "broadcast.completed"]);
    assert_eq!(events[0]["cursor"], json!(asked_at));
    let created = service.events("user_id=alice&type=notification.created").await;
    assert_eq!(created[0]["metadata"]["causation_id"], json!(id), "it says where it comes from");
    assert_eq!(created[0]["metadata"]["actor"], events[0]["metadata"]["actor"]);
    rebuilt_without_difference(&service);
}

#[tokio::test]
async fn a_list_of_users_is_reached_once_each_and_a_topic_of_nobody_completes_at_once() {
    let service = Service::start().await;
    let id = broadcast(&service, &to_users(&["bob", "alice", "bob", "ädä", "alice"])).await;
    let ended_at = ended(&service, &id).await;
    assert_eq!((&ended_at["created"], &ended_at["total"]), (&3.into(), &3.into()));
    assert_eq!(ended_at.get("topic"), None);
    assert_eq!((service.counts("alice").await, service.counts("ädä").await), ((1, 1), (1, 1)));

    let empty = broadcast(&service, &to_topic("nothing")).await;
    let ended_at = ended(&service, &empty).await;
    assert_eq!((&ended_at["status"], &ended_at["created"]), (&"completed".into(), &0.into()));

    let page = service.read(&format!("{BROADCASTS}?limit=1")).await.expect(200).json();
    assert_eq!(page["broadcasts"][0]["id"], json!(empty), "the newest first");
    let next = page["next"].as_str().unwrap();
    let page = service.read(&format!("{BROADCASTS}?limit=1&before={next}")).await.expect(200).json();
    assert_eq!((&page["broadcasts"][0]["id"], &page["next"]), (&json!(id), &Value::Null));
    assert_eq!(
        (&page["broadcasts"][0]["created"], &page["broadcasts"][0]["status"]),
        (&3.into(), &"completed".into())
    );
}

#[tokio::test]
async fn kill_minus_9_in_the_middle_again_and_again_ends_in_exactly_one_for_everybody() {
    let mut service = Service::start().await;
    subscribe(&service, "releases", &names(MANY)).await;
    let id = broadcast(&service, &to_topic("releases")).await;
    let mut created = 0;
    for _ in 0..2 {
        let deadline = Instant::now() + PATIENCE;
        // In the middle: something was made since the last time.
        loop {
            let shown = shown(&service, &id).await;
            if shown["created"].as_i64().unwrap() > created {
                created = shown["created"].as_i64().unwrap();
                break;
            }
            assert!(Instant::now() < deadline, "{shown}");
        }
        service.kill();
        service.start_again().await;
    }
    let ended = ended(&service, &id).await;
    assert_eq!((&ended["status"], &ended["created"]), (&"completed".into(), &json!(MANY)));
    let mut sql = service.sql().await;
    assert_eq!(made(&mut sql).await, (MANY as i64, MANY as i64));
    // It waits until the inbox is there.
    assert_eq!(service.counts("user-02999").await, (1, 1));
    service.audit(&mut sql, &["user-00000", "user-02999"]).await;
    rebuilt_without_difference(&service);
}

#[tokio::test]
async fn two_nodes_that_work_on_many_broadcasts_make_each_notification_once() {
    let first = Service::start().await;
    let second = first.another_node().await;
    subscribe(&first, "releases", &names(600)).await;
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(broadcast([&first, &second][n % 2], &to_topic("releases")).await);
    }
    // A node whose locks are gone goes on beside the one that has them then.
    let mut sql = first.sql().await;
    for _ in 0..3 {
        let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE application_name = 'tidings fan-out'";
        sqlx::query_scalar::<_, i64>(cut).fetch_one(&mut sql).await.unwrap();
    }
    for id in &ids {
        assert_eq!(ended(&second, id).await["created"], 600);
    }
    assert_eq!(made(&mut sql).await, (3_600, 600));
    let each: Vec<(String, i64)> = sqlx::query_as(
        "SELECT metadata ->> 'causation_id', count(DISTINCT recipient) FROM events
          WHERE event_type = 'notification.created' GROUP BY 1",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    assert!(each.len() == 6 && each.iter().all(|(_, users)| *users == 600), "{each:?}");
}

#[tokio::test]
async fn a_cancelled_broadcast_stops_between_two_chunks_and_says_how_many_were_made() {
    let service = Service::start().await;
    subscribe(&service, "releases", &names(MANY)).await;
    let id = broadcast(&service, &to_topic("releases")).await;
    let path = format!("{BROADCASTS}/{id}/cancel");
    let cancelled = service.post_keyed(&path, &Value::Null, "stop").await.expect(200);
    let told = cancelled.json();
    assert_eq!(told["status"], "cancelled", "it takes longer than this request: {told}");
    let created = told["created"].as_i64().unwrap();
    assert!(created < MANY as i64 && created % 248 == 0, "{told}");
    let again = service.post_keyed(&path, &Value::Null, "stop").await.expect(200);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(service.post(&path, &Value::Null).await.expect(200).json(), told, "it is so already");

    // The cancellation may take the place of a chunk at any moment of its making.
    let mut all = created;
    for _ in 0..6 {
        let id = broadcast(&service, &to_topic("releases")).await;
        let path = format!("{BROADCASTS}/{id}/cancel");
        let told = service.post(&path, &Value::Null).await.expect(200).json();
        all += told["created"].as_i64().unwrap();
    }
    // Whatever was under way is refused by now: the next broadcast comes after it.
    let next = broadcast(&service, &to_users(&["alice"])).await;
    ended(&service, &next).await;
    assert_eq!(made(&mut service.sql().await).await.0, all + 1, "nothing follows a cancellation");
    assert_eq!(shown(&service, &id).await, told);
    let over = service.post(&format!("{BROADCASTS}/{next}/cancel"), &Value::Null).await.expect(200).json();
    assert_eq!((&over["status"], &over["created"]), (&"completed".into(), &1.into()));
}

#[tokio::test]
async fn broadcasts_that_always_fail_leave_their_places_to_others() {
    let service = Service::start().await;
    let mut sql = service.sql().await;
    let nobody = "INSERT INTO subscribers_v1.subscribers (tenant, topic, user_id, since, position)
                  VALUES ('default', 'broken', repeat('x', 1000), 1, 1)";
    sqlx::query(nobody).execute(&mut sql).await.unwrap();
    let mut broken = Vec::new();
    for _ in 0..5 {
        broken.push(broadcast(&service, &to_topic("broken")).await);
    }
    let id = broadcast(&service, &to_users(&["alice"])).await;
    assert_eq!(ended(&service, &id).await["status"], "completed");
    sqlx::query("DELETE FROM subscribers_v1.subscribers").execute(&mut sql).await.unwrap();
    for id in broken {
        assert_eq!(ended(&service, &id).await["status"], "completed", "it is taken up again");
    }
}

#[tokio::test]
async fn a_repeated_request_is_one_broadcast() {
    let service = Service::start().await;
    let body = to_users(&["alice"]);
    let posts = (0..8).map(|_| service.post_keyed(BROADCASTS, &body, "once"));
    let answers = futures_util::future::join_all(posts).await;
    let replayed = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_some()).count();
    assert_eq!(replayed, 7);
    assert!(answers.iter().all(|answer| answer.status == 201 && answer.body == answers[0].body));
    ended(&service, &answers[0].text("id")).await;
    assert_eq!(service.counts("alice").await, (1, 1));
    let other = service.post_keyed(BROADCASTS, &to_users(&["bob"]), "once").await;
    assert_eq!(other.problem(422), "idempotency-key-reused");
}

#[tokio::test]
async fn words_are_sealed_and_a_plan_is_carried() {
    let service = Service::start().await;
    let mut body = to_users(&["alice"]);
    body["content"]["body"] = "hush".into();
    body["plan"] = json!([{"channel": "in_app"}, {"channel": "email", "after": "1h", "unless": "read"}]);
    body["expires_at"] = "2999-12-31T23:59:59Z".into();
    let id = broadcast(&service, &body).await;
    ended(&service, &id).await;
    let stored: Vec<String> = sqlx::query_scalar("SELECT payload::text FROM events")
        .fetch_all(&mut service.sql().await)
        .await
        .unwrap();
    assert!(stored.len() == 4 && stored.iter().all(|payload| !payload.contains("hush")), "{stored:?}");
    let told = service.events(&format!("aggregate_id={id}")).await;
    assert_eq!(told[0]["data"]["content"]["body"], "hush");
    let created = service.events("user_id=alice&type=notification.created").await;
    assert_eq!(created[0]["data"]["plan"][1]["after_s"], 3_600);
    assert_eq!(created[0]["data"]["expires_at"], told[0]["data"]["expires_at"]);
}

#[tokio::test]
async fn a_broadcast_reaches_its_own_tenant_and_is_seen_by_it_alone() {
    let service = Service::start().await;
    let theirs = json!({"name": "theirs", "tenant": "acme", "scopes": ["admin"]});
    let theirs = service.key_with(theirs).await.secret;
    subscribe(&service, "releases", &["alice".to_owned()]).await;
    let as_theirs = |method: &str, path: &str| service.request(method, path).header("x-api-key", &theirs);
    let posted: Answer = service.send(as_theirs("POST", BROADCASTS).json(&to_topic("releases"))).await;
    let id = posted.expect(201).text("id");
    let path = format!("{BROADCASTS}/{id}");
    for request in [("GET", path.clone()), ("POST", format!("{path}/cancel"))] {
        let request = service.request(request.0, &request.1).header("x-api-key", service.root_key());
        assert_eq!(service.send(request).await.problem(404), "not-found");
    }
    let deadline = Instant::now() + PATIENCE;
    while service.send(as_theirs("GET", &path)).await.expect(200).json()["status"] != "completed" {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(service.counts("alice").await, (0, 0), "their topic has no subscribers");
    assert_eq!(service.read(BROADCASTS).await.expect(200).json()["broadcasts"], json!([]));
}

#[tokio::test]
async fn an_urgent_notification_overtakes_a_broadcast() {
    let service = Service::start().await;
    subscribe(&service, "releases", &names(MANY)).await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let id = broadcast(&service, &to_topic("releases")).await;
    let mut urgent = note("alice");
    urgent["priority"] = "urgent".into();
    service.create_with(&urgent).await;
    assert_eq!(socket.event("notification.created").await["notification"]["priority"], "urgent");
    assert_eq!(shown(&service, &id).await["status"], "running");
    ended(&service, &id).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_broadcast_is_told_by_its_place() {
    let service = Service::start().await;
    let users: Vec<String> = (0..10_001).map(|n| n.to_string()).collect();
    let with = |name: &str, value: Value| {
        let mut body = to_topic("releases");
        body[name] = value;
        body
    };
    let list = |user_ids: Value| json!({"user_ids": user_ids, "content": {"title": "x", "body": ""}});
    for (body, pointer) in [
        (json!({"content": {"title": "x", "body": ""}}), "/topic"),
        (with("user_ids", json!(["alice"])), "/user_ids"),
        (list(json!([])), "/user_ids"),
        (list(json!(users)), "/user_ids"),
        (list(json!(["alice", ""])), "/user_ids/1"),
        (list(json!(["a\u{7}"])), "/user_ids/0"),
        (list(json!(["al\u{0}ice"])), "/user_ids/0"),
        (list(json!("alice")), "/user_ids"),
        (list(json!([1])), "/user_ids/0"),
        (to_topic("no topic"), "/topic"),
        (to_topic(""), "/topic"),
        (with("user_id", json!("alice")), "/user_id"),
        (with("content", json!({"title": "", "body": ""})), "/content/title"),
        (with("priority", json!("shout")), "/priority"),
        (with("plan", json!([])), "/plan"),
        (with("tags", json!(["a", "a"])), "/tags/1"),
        (with("deliver_at", json!("soon")), "/deliver_at"),
        (with("expires_at", json!("2001-01-01T00:00:00Z")), "/expires_at"),
        (json!({"topic": "releases"}), "/content"),
    ] {
        let refused = service.post(BROADCASTS, &body).await;
        assert_eq!(refused.problem(422), "invalid-request", "{pointer}");
        assert_eq!(refused.pointers(), [pointer], "{refused:?}");
    }
    for path in ["brd_1", "ntf_01980a5c-7d3e-7abc-8def-0123456789ab"] {
        let refused = service.get(&format!("{BROADCASTS}/{path}")).await;
        assert_eq!(
            (refused.problem(400).as_str(), refused.pointers()),
            ("malformed-request", vec!["id".into()])
        );
    }
    let nobody = format!("{BROADCASTS}/brd_01980a5c-7d3e-7abc-8def-0123456789ab");
    assert_eq!(service.get(&nobody).await.problem(404), "not-found");
    let cancel = service.post(&format!("{nobody}/cancel"), &Value::Null).await;
    assert_eq!(cancel.problem(404), "not-found");
    assert_eq!(service.events("").await.len(), 0, "nothing is half done");
}
