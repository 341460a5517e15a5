//! What the log keeps, and how: sealed, append-only, and closed to another master key.

use serde_json::json;
use sqlx::PgConnection;

use crate::support::{Service, run_to_end};

const WORDS: [&str; 5] =
    ["Salary cut", "See you at the doctor", "https://clinic.example", "diagnosis", "bad news"];

async fn stored_text(sql: &mut PgConnection) -> String {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT e.payload::text || e.metadata::text FROM events e
         UNION ALL SELECT i.result::text || i.key FROM idempotency i",
    )
    .fetch_all(sql)
    .await
    .unwrap();
    rows.into_iter().map(|(text,)| text).collect()
}

#[tokio::test]
async fn no_word_of_a_notification_is_readable_in_the_log() {
    let service = Service::start().await;
    let body = json!({
        "user_id": "alice", "data": {"diagnosis": ["bad news"]},
        "content": {"title": WORDS[0], "body": WORDS[1], "action_url": WORDS[2]},
    });
    service.post_keyed("/v1/notifications", &body, "a-key").await.expect(201);
    service.post("/v1/notifications/batch", &json!({"notifications": [body]})).await.expect(200);
    let mut sql = service.sql().await;
    let text = stored_text(&mut sql).await;
    assert!(text.contains("alice"), "this looks at the right rows: {text}");
    for word in WORDS.iter().chain(&["title", "\"content\"", "\"data\""]) {
        assert!(!text.contains(word), "{word} in {text}");
    }
    let inbox = service.inbox("alice", "").await;
    assert_eq!((&inbox["items"][0]["title"], &inbox["items"][1]["data"]), (&WORDS[0].into(), &body["data"]));
    assert_eq!(service.events("").await[0]["data"]["content"], body["content"], "readers open it");
}

#[tokio::test]
async fn the_database_refuses_to_change_or_remove_an_event() {
    let service = Service::start().await;
    service.create("alice").await;
    let mut sql = service.sql().await;
    let stored = service.stored(&mut sql).await;
    for statement in [
        "UPDATE events SET event_type = 'notification.read'",
        "UPDATE events SET event_type = 'notification.read' WHERE false",
        "DELETE FROM events",
        "TRUNCATE events",
        "TRUNCATE events CASCADE",
    ] {
        let error = sqlx::raw_sql(statement).execute(&mut sql).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{statement}: {error}");
    }
    assert_eq!(service.stored(&mut sql).await, stored);
}

#[tokio::test]
async fn another_master_key_stops_the_start_with_one_line() {
    let mut service = Service::start().await;
    service.create("alice").await;
    service.terminate();

    let mut command = service.command("serve");
    command.env("TIDINGS_MASTER_KEY", "0f".repeat(32));
    let ended = run_to_end(command);
    assert_eq!(ended.code, Some(1), "{}", ended.errors);
    assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    assert!(ended.errors.contains("TIDINGS_MASTER_KEY"), "it names the setting: {}", ended.errors);
    assert!(!ended.errors.contains("0f0f"), "it does not show the key: {}", ended.errors);
    assert_eq!(ended.output, "");

    service.start_again().await;
    assert_eq!(
        service.inbox("alice", "").await["items"][0]["title"],
        "Hello",
        "with the right one all is well"
    );
}
