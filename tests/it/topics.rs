//! Topics: who is subscribed is kept, listed in order, in its tenant, and told as it was.

use serde_json::{Value, json};

use crate::support::{Answer, Service, run_to_end};

async fn send(service: &Service, method: &str, path: &str) -> Answer {
    service.send(service.request(method, path).header("x-api-key", service.root_key())).await
}

async fn subscribe(service: &Service, topic: &str, user: &str) -> Answer {
    send(service, "PUT", &format!("/v1/topics/{topic}/subscribers/{user}")).await
}

async fn unsubscribe(service: &Service, topic: &str, user: &str) -> Answer {
    send(service, "DELETE", &format!("/v1/topics/{topic}/subscribers/{user}")).await
}

async fn subscribe_many(service: &Service, topic: &str, body: &Value, key: Option<&str>) -> Answer {
    let request = service.request("PUT", &format!("/v1/topics/{topic}/subscribers")).json(body);
    let request = request.header("x-api-key", service.root_key());
    service.send(key.into_iter().fold(request, |request, key| request.header("idempotency-key", key))).await
}

/// One page, and where the next begins.
async fn page(service: &Service, path: &str, list: &str, name: &str) -> (Vec<String>, Value) {
    let page = service.read(path).await.expect(200).json();
    let names = page[list].as_array().unwrap().iter().map(|one| one[name].as_str().unwrap().to_owned());
    (names.collect(), page["next"].clone())
}

async fn subscribers(service: &Service, topic: &str, query: &str) -> (Vec<String>, Value) {
    page(service, &format!("/v1/topics/{topic}/subscribers?{query}"), "subscribers", "user_id").await
}

async fn topics(service: &Service, user: &str) -> Vec<String> {
    page(service, &format!("/v1/users/{user}/topics"), "topics", "topic").await.0
}

#[tokio::test]
async fn who_subscribes_is_listed_until_he_leaves_and_saying_so_twice_is_one_event() {
    let mut service = Service::start().await;
    assert_eq!(subscribers(&service, "releases", "").await, (vec![], Value::Null));
    for user in ["carol", "alice", "alice", "bob"] {
        let kept = subscribe(&service, "releases", user).await.expect(200);
        assert_eq!(kept.json(), json!({"topic": "releases", "user_id": user, "subscribed": true}));
        assert_eq!(kept.header("tidings-cursor"), Some(service.head().await.as_str()));
    }
    subscribe(&service, "outages", "alice").await.expect(200);
    assert_eq!(subscribers(&service, "releases", "").await.0, ["alice", "bob", "carol"]);
    assert_eq!(topics(&service, "alice").await, ["outages", "releases"]);

    for _ in 0..2 {
        let left = unsubscribe(&service, "releases", "alice").await.expect(200);
        assert_eq!(left.json()["subscribed"], false);
    }
    unsubscribe(&service, "nothing", "alice").await.expect(200);
    service.terminate();
    service.start_again().await;
    assert_eq!(subscribers(&service, "releases", "").await.0, ["bob", "carol"]);
    assert_eq!(topics(&service, "alice").await, ["outages"]);
    let events = service.events("user_id=alice").await;
    let types: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["topic.subscribed", "topic.subscribed", "topic.unsubscribed"]);
    assert_eq!(events[0]["aggregate_id"], "sub_7:default8:releasesalice");
    let of_one = service.events("aggregate_id=sub_7:default8:releasesalice").await;
    assert_eq!(of_one, [events[0].clone(), events[2].clone()]);
}

#[tokio::test]
async fn a_thousand_users_subscribe_at_once_and_are_listed_page_by_page() {
    let service = Service::start().await;
    subscribe(&service, "releases", "user-0007").await.expect(200);
    let mut user_ids: Vec<String> = (0..999).map(|n| format!("user-{n:04}")).collect();
    user_ids.push("user-0003".into());
    let answer = subscribe_many(&service, "releases", &json!({"user_ids": user_ids}), None).await.expect(200);
    let results = answer.json()["results"].as_array().unwrap().clone();
    let expected = user_ids.iter().map(|user| json!({"user_id": user, "status": 200}));
    assert_eq!(results, expected.collect::<Vec<_>>());
    assert_eq!(service.events("type=topic.subscribed").await.len(), 999, "nobody twice");
    let (mut listed, mut query) = (Vec::new(), "limit=400".to_owned());
    loop {
        let (names, next) = subscribers(&service, "releases", &query).await;
        listed.extend(names);
        let Some(next) = next.as_str() else { break };
        query = format!("limit=400&after={next}");
    }
    user_ids.pop();
    assert_eq!(listed, user_ids);
}

#[tokio::test]
async fn ids_that_are_none_fail_alone_and_a_keyed_request_is_answered_again_as_before() {
    let service = Service::start().await;
    let body = json!({"user_ids": ["bob", "", "al\nice", "alice"]});
    let first = subscribe_many(&service, "releases", &body, Some("once")).await.expect(200);
    let results = first.json()["results"].clone();
    let statuses: Vec<&Value> = results.as_array().unwrap().iter().map(|it| &it["status"]).collect();
    assert_eq!(statuses, [200, 422, 422, 200]);
    assert_eq!(results[1]["problem"]["errors"][0]["pointer"], "/user_ids/1");
    assert_eq!(subscribers(&service, "releases", "").await.0, ["alice", "bob"]);

    unsubscribe(&service, "releases", "bob").await.expect(200);
    let again = subscribe_many(&service, "releases", &body, Some("once")).await.expect(200);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(
        (again.json(), again.header("tidings-cursor")),
        (first.json(), first.header("tidings-cursor"))
    );
    assert_eq!(subscribers(&service, "releases", "").await.0, ["alice"], "it has its effect once");
    let other = subscribe_many(&service, "releases", &json!({"user_ids": ["x"]}), Some("once")).await;
    assert_eq!(other.problem(422), "idempotency-key-reused");
    let nobody = subscribe_many(&service, "releases", &json!({"user_ids": [""]}), Some("nobody")).await;
    assert_eq!(nobody.expect(200).json()["results"][0]["status"], 422);
}

#[tokio::test]
async fn what_is_no_topic_no_user_or_no_list_is_refused_by_its_name() {
    let service = Service::start().await;
    let long = "t".repeat(129);
    for topic in ["a%20b", "-a", "%C3%A4", long.as_str()] {
        let refused = subscribe(&service, topic, "alice").await;
        assert_eq!(
            (refused.problem(400).as_str(), refused.pointers()),
            ("malformed-request", vec!["topic".into()])
        );
        let refused = send(&service, "GET", &format!("/v1/topics/{topic}/subscribers")).await;
        assert_eq!(
            (refused.problem(400).as_str(), refused.pointers()),
            ("malformed-request", vec!["topic".into()])
        );
    }
    let refused = subscribe(&service, "releases", "a%0Ab").await;
    assert_eq!(
        (refused.problem(400).as_str(), refused.pointers()),
        ("malformed-request", vec!["user_id".into()])
    );
    for (query, name) in [("limit=0", "limit"), ("limit=1001", "limit"), ("after=", "after")] {
        let refused = send(&service, "GET", &format!("/v1/topics/releases/subscribers?{query}")).await;
        assert_eq!(
            (refused.problem(400).as_str(), refused.pointers()),
            ("malformed-request", vec![name.into()])
        );
    }
    let many: Vec<String> = (0..1_001).map(|n| n.to_string()).collect();
    for (body, pointer) in [
        (json!({"user_ids": []}), "/user_ids"),
        (json!({"user_ids": many}), "/user_ids"),
        (json!({"user_ids": "alice"}), "/user_ids"),
        (json!({"user_ids": [7]}), "/user_ids/0"),
        (json!({"users": ["alice"]}), "/users"),
        (json!({}), "/user_ids"),
    ] {
        let refused = subscribe_many(&service, "releases", &body, None).await;
        assert_eq!(
            (refused.problem(422).as_str(), refused.pointers()),
            ("invalid-request", vec![pointer.into()])
        );
    }
    assert_eq!(service.events("").await.len(), 0);
}

#[tokio::test]
async fn a_topic_of_one_tenant_is_none_of_another() {
    let service = Service::start().await;
    let theirs = json!({"name": "theirs", "tenant": "acme", "scopes": ["admin"]});
    let theirs = service.key_with(theirs).await.secret;
    subscribe(&service, "releases", "alice").await.expect(200);
    let path = "/v1/topics/releases/subscribers/bob";
    service.send(service.request("PUT", path).header("x-api-key", &theirs)).await.expect(200);
    assert_eq!(subscribers(&service, "releases", "").await.0, ["alice"]);
    assert_eq!(topics(&service, "bob").await, [] as [&str; 0]);
}

#[tokio::test]
async fn racers_that_come_and_go_leave_a_log_and_rows_that_agree() {
    let first = Service::start().await;
    let second = first.another_node().await;
    let changes = (0..60).map(async |n| {
        let (node, user) = ([&first, &second][n % 2], ["alice", "bob"][n / 2 % 2]);
        let change = ["PUT", "DELETE"][n / 4 % 2];
        send(node, change, &format!("/v1/topics/releases/subscribers/{user}")).await.expect(200);
        subscribe_many(node, "releases", &json!({"user_ids": ["alice", "bob"]}), None).await.expect(200);
    });
    futures_util::future::join_all(changes).await;
    for user in ["alice", "bob"] {
        let events = first.events(&format!("user_id={user}")).await;
        let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        for pair in types.windows(2) {
            assert_ne!(pair[0], pair[1], "{types:?}");
        }
    }
    let mut command = first.command("rebuild");
    command.args(["subscribers", "--diff"]);
    let ended = run_to_end(command);
    assert_eq!((ended.code, ended.output.as_str()), (Some(0), ""), "{}", ended.errors);
}
