//! The list of a tenant's notifications: by user, by where they stand, page by page.

use serde_json::{Value, json};

use crate::support::{Service, Socket, note, run_to_end};

const FAR: &str = "2999-12-31T23:59:59.123Z";

fn with(user: &str, members: Value) -> Value {
    let mut body = note(user);
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

/// A page with everything done so far.
async fn list(service: &Service, query: &str) -> Value {
    service.read(&format!("/v1/notifications?{query}")).await.expect(200).json()
}

async fn ids(service: &Service, query: &str) -> Vec<String> {
    let page = list(service, query).await;
    let notifications = page["notifications"].as_array().unwrap();
    notifications.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn notifications_are_listed_newest_first_by_user_and_page_by_page() {
    let service = Service::start().await;
    let (mut alices, mut all) = (Vec::new(), Vec::new());
    for n in 0..9 {
        let user = ["alice", "bob", "alice"][n % 3];
        let id = service.create(user).await;
        all.insert(0, id.clone());
        if user == "alice" {
            alices.insert(0, id);
        }
    }
    assert_eq!(ids(&service, "").await, all);
    assert_eq!(ids(&service, "user_id=alice").await, alices);
    assert_eq!(ids(&service, "user_id=nobody").await, [""; 0]);
    let (mut paged, mut query) = (Vec::new(), "user_id=alice&limit=4".to_owned());
    loop {
        let page = list(&service, &query).await;
        assert_eq!(page["cursor"], service.head().await);
        let found = page["notifications"].as_array().unwrap();
        assert!(found.len() <= 4);
        paged.extend(found.iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => query = format!("user_id=alice&limit=4&before={next}"),
            None => break,
        }
    }
    assert_eq!(paged, alices, "each once, though a page may end anywhere");
    service.mark(&alices[0], "read").await;
    let page = list(&service, "user_id=alice&limit=1").await;
    let alone = service.get(&format!("/v1/notifications/{}", alices[0])).await.expect(200).json();
    assert_eq!(page["notifications"][0], alone, "the same as when it is asked for by its id");
    let own = service.as_user(&service.token("alice"), "GET", "/v1/notifications?user_id=alice");
    assert_eq!(service.send(own).await.problem(403), "forbidden");
}

#[tokio::test]
async fn notifications_are_listed_by_where_they_stand() {
    let service = Service::start().await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let active = service.create("alice").await;
    let cancelled = service.create("alice").await;
    service.mark(&cancelled, "cancel").await;
    let scheduled = service.create_with(&with("alice", json!({"deliver_at": FAR}))).await;
    let (soon, later) = (service.in_ms(2_000).await, service.in_ms(2_200).await);
    let released = service.create_with(&with("alice", json!({"deliver_at": soon}))).await;
    let expired = service.create_with(&with("alice", json!({"expires_at": later}))).await;
    let bobs = service.create_with(&with("bob", json!({"deliver_at": FAR}))).await;
    assert_eq!(ids(&service, "user_id=alice&status=scheduled").await, [released.clone(), scheduled.clone()]);
    while socket.next_frame().await["event"] != "notification.expired" {}
    *service.done.lock().unwrap() = Some(service.head().await);
    for (status, expected) in [
        ("scheduled", vec![&scheduled]),
        ("active", vec![&released, &active]),
        ("cancelled", vec![&cancelled]),
        ("expired", vec![&expired]),
    ] {
        let found = list(&service, &format!("user_id=alice&status={status}")).await;
        let found = found["notifications"].as_array().unwrap();
        assert_eq!(found.iter().map(|one| one["id"].as_str().unwrap()).collect::<Vec<_>>(), expected);
        assert!(found.iter().all(|one| one["status"] == status), "{found:?}");
    }
    assert_eq!(ids(&service, "status=scheduled").await, [bobs.clone(), scheduled.clone()], "of everybody");
    assert_eq!(ids(&service, "limit=2").await, [bobs, expired]);
    assert_eq!(ids(&service, "user_id=alice").await.len(), 5);
}

#[tokio::test]
async fn rows_of_timers_and_deliveries_are_what_the_log_says() {
    let service = Service::start().await;
    let mut sql = service.sql().await;
    let id = service.create_with(&with("alice", json!({"expires_at": FAR}))).await;
    let deliver = format!("/v1/notifications/{id}/deliver");
    let failed = json!({"channel": "in_app", "outcome": "failed", "error": "no device"});
    let delivered = json!({"channel": "in_app", "outcome": "delivered"});
    let mut told = Vec::new();
    for step in 0..4 {
        match step {
            0 => {}
            1 => _ = service.post(&deliver, &failed).await.expect(200),
            2 => _ = service.mark(&id, "retry").await,
            _ => _ = service.post(&deliver, &delivered).await.expect(200),
        }
        list(&service, "").await;
        let row: (String, String, i32, Option<String>) =
            sqlx::query_as("SELECT life, status, attempt, error FROM delivery_v3.deliveries")
                .fetch_one(&mut sql)
                .await
                .unwrap();
        told.push(row);
    }
    let row = |status: &str, attempt, error: Option<&str>| {
        ("active".to_owned(), status.to_owned(), attempt, error.map(str::to_owned))
    };
    let why = Some("no device");
    let expected = [
        row("pending", 1, None),
        row("dead_lettered", 1, why),
        row("pending", 2, why),
        row("delivered", 2, None),
    ];
    assert_eq!(told, expected);
    for _ in 0..3 {
        let id = service.create_with(&with("bob", json!({"deliver_at": FAR}))).await;
        let snoozed = service.create("bob").await;
        let snooze = format!("/v1/notifications/{snoozed}/snooze");
        service.post(&snooze, &json!({"until": FAR})).await.expect(200);
        service.mark(&id, "cancel").await;
    }
    list(&service, "").await;
    let mut command = service.command("rebuild");
    command.args(["timers", "delivery", "--diff"]);
    let ended = run_to_end(command);
    assert_eq!((ended.code, ended.output.as_str()), (Some(0), ""), "{}", ended.errors);
    assert_eq!(ids(&service, "status=cancelled").await.len(), 3, "the rebuilt one serves");
}

#[tokio::test]
async fn the_notifications_of_a_parked_user_are_not_listed() {
    let service = Service::start().await;
    service.create("alice").await;
    let bobs = service.create("bob").await;
    assert_eq!(ids(&service, "").await.len(), 2);
    let parked = "INSERT INTO delivery_v3.parked (tenant, user_id, position, generation, error)
                  VALUES ('default', 'alice', 1, 1, 'for a test')";
    sqlx::query(parked).execute(&mut service.sql().await).await.unwrap();
    let refused = service.read("/v1/notifications?user_id=alice").await;
    assert_eq!(refused.problem(503), "projection-behind");
    assert_eq!(ids(&service, "").await, std::slice::from_ref(&bobs));
    assert_eq!(ids(&service, "user_id=bob").await, [bobs]);
}
