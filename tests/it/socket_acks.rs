//! Acknowledgements: what a client has taken note of is delivered, once, and nothing else is.

use serde_json::json;
use sqlx::PgConnection;

use crate::support::{Service, Socket};

async fn of_token(service: &Service, user: &str, query: &str) -> (Socket, String) {
    let bearer = format!("Bearer {}", service.token(user));
    let mut socket = Socket::open(service, query, &[("authorization", &bearer)]).await.unwrap();
    let cursor = socket.frame("welcome").await["cursor"].as_str().unwrap().to_owned();
    (socket, cursor)
}

async fn ack(socket: &mut Socket, cursor: &str) {
    socket.send(json!({"type": "ack", "cursor": cursor}).to_string()).await;
}

/// Returns once the log has so many events of this name, with the ids they are of, in order.
async fn delivered(service: &Service, sql: &mut PgConnection, count: usize) -> Vec<String> {
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    loop {
        // A command with its own cursor is a way to wait for the bulk lane without sleeping.
        service.create("nobody").await;
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT aggregate_id FROM events WHERE event_type = 'delivery.succeeded' ORDER BY position",
        )
        .fetch_all(&mut *sql)
        .await
        .unwrap();
        if ids.len() >= count {
            return ids;
        }
        assert!(std::time::Instant::now() < deadline, "{ids:?}");
    }
}

#[tokio::test]
async fn what_is_acknowledged_is_delivered_once_across_reconnects() {
    let service = Service::start().await;
    let mut sql = service.sql().await;
    let before = service.create("alice").await;
    assert_eq!(service.counts("alice").await, (1, 1));
    let (mut socket, start) = of_token(&service, "alice", "").await;
    let (mut ids, mut cursors) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        ids.push(service.create("alice").await);
        cursors.push(socket.event("notification.created").await["cursor"].as_str().unwrap().to_owned());
    }
    // Twice, backwards, and beyond what was sent.
    ack(&mut socket, &cursors[0]).await;
    ack(&mut socket, &cursors[1]).await;
    ack(&mut socket, &cursors[0]).await;
    assert_eq!(delivered(&service, &mut sql, 2).await, ids[..2], "nothing from before this connection");
    let epoch = start.split('.').next().unwrap();
    // A history that is gone says nothing.
    ack(&mut socket, "1.5").await;
    socket.sync().await;

    // Another connection that was shown the same.
    let (mut resumed, _) = of_token(&service, "alice", &format!("cursor={start}")).await;
    resumed.frames_to_sync().await;
    ack(&mut resumed, &format!("{epoch}.999999999")).await;
    assert_eq!(delivered(&service, &mut sql, 3).await, ids, "once each");
    ack(&mut socket, &cursors[2]).await;
    ack(&mut resumed, &cursors[2]).await;
    socket.close().await;
    resumed.close().await;
    let (mut third, _) = of_token(&service, "alice", &format!("cursor={start}")).await;
    third.frames_to_sync().await;
    ack(&mut third, &cursors[2]).await;
    // What comes after it shows that there was nothing more.
    let last = service.create("alice").await;
    let shown = third.event("notification.created").await["cursor"].as_str().unwrap().to_owned();
    ack(&mut third, &shown).await;
    ids.push(last);
    assert_eq!(delivered(&service, &mut sql, 4).await, ids);
    assert!(!ids.contains(&before));
}

#[tokio::test]
async fn an_acknowledgement_is_not_lost_with_the_socket_that_sent_it() {
    let service = Service::start().await;
    let mut sql = service.sql().await;
    let (mut socket, _) = of_token(&service, "alice", "").await;
    let (read, cancelled, last) =
        (service.create("alice").await, service.create("alice").await, service.create("alice").await);
    service.mark(&read, "read").await;
    service.mark(&cancelled, "cancel").await;
    let mut cursor = String::new();
    for _ in 0..5 {
        cursor = socket.frame("event").await["cursor"].as_str().unwrap().to_owned();
    }
    ack(&mut socket, &cursor).await;
    socket.close().await;
    // What was marked is delivered by that, and what is gone refuses: neither stops the others.
    assert_eq!(delivered(&service, &mut sql, 2).await, [read, last]);
}
