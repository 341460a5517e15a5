//! The inbox: which items a user sees in which state, and how many of them count.

use serde_json::{Value, json};

use crate::support::{Service, note};

fn ids(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// The ids an inbox shows in a state, newest first.
async fn shown(service: &Service, state: &str) -> Vec<String> {
    ids(&service.inbox("alice", &format!("state={state}")).await)
}

async fn item(service: &Service, id: &str) -> Value {
    let page = service.inbox("alice", "state=all").await;
    page["items"].as_array().unwrap().iter().find(|item| item["id"] == id).cloned().unwrap_or_default()
}

#[tokio::test]
async fn every_mark_moves_an_item_between_the_states_and_the_counts_follow() {
    let service = Service::start().await;
    let (old, new) = (service.create("alice").await, service.create("alice").await);
    let both = vec![new.clone(), old.clone()];
    assert_eq!(shown(&service, "active").await, both);
    assert_eq!(shown(&service, "unread").await, both);
    assert_eq!(shown(&service, "unseen").await, both);
    assert_eq!(service.counts("alice").await, (2, 2));

    service.mark(&old, "seen").await;
    assert_eq!(service.counts("alice").await, (2, 1));
    assert_eq!(shown(&service, "unseen").await, [new.as_str()]);
    let seen_at = item(&service, &old).await["seen_at"].clone();
    assert!(seen_at.is_string());

    // Read implies seen, and the first time it was seen stays.
    service.mark(&old, "read").await;
    service.mark(&new, "read").await;
    assert_eq!(service.counts("alice").await, (0, 0));
    assert_eq!(shown(&service, "read").await, both);
    assert_eq!(shown(&service, "unread").await, [""; 0]);
    assert_eq!(item(&service, &old).await["seen_at"], seen_at);
    let read = item(&service, &new).await;
    assert_eq!(read["seen_at"], read["read_at"]);

    // Unread takes the reading back, not the seeing.
    service.mark(&old, "unread").await;
    assert_eq!(service.counts("alice").await, (1, 0));
    let unread = item(&service, &old).await;
    assert_eq!(
        (&unread["seen_at"], unread.get("read_at")),
        (&seen_at, None),
        "optional members are left out"
    );
    assert_eq!(shown(&service, "unread").await, [old.as_str()]);
}

#[tokio::test]
async fn an_archived_item_counts_for_nothing_until_it_is_taken_out() {
    let service = Service::start().await;
    let (kept, archived) = (service.create("alice").await, service.create("alice").await);

    // Archiving an unread item reads it first.
    service.mark(&archived, "archive").await;
    assert_eq!(service.counts("alice").await, (1, 1));
    assert_eq!(shown(&service, "active").await, [kept.as_str()]);
    assert_eq!(shown(&service, "archived").await, [archived.as_str()]);
    assert_eq!(shown(&service, "all").await, [archived.as_str(), &kept]);
    let names: Vec<Value> = service
        .events(&format!("aggregate_id={archived}"))
        .await
        .iter()
        .map(|event| event["type"].clone())
        .filter(|name| name.as_str().unwrap().starts_with("notification."))
        .collect();
    assert_eq!(names, ["notification.created", "notification.read", "notification.archived"]);

    // Unread on an archived item is allowed, and counts once it is back.
    service.mark(&archived, "unread").await;
    assert_eq!(service.counts("alice").await, (1, 1));
    assert_eq!(shown(&service, "unread").await, [kept.as_str()]);
    service.mark(&archived, "unarchive").await;
    assert_eq!(service.counts("alice").await, (2, 1), "it was seen when it was archived");
    assert_eq!(shown(&service, "unread").await, [archived.as_str(), &kept]);
    assert_eq!(item(&service, &archived).await.get("archived_at"), None);

    // A cancelled item leaves every list and every count.
    service.mark(&kept, "cancel").await;
    assert_eq!(service.counts("alice").await, (1, 0));
    for state in ["active", "unread", "unseen", "read", "archived", "snoozed", "all"] {
        assert!(!shown(&service, state).await.contains(&kept), "{state}");
    }
}

#[tokio::test]
async fn a_mark_that_changes_nothing_succeeds_and_adds_nothing_to_the_log() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    for (word, opposite) in [("seen", None), ("read", Some("unread")), ("archive", Some("unarchive"))] {
        service.mark(&id, word).await;
        let head = service.head().await;
        let repeated = service.mark(&id, word).await;
        assert_eq!(service.head().await, head, "a repeated {word}");
        assert_eq!(repeated, head, "everything it asked for is at or before the head");
        if let Some(opposite) = opposite {
            service.mark(&id, opposite).await;
            let head = service.head().await;
            service.mark(&id, opposite).await;
            assert_eq!(service.head().await, head, "a repeated {opposite}");
        }
    }
    service.mark(&id, "cancel").await;
    let head = service.head().await;
    service.mark(&id, "cancel").await;
    assert_eq!(service.head().await, head, "a repeated cancel");
}

#[tokio::test]
async fn an_inbox_is_paged_newest_first_until_next_is_null() {
    let service = Service::start().await;
    let batch = json!({"notifications": vec![note("alice"); 45]});
    service.post("/v1/notifications/batch", &batch).await.expect(200);

    let (mut sizes, mut listed, mut query) = (Vec::new(), Vec::new(), String::new());
    loop {
        let page = service.inbox("alice", &query).await;
        assert_eq!(
            (&page["unread"], &page["unseen"]),
            (&45.into(), &45.into()),
            "of the inbox, not of the page"
        );
        sizes.push(ids(&page).len());
        listed.extend(ids(&page));
        match &page["next"] {
            Value::String(next) => query = format!("before={next}"),
            next => {
                assert!(next.is_null() && page.as_object().unwrap().contains_key("next"), "{page}");
                break;
            }
        }
    }
    assert_eq!(sizes, [20, 20, 5]);
    let created = service.events("").await;
    assert_eq!(
        listed,
        created.iter().rev().map(|event| event["aggregate_id"].as_str().unwrap()).collect::<Vec<_>>()
    );

    let exact = service.inbox("alice", "limit=45").await;
    assert_eq!((ids(&exact).len(), &exact["next"]), (45, &Value::Null), "a full last page is the last page");
    let smaller = service.inbox("alice", "limit=44").await;
    let rest =
        service.inbox("alice", &format!("limit=100&before={}", smaller["next"].as_str().unwrap())).await;
    assert_eq!((ids(&smaller).len(), ids(&rest).len(), &rest["next"]), (44, 1, &Value::Null));
}

#[tokio::test]
async fn an_item_shows_what_was_sent_and_leaves_out_what_was_not() {
    let service = Service::start().await;
    let full = json!({
        "user_id": "alice",
        "content": {"title": "Täglich 💶", "body": "a\n\"b\"", "action_url": "https://app.example/1?a=b#c"},
        "category": "billing", "priority": "urgent", "plan": [{"channel": "in_app"}],
        "data": {"amount": 12.5, "none": null, "nested": [{"deep": true}], "": "empty"}, "tags": ["vip", "q3"],
    });
    let (full_id, plain_id) = (service.create_with(&full).await, service.create("alice").await);

    let mut shown = item(&service, &full_id).await;
    let members = shown.as_object_mut().unwrap();
    assert!(members.remove("created_at").unwrap().as_str().unwrap().ends_with('Z'));
    assert!(members.remove("cursor").unwrap().is_string());
    let content = &full["content"];
    let expected = json!({
        "id": full_id, "title": content["title"], "body": content["body"], "action_url": content["action_url"],
        "category": "billing", "priority": "urgent", "data": full["data"], "tags": ["vip", "q3"],
    });
    assert_eq!(shown, expected);

    let plain = item(&service, &plain_id).await;
    let names: Vec<&str> = plain.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["id", "title", "body", "priority", "created_at", "cursor"]);
    assert_eq!(plain["priority"], "normal");
}

#[tokio::test]
async fn each_user_has_an_inbox_whatever_the_user_is_called() {
    let service = Service::start().await;
    assert_eq!(
        service.inbox("nobody", "").await,
        json!({"items": [], "next": null, "unread": 0, "unseen": 0, "cursor": service.head().await}),
    );
    assert_eq!(service.counts("nobody").await, (0, 0));

    let long = "é".repeat(256);
    for user in ["a/b", "a b", "100%", "%2F", "a?b#c", "+1", "ada@example.com", "\u{1f4b6}", "'; --", &long] {
        let id = service.create(user).await;
        let mut url = reqwest::Url::parse(&service.url("")).unwrap();
        url.path_segments_mut().unwrap().extend(["v1", "users", user, "inbox"]);
        let page =
            service.read(url.as_str().strip_prefix(&service.url("")).unwrap()).await.expect(200).json();
        assert_eq!((ids(&page), &page["unread"]), (vec![id], &1.into()), "{user}");
    }
}

#[tokio::test]
async fn a_read_waits_for_the_cursor_of_a_command() {
    let service = Service::start().await;
    // Each read follows its command at once; without the cursor some of these would come too early.
    for n in 1..=50 {
        let created = service.post("/v1/notifications", &note("alice")).await.expect(201);
        assert_eq!(created.header("tidings-cursor").unwrap(), created.text("cursor"));
        assert_eq!(service.counts("alice").await, (n, n));
        let page = service.inbox("alice", "limit=1").await;
        assert_eq!((ids(&page), &page["unread"]), (vec![created.text("id")], &n.into()));
    }
}
