//! The whole story with the crate that openapi-generator makes of the document.
//! Arguments: the service's address, an API key, a user, and that user's token.

use std::collections::HashMap;

use serde_json::json;
use tidings_client::apis::configuration::{ApiKey, Configuration};
use tidings_client::apis::{Error, events_api as events, inbox_api as inbox, notifications_api as notifications};
use tidings_client::models::{Content, CreateNotification, CreateNotifications, Priority, Problem};

/// The problem of a refusal: every generated error holds it under the name of its status.
fn problem<T>(refused: Error<T>) -> Problem {
    match refused {
        Error::ResponseError(answer) => serde_json::from_str(&answer.content).unwrap(),
        other => panic!("{other:?}", other = other.to_string()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, key, user, token] = arguments.as_slice() else { panic!("four arguments") };
    let base_path = address.clone();
    let api_key = Some(ApiKey { prefix: None, key: key.clone() });
    let backend = Configuration { base_path: base_path.clone(), api_key, ..Configuration::new() };
    let alice = Configuration { base_path, bearer_access_token: Some(token.clone()), ..Configuration::new() };

    // Create, and repeat it with the same key.
    let plain = |title: &str| CreateNotification {
        content: Some(Box::new(Content::new(title.into(), String::new()))),
        ..CreateNotification::new(user.clone())
    };
    let note = CreateNotification {
        category: Some("billing".into()),
        priority: Some(Priority::High),
        data: Some(HashMap::from([("invoice".into(), json!(1042))])),
        tags: Some(vec!["invoice".into()]),
        ..plain("Your invoice is ready")
    };
    let created = notifications::create_notification(&backend, note.clone(), Some("rust-1")).await.unwrap();
    let again = notifications::create_notification(&backend, note, Some("rust-1")).await.unwrap();
    assert_eq!(again, created);
    let id = created.id.as_str();

    // Many at once, one of them wrong.
    let many = CreateNotifications::new(vec![plain("two"), plain(""), plain("three")]);
    let batch = notifications::create_notifications(&backend, many, None).await.unwrap().results;
    assert_eq!(batch.iter().map(|result| result.status).collect::<Vec<_>>(), [201, 422, 201]);
    let errors = batch[1].problem.as_ref().unwrap().errors.as_ref().unwrap();
    assert_eq!(errors[0].pointer, "/content/title");
    let cursor = batch[2].cursor.as_deref();

    // The inbox as its user sees it, with all of that.
    let page = inbox::get_inbox(&alice, user, None, None, None, None, None, None, cursor).await.unwrap();
    assert_eq!((page.unread, page.items[2].id.as_str(), page.items[2].priority.as_str()), (3, id, "high"));
    assert_eq!(page.items[2].data.as_ref().unwrap()["invoice"], 1042);

    // Page through it.
    let (mut titles, mut before) = (Vec::new(), None);
    loop {
        let before_this = before.as_deref();
        let page = inbox::get_inbox(&alice, user, None, None, None, Some(1), before_this, None, None).await.unwrap();
        titles.extend(page.items.into_iter().map(|item| item.title));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(titles, ["three", "two", "Your invoice is ready"]);

    // Mark one, then all.
    let marked = notifications::mark_notification_read(&alice, id, None).await.unwrap();
    let counts = inbox::get_inbox_counts(&alice, user, Some(&marked.cursor)).await.unwrap();
    assert_eq!((counts.unread, counts.unseen), (2, 2));
    assert_eq!(inbox::mark_inbox_read(&alice, user, None, None).await.unwrap().marked, 2);

    // How it stands, and what happened to it.
    let one = notifications::get_notification(&backend, id).await.unwrap();
    assert_eq!((one.status.as_str(), one.deliveries[0].channel.as_str()), ("active", "in_app"));
    let timeline = events::list_notification_events(&backend, id).await.unwrap();
    assert_eq!(timeline.events[0].r#type, "notification.created");
    let log = events::list_events(&backend, None, None, None, Some(2), None, Some(user), None).await.unwrap();
    assert_eq!(log.events.len(), 2);

    // Problems.
    let refused = notifications::create_notification(&backend, plain(""), None).await.unwrap_err();
    let refused = problem(refused);
    assert_eq!((refused.r#type.as_str(), refused.status), ("invalid-request", 422));
    assert_eq!(refused.errors.unwrap()[0].pointer, "/content/title");
    let foreign = notifications::get_notification(&alice, id).await.unwrap_err();
    assert_eq!(problem(foreign).r#type, "unauthorized");

    println!("told");
}
