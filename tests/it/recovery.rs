//! Nothing acknowledged is lost: not by `kill -9`, not by a Postgres that crashes, not by a restart.

use serde_json::Value;

use crate::support::{Service, Socket, note};

/// Creates for as long as the service answers; gives the ids it acknowledged.
async fn create_until_it_dies(service: &Service) -> Vec<String> {
    let mut acknowledged = Vec::new();
    loop {
        let request = service.posting("/v1/notifications", &note("alice"));
        let Ok(response) = request.send().await else { return acknowledged };
        if response.status() != 201 {
            return acknowledged;
        }
        let Ok(body) = response.bytes().await else { return acknowledged };
        let body: Value = serde_json::from_slice(&body).unwrap();
        acknowledged.push(body["id"].as_str().unwrap().to_owned());
    }
}

/// The whole inbox, oldest first.
async fn whole_inbox(service: &Service) -> Vec<String> {
    let (mut ids, mut query) = (Vec::new(), "limit=100".to_owned());
    loop {
        let page = service.inbox("alice", &query).await;
        ids.extend(
            page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => query = format!("limit=100&before={next}"),
            None => break,
        }
    }
    ids.reverse();
    ids
}

async fn check(service: &Service, acknowledged: &[String], last_seen: &str) {
    // The log has no hole, and the inbox is at its end.
    let mut sql = service.sql().await;
    let (events, head): (i64, i64) =
        sqlx::query_as("SELECT count(*), max(position) FROM events").fetch_one(&mut sql).await.unwrap();
    assert_eq!(events, head, "positions have no hole");
    *service.done.lock().unwrap() = Some(service.head().await);

    let inbox = whole_inbox(service).await;
    let missing: Vec<_> = acknowledged.iter().filter(|id| !inbox.contains(id)).collect();
    assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
    let everything = inbox.len() as i64;
    assert_eq!(service.counts("alice").await, (everything, everything), "counts equal a recount");

    // A socket resumed from before the crash gets exactly what it has not seen.
    let (mut socket, welcome) = Socket::resumed(service, "alice", last_seen).await;
    let seen = usize::try_from(welcome["unread"].as_i64().unwrap()).unwrap();
    let mut frames = socket.frames_to_sync().await;
    assert_eq!(frames.pop().unwrap()["unread"], everything);
    let resumed: Vec<&str> =
        frames.iter().map(|frame| frame["notification"]["id"].as_str().unwrap()).collect();
    assert_eq!(resumed, inbox[seen..]);
}

#[tokio::test]
async fn a_service_killed_under_load_has_everything_it_acknowledged() {
    let mut service = Service::start().await;
    let (mut socket, welcome) = Socket::of(&service, "alice").await;
    let mut last_seen = welcome["cursor"].as_str().unwrap().to_owned();
    let mut acknowledged = Vec::new();
    let killing = async {
        for _ in 0..40 {
            let frame = socket.event("notification.created").await;
            last_seen = frame["cursor"].as_str().unwrap().to_owned();
        }
        service.send_kill();
    };
    let creating = futures_util::future::join_all((0..8).map(|_| create_until_it_dies(&service)));
    let (created, ()) = tokio::join!(creating, killing);
    acknowledged.extend(created.into_iter().flatten());
    assert!(acknowledged.len() >= 20, "there was load: {}", acknowledged.len());
    service.killed();
    service.start_again().await;
    check(&service, &acknowledged, &last_seen).await;
}

#[tokio::test]
async fn a_restart_keeps_the_inbox_and_goes_on_where_sockets_were() {
    let mut service = Service::start().await;
    let id = service.create("alice").await;
    let before = service.inbox("alice", "").await;
    service.create("alice").await;
    service.mark(&id, "read").await;
    let (page, counts) = (service.inbox("alice", "state=all").await, service.counts("alice").await);
    service.terminate();
    service.start_again().await;
    assert_eq!(service.inbox("alice", "state=all").await, page);
    assert_eq!(service.counts("alice").await, counts);
    let (mut socket, _) = Socket::resumed(&service, "alice", before["cursor"].as_str().unwrap()).await;
    socket.event("notification.created").await;
    socket.event("notification.read").await;
    assert_eq!(socket.frame("sync").await["cursor"], page["cursor"]);
    service.create("alice").await;
    socket.event("notification.created").await;
}
