//! The end of a key: no node takes it any more within a second, and what it has opened is closed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::Executor;

use crate::support::{ApiKey, PATIENCE, Service, Socket, Sse, note};

const REVOKED: u16 = 4503;
const INBOX: &str = "/v1/users/alice/inbox";
/// What is promised.
const SOON: Duration = Duration::from_secs(1);
/// What lies between a revocation and its last effect, at most: a notification, a reading, a frame.
const STEPS: u32 = 3;

/// Waits for what is promised to be soon. What a machine that is busy with other tests adds to each step is measured by
/// requests to the same node meanwhile.
async fn soon<T>(service: &Service, effect: impl Future<Output = T>) -> T {
    let (began, mut slowest) = (Instant::now(), Duration::ZERO);
    let mut effect = std::pin::pin!(effect);
    loop {
        let asked = Instant::now();
        let effect = tokio::select! {
            effect = &mut effect => Some(effect),
            answer = service.get(INBOX) => { answer.expect(200); None },
        };
        slowest = slowest.max(asked.elapsed());
        if let Some(effect) = effect {
            let took = began.elapsed();
            assert!(took < SOON + STEPS * slowest, "{took:?}, where a request took up to {slowest:?}");
            return effect;
        }
    }
}

async fn status(service: &Service, key: &ApiKey) -> u16 {
    service.send(service.by(key, "GET", INBOX)).await.status
}

async fn by_ticket(service: &Service, key: &ApiKey) -> Socket {
    let ticket = service.by(key, "POST", "/v1/tickets").json(&json!({"user_id": "alice"}));
    let query = format!("ticket={}", service.send(ticket).await.expect(201).text("ticket"));
    let mut socket = Socket::open(service, &query, &[]).await.unwrap();
    socket.frame("welcome").await;
    socket
}

/// What is open on one node by one key.
struct Open {
    socket: Socket,
    by_ticket: Socket,
    stream: Sse,
}

impl Open {
    async fn on(service: &Service, key: &ApiKey) -> Self {
        let mut stream = Sse::open(service.by(key, "GET", &format!("{INBOX}/stream"))).await.unwrap();
        stream.event("welcome").await;
        Self {
            socket: service.socket_by(key, "alice").await,
            by_ticket: by_ticket(service, key).await,
            stream,
        }
    }

    async fn expect_end(mut self) {
        assert_eq!(self.socket.end().await, Ok(REVOKED));
        assert_eq!(self.by_ticket.end().await, Ok(REVOKED), "a ticket is worth what made it");
        let closing = self.stream.event("closing").await;
        assert_eq!(closing.data, json!({"type": "closing", "code": REVOKED}));
        assert_eq!(self.stream.next().await, None);
    }
}

#[tokio::test]
async fn a_revoked_key_ends_on_every_node_within_a_second_with_all_it_opened() {
    let service = Service::start().await;
    let other = service.another_node().await;
    let key = service.key(&["inbox:read", "inbox:write"]).await;
    let bystander = service.key(&["inbox:read"]).await;
    let mut standing = other.socket_by(&bystander, "alice").await;
    let token = other.token("alice");
    let bearer = format!("Bearer {token}");
    let mut users = Socket::open(&other, "", &[("authorization", &bearer)]).await.unwrap();
    users.frame("welcome").await;
    let (here, there) = (Open::on(&service, &key).await, Open::on(&other, &key).await);
    let unused = service.by(&key, "POST", "/v1/tickets").json(&json!({"user_id": "alice"}));
    let unused = service.send(unused).await.expect(201).text("ticket");

    let revoked = service.revoke(&key).await.json();
    let everywhere = async {
        assert_eq!(status(&service, &key).await, 401, "at once where it was revoked");
        here.expect_end().await;
        there.expect_end().await;
        assert_eq!(status(&other, &key).await, 401);
    };
    soon(&other, everywhere).await;
    let socket = Socket::open(&other, "user_id=alice", &[("x-api-key", &key.secret)]).await.unwrap();
    assert_eq!(socket.end().await, Ok(4500));
    let socket = Socket::open(&other, &format!("ticket={unused}"), &[]).await.unwrap();
    assert_eq!(socket.end().await, Ok(4500), "a ticket that nobody has used");

    // Others go on, and the row stays with its first end.
    standing.sync().await;
    users.sync().await;
    assert_eq!(service.revoke(&key).await.json(), revoked);
    let listed = service.get("/v1/keys").await.json();
    assert_eq!(listed["keys"][1], revoked, "{listed}");
    assert!(revoked["revoked_at"].is_string() && revoked.get("key").is_none(), "{revoked}");
}

#[tokio::test]
async fn a_key_ends_where_it_was_revoked_even_if_the_keys_cannot_be_read() {
    let service = Service::start().await;
    let key = service.key(&["inbox:read", "inbox:write"]).await;
    let open = Open::on(&service, &key).await;
    let mut sql = service.sql().await;
    // What a revocation needs is there, what a reading of the keys needs is not.
    sql.execute("BEGIN; LOCK TABLE log_head IN ACCESS EXCLUSIVE MODE").await.unwrap();
    service.revoke(&key).await;
    assert_eq!(status(&service, &key).await, 401);
    open.expect_end().await;
    sql.execute("COMMIT").await.unwrap();
    assert_eq!(status(&service, &key).await, 401);
}

#[tokio::test]
async fn nothing_of_a_key_can_be_changed_by_hand_but_that_it_ends_for_good() {
    let service = Service::start().await;
    let key = service.key(&["inbox:read"]).await;
    let mut sql = service.sql().await;
    for change in [
        "UPDATE api_keys SET scopes = '{admin}'",
        "UPDATE api_keys SET requests_per_second = 1",
        "UPDATE api_keys SET expires_at = now()",
        "UPDATE api_keys SET tenant = 'acme'",
        "UPDATE api_keys SET revoked_at = now(), name = 'another'",
    ] {
        let error = sql.execute(change).await.unwrap_err().to_string();
        assert!(error.contains("make another one"), "{change}: {error}");
    }
    assert_eq!(status(&service, &key).await, 200);
    let socket = service.socket_by(&key, "alice").await;
    sql.execute("UPDATE api_keys SET revoked_at = now()").await.unwrap();
    assert_eq!(socket.end().await, Ok(REVOKED));
    for change in [
        "UPDATE api_keys SET revoked_at = NULL",
        "UPDATE api_keys SET revoked_at = revoked_at - interval '1 day'",
    ] {
        assert!(sql.execute(change).await.is_err(), "{change}");
    }
    service.revoke(&key).await;
    assert_eq!(status(&service, &key).await, 401);
}

#[tokio::test]
async fn a_revocation_reaches_a_node_that_was_not_notified() {
    let service = Service::start().await;
    let key = service.key(&["inbox:read"]).await;
    let socket = service.socket_by(&key, "alice").await;
    let mut sql = service.sql().await;
    // What the trigger does, but for the notification.
    sql.execute("SET session_replication_role = replica").await.unwrap();
    sql.execute(
        "WITH head AS (UPDATE api_keys_head SET revision = revision + 1 RETURNING revision)
         UPDATE api_keys SET revoked_at = now(), revision = head.revision FROM head",
    )
    .await
    .unwrap();
    assert_eq!(soon(&service, socket.end()).await, Ok(REVOKED));
    assert_eq!(status(&service, &key).await, 401);
}

#[tokio::test]
async fn a_key_that_a_restored_backup_does_not_have_is_gone() {
    let service = Service::start().await;
    let kept = service.key(&["inbox:read"]).await;
    let lost = service.key(&["inbox:read"]).await;
    let (mut standing, socket) =
        (service.socket_by(&kept, "alice").await, service.socket_by(&lost, "alice").await);
    let mut sql = service.sql().await;
    for statement in
        ["DELETE FROM api_keys", "TRUNCATE api_keys", "UPDATE api_keys SET revoked_at = now() WHERE false"]
    {
        let done = sql.execute(statement).await;
        assert_eq!(done.is_ok(), statement.starts_with("UPDATE"), "{statement}");
    }
    sql.execute("SET session_replication_role = replica").await.unwrap();
    sql.execute(
        "BEGIN; DELETE FROM api_keys WHERE revision = 2; UPDATE api_keys_head SET revision = 1; COMMIT",
    )
    .await
    .unwrap();
    assert_eq!(socket.end().await, Ok(REVOKED));
    assert_eq!((status(&service, &kept).await, status(&service, &lost).await), (200, 401));
    standing.sync().await;
}

#[tokio::test]
async fn a_key_ends_by_itself_when_its_time_has_come() {
    let service = Service::start().await;
    let expires_at = service.in_ms(2_500).await;
    let body = json!({"name": "n", "scopes": ["inbox:read", "inbox:write"], "expires_at": expires_at});
    let key = service.key_with(body).await;
    assert_eq!(status(&service, &key).await, 200);
    Open::on(&service, &key).await.expect_end().await;
    assert_eq!(status(&service, &key).await, 401);
}

#[tokio::test]
async fn a_request_that_is_under_way_gets_its_durable_answer() {
    let service = Service::start().await;
    let key = service.key(&["notifications:write", "inbox:read"]).await;
    // The first append opens the log, which is another matter.
    service.create("alice").await;
    let mut sql = service.sql().await;
    sql.execute("BEGIN; SELECT FROM log_head FOR UPDATE").await.unwrap();
    let request = service.by(&key, "POST", "/v1/notifications").json(&note("alice"));
    let answer = tokio::spawn(request.send());
    let deadline = Instant::now() + PATIENCE;
    let mut waiting = 0_i64;
    while waiting == 0 {
        assert!(Instant::now() < deadline, "no append comes");
        waiting = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_clear_snapshot(), pg_stat_activity
              WHERE wait_event_type = 'Lock' AND query LIKE '%log_append%' AND pid <> pg_backend_pid()",
        )
        .fetch_one(&mut sql)
        .await
        .unwrap();
    }
    service.revoke(&key).await;
    assert_eq!(status(&service, &key).await, 401);
    sql.execute("COMMIT").await.unwrap();
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(answer.status(), 201);
    let created: Value = answer.json().await.unwrap();
    let stored = service.get(&format!("/v1/notifications/{}", created["id"].as_str().unwrap())).await;
    stored.expect(200);
}

#[tokio::test]
async fn a_socket_that_goes_on_with_a_token_does_not_end_with_the_key() {
    let service = Service::start().await;
    let key = service.key(&["inbox:read", "inbox:write"]).await;
    let mut socket = by_ticket(&service, &key).await;
    let left = by_ticket(&service, &key).await;
    socket.send(json!({"type": "auth", "token": service.token("alice"), "ref": "1"}).to_string()).await;
    socket.frame("reply").await;
    service.revoke(&key).await;
    assert_eq!(left.end().await, Ok(REVOKED));
    socket.sync().await;
}
