//! What a tenant says of its kinds of notification, and its plans that have names: kept, used, and refused where they could not be.

use serde_json::{Value, json};

use crate::support::{Answer, Service, note};

const BILLING: &str = "/v1/categories/billing";
const INSIST: &str = "/v1/plans/insist";

async fn put(service: &Service, path: &str, body: &Value) -> Answer {
    let request = service.request("PUT", path).header("x-api-key", service.root_key());
    service.send(request.json(body)).await
}

async fn delete(service: &Service, path: &str) -> Answer {
    service.send(service.request("DELETE", path).header("x-api-key", service.root_key())).await
}

fn insist() -> Value {
    json!([{"channel": "in_app"}, {"channel": "email", "after": "5m", "unless": "read"}])
}

#[tokio::test]
async fn what_is_put_is_shown_until_it_is_removed_and_there_after_a_restart() {
    let mut service = Service::start().await;
    assert_eq!(service.get(BILLING).await.problem(404), "not-found");
    assert_eq!(service.get(INSIST).await.problem(404), "not-found");
    let mut plan = insist();
    plan[1]["after"] = "300s".into();
    let named = json!({"name": "insist", "plan": insist()});
    assert_eq!(put(&service, INSIST, &json!({"plan": plan})).await.expect(200).json(), named);
    let says = json!({"critical": true, "channels": {"email": false, "in_app": true}, "plan_name": "insist"});
    let mut shown = says.clone();
    shown["category"] = "billing".into();
    let kept = put(&service, BILLING, &says).await.expect(200);
    assert_eq!(kept.json(), shown);
    assert_eq!(kept.header("tidings-cursor"), Some(service.head().await.as_str()));
    let spelled = put(&service, "/v1/categories/a%2Fb%20%C3%A4", &json!({"plan": insist()})).await;
    let of_steps = json!({"category": "a/b ä", "critical": false, "channels": {}, "plan": insist()});
    assert_eq!(spelled.expect(200).json(), of_steps);

    service.terminate();
    service.start_again().await;
    assert_eq!(service.get(BILLING).await.expect(200).json(), shown);
    assert_eq!(service.get(INSIST).await.expect(200).json(), named);
    let listed = service.get("/v1/categories").await.expect(200).json();
    assert_eq!(listed, json!({"categories": [of_steps, shown]}));
    assert_eq!(service.get("/v1/plans").await.expect(200).json(), json!({"plans": [named]}));

    let head = service.head().await;
    put(&service, BILLING, &says).await.expect(200);
    assert_eq!(service.head().await, head, "it is so already");
    assert_eq!(delete(&service, INSIST).await.problem(409), "invalid-state");
    assert_eq!(delete(&service, BILLING).await.expect(200).json(), json!({"category": "billing"}));
    assert_eq!(delete(&service, INSIST).await.expect(200).json(), json!({"name": "insist"}));
    assert_eq!(service.get(BILLING).await.status, 404);
    assert_eq!(service.get(INSIST).await.status, 404);
    assert_eq!(delete(&service, BILLING).await.status, 200, "it is gone already");
}

#[tokio::test]
async fn what_could_not_be_used_is_refused_by_its_name() {
    let service = Service::start().await;
    let head = service.head().await;
    for (path, body, pointer) in [
        (BILLING, json!({"critical": "yes"}), "/critical"),
        (BILLING, json!({"more": 1}), "/more"),
        (BILLING, json!({"channels": {"fax": true}}), "/channels/fax"),
        (BILLING, json!({"channels": {"email": 1}}), "/channels/email"),
        (BILLING, json!({"plan_name": "absent"}), "/plan_name"),
        (BILLING, json!({"plan_name": "no name"}), "/plan_name"),
        (BILLING, json!({"plan_name": ""}), "/plan_name"),
        (BILLING, json!({"plan": insist(), "plan_name": "insist"}), "/plan_name"),
        (BILLING, json!({"plan": 7}), "/plan"),
        (BILLING, json!({"plan": {"channel": "in_app"}}), "/plan"),
        (BILLING, json!({"plan": []}), "/plan"),
        (BILLING, json!({"plan": [{"channel": "fax"}]}), "/plan/0/channel"),
        (
            BILLING,
            json!({"plan": [{"channel": "email"}, {"channel": "slack", "after": "5"}]}),
            "/plan/1/after",
        ),
        (INSIST, json!({"plan": "insist"}), "/plan"),
        (INSIST, json!({"plan": [{"channel": "email"}, {"channel": "in_app"}]}), "/plan/1/channel"),
        (INSIST, json!({"plan": [{"channel": "email", "extra": 1}]}), "/plan/0/extra"),
        (INSIST, json!({}), "/plan"),
    ] {
        let answer = put(&service, path, &body).await;
        assert_eq!(
            (answer.problem(422), answer.pointers()),
            ("invalid-request".into(), vec![pointer.into()]),
            "{body}"
        );
    }
    for (path, name) in [("/v1/plans/no%20name", "plan"), ("/v1/categories/a%00b", "category")] {
        let answer = put(&service, path, &json!({"plan": insist()})).await;
        assert_eq!(
            (answer.problem(400), answer.pointers()),
            ("malformed-request".into(), vec![name.into()]),
            "{path}"
        );
    }
    assert_eq!(service.head().await, head, "nothing was done");
}

/// All that was ever in the inbox, newest first.
async fn inbox_ids(service: &Service, user: &str) -> Vec<String> {
    let inbox = service.inbox(user, "state=all").await;
    inbox["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

fn of_category(user: &str, category: &str) -> Value {
    let mut body = note(user);
    body["category"] = category.into();
    body
}

#[tokio::test]
async fn what_is_not_wanted_in_the_inbox_is_not_there_and_says_why() {
    let service = Service::start().await;
    let off = json!({"categories": {"news": {"in_app": false}, "alarms": {"in_app": false}}});
    put(&service, "/v1/users/alice/preferences", &off).await.expect(200);
    put(&service, "/v1/users/bob/preferences", &json!({"channels": {"in_app": true}})).await.expect(200);
    put(&service, "/v1/categories/ads", &json!({"channels": {"in_app": false}})).await.expect(200);
    put(&service, "/v1/categories/alarms", &json!({"critical": true})).await.expect(200);
    let skipped = service.create_with(&of_category("alice", "news")).await;
    let told = service.get(&format!("/v1/notifications/{skipped}")).await.expect(200).json();
    let delivery = json!({"channel": "in_app", "status": "skipped", "attempt": 1, "skipped": "preference"});
    assert_eq!((&told["status"], &told["deliveries"]), (&json!("active"), &json!([delivery])));
    let alarm = service.create_with(&of_category("alice", "alarms")).await;
    service.create_with(&of_category("alice", "ads")).await;
    service.create_with(&of_category("carol", "ads")).await;
    // Many at once, and many from one.
    let ad = service.create_with(&of_category("bob", "ads")).await;
    let batch = json!({"notifications": [of_category("alice", "news"), of_category("carol", "news")]});
    let batch = service.post("/v1/notifications/batch", &batch).await.expect(200).json();
    let mut broadcast = json!({"user_ids": ["alice", "carol"], "content": {"title": "b", "body": ""}});
    broadcast["category"] = "news".into();
    let broadcast = service.post("/v1/broadcasts", &broadcast).await.expect(201).text("id");
    let done = format!("/v1/broadcasts/{broadcast}");
    while service.get(&done).await.expect(200).text("status") != "completed" {
        service.head().await;
    }
    *service.done.lock().unwrap() = Some(service.head().await);

    assert_eq!(inbox_ids(&service, "alice").await, [alarm]);
    assert_eq!(service.counts("alice").await, (1, 1));
    assert_eq!(inbox_ids(&service, "bob").await, [ad], "the user's word goes before the tenant's");
    let carols = inbox_ids(&service, "carol").await;
    assert_eq!((carols.len(), carols[1].as_str()), (2, batch["results"][1]["id"].as_str().unwrap()));
    let listed = service.read("/v1/notifications?user_id=alice").await.expect(200).json();
    assert_eq!(listed["notifications"].as_array().unwrap().len(), 5, "they are known all the same");
    service.audit(&mut service.sql().await, &["alice", "bob", "carol"]).await;

    put(&service, "/v1/users/alice/preferences", &json!({})).await.expect(200);
    let wanted = service.create_with(&of_category("alice", "news")).await;
    assert_eq!(inbox_ids(&service, "alice").await[0], wanted);
}

#[tokio::test]
async fn a_plan_is_asked_for_by_its_name_or_follows_from_the_category() {
    let service = Service::start().await;
    put(&service, INSIST, &json!({"plan": insist()})).await.expect(200);
    put(&service, BILLING, &json!({"plan_name": "insist"})).await.expect(200);
    let channels = async |body: &Value, key: &str| {
        let id = service.post_keyed("/v1/notifications", body, key).await.expect(201).text("id");
        let told = service.get(&format!("/v1/notifications/{id}")).await.expect(200).json();
        let deliveries = told["deliveries"].as_array().unwrap().clone();
        deliveries.iter().map(|it| it["channel"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut by_name = note("alice");
    by_name["plan_name"] = "insist".into();
    assert_eq!(channels(&by_name, "1").await, ["in_app", "email"]);
    assert_eq!(channels(&of_category("alice", "billing"), "2").await, ["in_app", "email"]);
    assert_eq!(channels(&of_category("alice", "news"), "3").await, ["in_app"]);
    let mut own = of_category("alice", "billing");
    own["plan"] = json!([{"channel": "slack"}]);
    assert_eq!(channels(&own, "4").await, ["slack"]);
    put(&service, "/v1/plans/default", &json!({"plan": [{"channel": "webhook"}]})).await.expect(200);
    assert_eq!(channels(&of_category("alice", "news"), "5").await, ["webhook"]);
    assert_eq!(channels(&note("alice"), "6").await, ["webhook"]);

    delete(&service, BILLING).await.expect(200);
    delete(&service, INSIST).await.expect(200);
    assert_eq!(channels(&by_name, "1").await, ["in_app", "email"], "what was done is answered as it was");
    // The dispatcher goes on with what was made before.
    let created = async || service.events("type=notification.created").await.len();
    let before = created().await;
    let mut broadcast = json!({"user_ids": ["alice"], "content": {"title": "b", "body": ""}});
    for name in ["insist", "no name"] {
        (by_name["plan_name"], broadcast["plan_name"]) = (name.into(), name.into());
        for (path, body) in [("/v1/notifications", &by_name), ("/v1/broadcasts", &broadcast)] {
            let answer = service.post(path, body).await;
            let refused = (answer.problem(422), answer.pointers());
            assert_eq!(refused, ("invalid-request".into(), vec!["/plan_name".into()]), "{path} {name}");
        }
    }
    assert_eq!(created().await, before);
    assert!(service.events("type=broadcast.created").await.is_empty());
}
