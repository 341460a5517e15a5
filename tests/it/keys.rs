//! Keys of services: made and shown once, good on every node at once, and for what their scopes say.

use std::time::Instant;

use futures_util::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use sqlx::Executor;

use crate::support::{ApiKey, Service, note};

const INBOX: &str = "/v1/users/alice/inbox";

/// A key that may have been made, but was not.
fn guess(number: usize) -> ApiKey {
    ApiKey { id: String::new(), secret: format!("tdg_{number:043}") }
}

async fn status(service: &Service, key: &ApiKey, path: &str) -> u16 {
    service.send(service.by(key, "GET", path)).await.status
}

#[tokio::test]
async fn a_key_is_shown_once_and_kept_as_a_hash() {
    let service = Service::start().await;
    let expires_at = service.in_ms(3_600_000).await;
    let asked = json!({
        "name": "Billing: naïve & sons", "tenant": "acme", "scopes": ["inbox:write", "notifications:read"],
        "requests_per_second": 50, "burst": 100, "expires_at": expires_at,
    });
    let answer = service.post("/v1/keys", &asked).await.expect(201);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let (made, secret) = (answer.json(), answer.text("key"));
    assert!(secret.starts_with("tdg_") && secret.len() == 47, "{secret}");
    assert!(made["id"].as_str().unwrap().starts_with("key_"), "{made}");
    assert_eq!(made["hint"], secret[43..]);
    for (member, value) in asked.as_object().unwrap() {
        assert_eq!(&made[member], value, "{member}");
    }

    // From here on it shows nowhere, and what is kept opens nothing.
    let page = service.get("/v1/keys").await.expect(200);
    let mut shown = made.clone();
    shown.as_object_mut().unwrap().remove("key");
    assert_eq!(page.json(), json!({"keys": [shown], "next": null}));
    let kept: String = sqlx::query_scalar("SELECT row_to_json(k)::text FROM api_keys k")
        .fetch_one(&mut service.sql().await)
        .await
        .unwrap();
    assert!(!kept.contains(&secret[4..40]), "{kept}");
    let hash: Vec<u8> =
        sqlx::query_scalar("SELECT sha256 FROM api_keys").fetch_one(&mut service.sql().await).await.unwrap();
    for stored in [made["id"].as_str().unwrap().to_owned(), format!("tdg_{}", hex(&hash)), hex(&hash)] {
        let key = ApiKey { id: String::new(), secret: stored };
        assert_eq!(status(&service, &key, "/v1/notifications").await, 401);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_key_acts_for_its_tenant_under_its_own_name() {
    let service = Service::start().await;
    let ours = service.create("alice").await;
    let acme = service.key_with(json!({"name": "acme", "tenant": "acme", "scopes": ["admin"]})).await;
    let created = service.by(&acme, "POST", "/v1/notifications").json(&note("alice"));
    let created = service.send(created).await.expect(201);
    let theirs = created.text("id");
    let inbox = service.by(&acme, "GET", INBOX).header("tidings-min-cursor", created.text("cursor"));
    let inbox = service.send(inbox).await.expect(200).json();
    assert_eq!((&inbox["items"][0]["id"], &inbox["unread"]), (&theirs.as_str().into(), &1.into()));
    let events = service.send(service.by(&acme, "GET", "/v1/events")).await.expect(200).json();
    assert_eq!(events["events"][0]["metadata"]["actor"], format!("key:{}", acme.id));
    assert_eq!(events["events"][1], Value::Null, "the events of other tenants are theirs");

    // What is another tenant's is not there, and what concerns all tenants is closed.
    assert_eq!(status(&service, &acme, &format!("/v1/notifications/{ours}")).await, 404);
    assert_eq!(service.get(&format!("/v1/notifications/{theirs}")).await.status, 404);
    for path in ["/v1/keys", "/v1/projections"] {
        assert_eq!(status(&service, &acme, path).await, 403, "{path}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_scope_that_is_missing() {
    let service = Service::start().await;
    let key = service.key(&["inbox:read"]).await;
    let detail = async |path: &str| {
        let answer = service.send(service.by(&key, "GET", path)).await;
        assert_eq!(answer.problem(403), "forbidden");
        answer.text("detail")
    };
    assert!(detail("/v1/notifications").await.contains("notifications:read"));
    assert!(detail("/v1/events").await.contains("events:read"));
    // The present is one thing, the past another.
    assert_eq!(status(&service, &key, INBOX).await, 200);
    let at = format!("{INBOX}?at={}", service.head().await);
    assert!(detail(&at).await.contains("events:read"));
    let auditor = service.key(&["inbox:read", "events:read"]).await;
    assert_eq!(status(&service, &auditor, &at).await, 200);
    let half = service.key(&["inbox:read", "notifications:write"]).await;
    let ticket = service.by(&half, "POST", "/v1/tickets").json(&json!({"user_id": "alice"}));
    let answer = service.send(ticket).await;
    assert!(answer.problem(403) == "forbidden" && answer.text("detail").contains("inbox:write"));
}

#[tokio::test]
async fn a_key_that_may_only_read_gets_a_socket_that_only_tells() {
    let service = Service::start().await;
    let id = service.create("alice").await;
    // A socket that opens before the inbox has it would be told of it.
    assert_eq!(service.counts("alice").await, (1, 1));
    let key = service.key(&["inbox:read"]).await;
    let mut socket = service.socket_by(&key, "alice").await;
    let stored = service.stored(&mut service.sql().await).await;
    for frame in [
        json!({"type": "read", "id": id, "ref": "1"}),
        json!({"type": "read_all", "ref": "1"}),
        json!({"type": "snooze", "id": id, "until": "2096-01-01T00:00:00Z", "ref": "1"}),
        json!({"type": "ack", "cursor": service.head().await}),
    ] {
        socket.send(frame.to_string()).await;
        let error = socket.frame("error").await;
        assert_eq!(error["problem"]["status"], 403, "{error}");
        assert!(error["problem"]["detail"].as_str().unwrap().contains("inbox:write"), "{error}");
    }
    assert_eq!(service.stored(&mut service.sql().await).await, stored);
    service.create("alice").await;
    socket.event("notification.created").await;

    let blind = service.key(&["inbox:write", "notifications:read"]).await;
    let socket =
        crate::support::Socket::open(&service, "user_id=alice", &[("x-api-key", &blind.secret)]).await;
    assert_eq!(socket.unwrap().end().await, Ok(4500));
}

#[tokio::test]
async fn a_key_is_good_on_every_node_when_its_answer_comes() {
    let service = Service::start().await;
    let other = service.another_node().await;
    for _ in 0..20 {
        let key = service.key(&["inbox:read"]).await;
        assert_eq!(status(&other, &key, INBOX).await, 200);
        assert_eq!(status(&service, &key, INBOX).await, 200);
    }
    // A ticket that it makes there opens a socket here.
    let key = service.key(&["inbox:read", "inbox:write"]).await;
    let ticket = other.by(&key, "POST", "/v1/tickets").json(&json!({"user_id": "alice"}));
    let query = format!("ticket={}", other.send(ticket).await.expect(201).text("ticket"));
    let mut socket = crate::support::Socket::open(&service, &query, &[]).await.unwrap();
    socket.frame("welcome").await;
}

#[tokio::test]
async fn pages_of_keys_go_back_in_time_and_tenants_can_be_told_apart() {
    let service = Service::start().await;
    let mut made = Vec::new();
    for number in 0..5 {
        let tenant = if number % 2 == 0 { "default" } else { "acme" };
        let body = json!({"name": format!("{number}"), "tenant": tenant, "scopes": ["admin"]});
        made.push(service.key_with(body).await.id);
    }
    made.reverse();
    let walk = async |query: &str| {
        let (mut ids, mut before) = (Vec::new(), String::new());
        loop {
            let page = service.get(&format!("/v1/keys?limit=2&{query}{before}")).await.expect(200).json();
            let keys = page["keys"].as_array().unwrap().clone();
            ids.extend(keys.iter().map(|key| key["id"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => before = format!("&before={next}"),
                None => return ids,
            }
        }
    };
    assert_eq!(walk("").await, made);
    assert_eq!(walk("tenant=acme").await, [made[1].clone(), made[3].clone()]);
    assert_eq!(walk("tenant=nobody").await, [""; 0]);
}

#[tokio::test]
async fn what_is_wrong_with_a_key_to_be_made_is_named_and_nothing_is_made() {
    let service = Service::start().await;
    let good = json!({"name": "n", "scopes": ["admin"]});
    let with = |member: &str, value: Value| {
        let mut body = good.clone();
        body[member] = value;
        body
    };
    for (body, pointer) in [
        (json!({"scopes": ["admin"]}), "/name"),
        (json!({"name": "n"}), "/scopes"),
        (with("name", "".into()), "/name"),
        (with("name", "n".repeat(101).into()), "/name"),
        (with("name", "a\u{7}b".into()), "/name"),
        (with("name", "a\u{0}b".into()), "/name"),
        (with("name", 7.into()), "/name"),
        (with("tenant", "No Tenant".into()), "/tenant"),
        (with("tenant", "".into()), "/tenant"),
        (with("scopes", json!([])), "/scopes"),
        (with("scopes", json!("admin")), "/scopes"),
        (with("scopes", json!(["inbox:read", "root"])), "/scopes/1"),
        (with("scopes", json!(["Admin"])), "/scopes/0"),
        (with("scopes", json!(["inbox:read", "admin", "inbox:read"])), "/scopes/2"),
        (with("requests_per_second", 0.into()), "/requests_per_second"),
        (with("requests_per_second", 1_000_001.into()), "/requests_per_second"),
        (with("requests_per_second", (-1).into()), "/requests_per_second"),
        (with("requests_per_second", json!(1.5)), "/requests_per_second"),
        (with("burst", 5.into()), "/burst"),
        (with("burst", 0.into()), "/burst"),
        (with("expires_at", "2001-01-01T00:00:00Z".into()), "/expires_at"),
        (with("expires_at", "tomorrow".into()), "/expires_at"),
        (with("key", "tdg_mine".into()), "/key"),
    ] {
        let answer = service.post("/v1/keys", &body).await;
        assert_eq!(answer.problem(422), "invalid-request", "{body}");
        assert_eq!(answer.pointers(), [pointer], "{body}");
    }
    let repeated = service.post_keyed("/v1/keys", &good, "k").await;
    assert_eq!(repeated.problem(400), "malformed-request");
    assert_eq!(repeated.pointers(), ["Idempotency-Key"]);
    for (query, pointer) in [
        ("tenant=No", "tenant"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("before=1", "before"),
        ("before=key_x", "before"),
        ("name=n", "name"),
    ] {
        let answer = service.get(&format!("/v1/keys?{query}")).await;
        assert_eq!(
            (answer.problem(400), answer.pointers()),
            ("malformed-request".into(), vec![pointer.into()])
        );
    }
    for (id, status) in [
        ("key_01890a5d-ac96-774b-bcce-b302099a8057", 404),
        ("key_01890A5D-ac96-774b-bcce-b302099a8057", 400),
        ("ntf_01890a5d-ac96-774b-bcce-b302099a8057", 400),
        ("root", 400),
        ("key_", 400),
    ] {
        let request = service.request("DELETE", &format!("/v1/keys/{id}"));
        service.send(request.header("x-api-key", service.root_key())).await.problem(status);
    }
    assert_eq!(service.get("/v1/keys").await.json(), json!({"keys": [], "next": null}));
}

#[tokio::test]
async fn there_are_at_most_a_hundred_thousand_keys() {
    let service = Service::start().await;
    let mut sql = service.sql().await;
    // Below the revision that nodes read from, and without telling them.
    sql.execute(
        "SET session_replication_role = replica;
         INSERT INTO api_keys (id, tenant, name, sha256, hint, scopes, revision)
         SELECT gen_random_uuid(), 'default', 'n', int8send(n), '', '{admin}', 0 FROM generate_series(1, 100000) n",
    )
    .await
    .unwrap();
    let body = json!({"name": "n", "scopes": ["admin"]});
    for ended in [
        "UPDATE api_keys SET revoked_at = now() WHERE sha256 = int8send(7)",
        "UPDATE api_keys SET expires_at = now() WHERE sha256 = int8send(8)",
    ] {
        assert_eq!(service.post("/v1/keys", &body).await.problem(409), "invalid-state");
        sql.execute(ended).await.unwrap();
        service.post("/v1/keys", &body).await.expect(201);
    }
}

#[tokio::test]
async fn whoever_guesses_keys_is_refused_without_a_question_each() {
    let service = Service::start().await;
    let key = service.key(&["inbox:read"]).await;
    let mut sql = service.sql().await;
    let begun = "SELECT coalesce(sum(idx_scan), 0)::bigint + (SELECT idx_scan + seq_scan FROM pg_stat_user_tables
                  WHERE relname = 'api_keys_head') FROM pg_stat_user_indexes WHERE indexrelname = 'api_keys_by_revision'";
    let looks = async |sql: &mut sqlx::PgConnection| -> i64 {
        sqlx::query_scalar(begun).fetch_one(sql).await.unwrap()
    };
    let before = looks(&mut sql).await;
    let guesses = join_all((0..1_000).map(|number| {
        let service = &service;
        async move { service.send(service.by(&guess(number), "GET", INBOX)).await.problem(401) }
    }));
    let known = async {
        for _ in 0..20 {
            assert_eq!(status(&service, &key, INBOX).await, 200);
        }
    };
    let (refused, ()) = tokio::join!(guesses, known);
    assert!(refused.iter().all(|slug| slug == "unauthorized"));
    let looks = looks(&mut sql).await - before;
    assert!(looks < 500, "{looks} looks for 1,000 guesses");
}

#[tokio::test]
async fn without_postgres_known_keys_go_on_and_others_are_told_to_come_back() {
    let mut host = Service::start().await;
    let node = host.another_node().await;
    let (known, narrow) = (host.key(&["admin"]).await, host.key(&["inbox:read"]).await);
    let mut socket = node.socket_by(&known, "alice").await;
    assert_eq!(status(&node, &narrow, INBOX).await, 200);
    let unseen = host.key(&["admin"]).await;
    kill(Pid::from_raw(host.children()[0]), Signal::SIGQUIT).unwrap();
    assert_eq!(host.ended_by_itself(), Some(1));

    // Past the credentials, as far as each gets without a database.
    let begun = Instant::now();
    assert_eq!(status(&node, &known, "/v1/notifications?limit=0").await, 400);
    assert_eq!(status(&node, &narrow, "/v1/notifications").await, 403);
    let answer = node.send(node.by(&guess(1), "GET", INBOX)).await;
    assert_eq!(answer.problem(503), "unavailable");
    assert!(answer.header("retry-after").is_some());
    let malformed = ApiKey { id: String::new(), secret: "tdg_short".into() };
    assert_eq!(status(&node, &malformed, INBOX).await, 401);
    assert!(begun.elapsed().as_secs() < 8, "{:?}", begun.elapsed());
    socket.sync().await;

    host.start_again().await;
    // The outage may have been over in a moment for whoever tries again.
    let deadline = Instant::now() + crate::support::PATIENCE;
    while status(&node, &unseen, INBOX).await != 200 {
        assert!(Instant::now() < deadline, "the keys are not read again");
    }
    assert_eq!(status(&node, &guess(1), INBOX).await, 401);
    drop(socket);
    drop(node);
}
