//! Keys that may make so many requests: what they are told, what they are refused, and over how many nodes it is counted.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::outage::redis_server::Redis;
use crate::support::{Answer, ApiKey, PATIENCE, Service, Socket, Sse, note};

const INBOX: &str = "/v1/users/alice/inbox";
const GOING_AWAY: u16 = 4001;

async fn limited(service: &Service, per_second: u32, burst: Option<u32>) -> ApiKey {
    let mut key = json!({"name": "a test", "scopes": ["admin"], "requests_per_second": per_second});
    if let Some(burst) = burst {
        key["burst"] = burst.into();
    }
    service.key_with(key).await
}

async fn ask(service: &Service, key: &ApiKey) -> Answer {
    service.send(service.by(key, "GET", INBOX)).await
}

/// What an answer says is left.
fn left(answer: &Answer) -> u32 {
    let told = answer.header("ratelimit").unwrap_or_else(|| panic!("{answer:?}"));
    let left = told.strip_prefix("\"key\";r=").unwrap().split(';').next().unwrap();
    left.parse().unwrap()
}

/// Asks until it is refused, and gives the refusal. Meanwhile more may come back than its burst.
async fn exhaust(service: &Service, key: &ApiKey) -> Answer {
    for _ in 0..1_000 {
        let answer = ask(service, key).await;
        if answer.status != 200 {
            return answer;
        }
    }
    panic!("nothing is refused")
}

#[tokio::test]
async fn a_key_is_told_what_is_left_and_beyond_that_when_to_come_back() {
    let service = Service::start().await;
    let (key, other) = (limited(&service, 1, Some(5)).await, limited(&service, 7, None).await);
    let first = ask(&service, &key).await.expect(200);
    assert_eq!(first.header("ratelimit"), Some("\"key\";r=4;t=1"));
    assert_eq!(first.header("ratelimit-policy"), Some("\"key\";q=5;w=5"));
    assert_eq!(first.header("retry-after"), None);

    let refused = exhaust(&service, &key).await;
    assert_eq!(refused.problem(429), "rate-limited");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.header("ratelimit-policy"), Some("\"key\";q=5;w=5"));
    assert_eq!(left(&refused), 0);

    // A burst is the rate of a second where nothing else is said, and each key has its own.
    let answer = ask(&service, &other).await.expect(200);
    assert_eq!(answer.header("ratelimit-policy"), Some("\"key\";q=7;w=1"));
    let unlimited = [
        service.get(INBOX).await,
        service.send(service.as_user(&service.token("alice"), "GET", INBOX)).await,
        service.send(service.by(&service.key(&["admin"]).await, "GET", INBOX)).await,
    ];
    for answer in unlimited {
        assert_eq!(answer.expect(200).header("ratelimit"), None);
    }
}

#[tokio::test]
async fn what_is_refused_is_not_done_and_what_is_wrong_counts() {
    let service = Service::start().await;
    let key = limited(&service, 1, Some(3)).await;
    exhaust(&service, &key).await;
    let mut refused = 0;
    for _ in 0..20 {
        let answer = service.send(service.by(&key, "POST", "/v1/notifications").json(&note("alice"))).await;
        refused += usize::from(answer.status == 429);
    }
    assert!(refused > 0);
    assert_eq!(service.events("").await.len(), 20 - refused);
    let socket = async || {
        exhaust(&service, &key).await;
        let mut socket =
            Socket::open(&service, "user_id=alice", &[("x-api-key", &key.secret)]).await.unwrap();
        socket.frame_or_close().await.map(|frame| (frame, socket))
    };
    // A second that passes in between lets one in.
    let (closing, socket) = loop {
        let (frame, socket) = socket().await.unwrap();
        if frame["type"] != "welcome" {
            break (frame, socket);
        }
    };
    assert_eq!((&closing["type"], &closing["code"]), (&"closing".into(), &GOING_AWAY.into()));
    socket.expect_close(GOING_AWAY).await;
    let refused = loop {
        exhaust(&service, &key).await;
        if let Err(refused) = Sse::open(service.by(&key, "GET", &format!("{INBOX}/stream"))).await {
            break refused;
        }
    };
    assert_eq!(refused.problem(429), "rate-limited");
}

#[tokio::test]
async fn a_batch_a_socket_a_stream_and_a_refusal_count_one() {
    // The node counts alone and to the last one; Redis may take longer than it waits.
    let service = Service::start_with(&[("TIDINGS_REDIS_URL", "redis://127.0.0.1:1")]).await;
    let key = limited(&service, 1, Some(1_000)).await;
    let began = Instant::now();
    let before = left(&ask(&service, &key).await);
    let batch = json!({"notifications": vec![note("alice"); 50]});
    let answer = service.send(service.by(&key, "POST", "/v1/notifications/batch").json(&batch)).await;
    assert!(before - left(&answer.expect(200)) <= 1);
    service.socket_by(&key, "alice").await;
    drop(Sse::open(service.by(&key, "GET", &format!("{INBOX}/stream"))).await.unwrap());
    for _ in 0..20 {
        let unknown = service.by(&key, "GET", "/v1/notifications/ntf_nothing");
        assert!(service.send(unknown).await.header("ratelimit").is_some(), "also of what went wrong");
    }
    let after = left(&ask(&service, &key).await);
    let came_back = began.elapsed().as_secs() as u32 + 1;
    assert!((24 - came_back.min(23)..=24).contains(&(before - after)), "{before} {after} {came_back}");
}

#[tokio::test]
async fn pages_of_other_origins_may_read_the_headers() {
    let service = Service::start().await;
    let key = limited(&service, 10, None).await;
    let request = service.by(&key, "GET", INBOX).header("origin", "http://localhost:3000");
    let answer = service.send(request).await.expect(200);
    let exposed = answer.header("access-control-expose-headers").unwrap().to_lowercase();
    for name in ["ratelimit", "ratelimit-policy", "retry-after"] {
        assert!(exposed.split(',').any(|one| one.trim() == name), "{exposed}");
    }
}

/// Returns once both nodes take from one bucket.
async fn shared(first: &Service, second: &Service, root: &Service) {
    let key = limited(root, 1, Some(100_000)).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (here, there) = (left(&ask(first, &key).await), left(&ask(second, &key).await));
        // Buckets of their own go down alike, and differ by what comes back in a second at most.
        if there < here && left(&ask(first, &key).await) + 2 <= here {
            return;
        }
        assert!(Instant::now() < deadline, "the nodes do not share a bucket");
    }
}

/// Asks the nodes in turn until both refuse; gives how often they did not.
async fn admitted_by(nodes: &[&Service], key: &ApiKey) -> u64 {
    let (mut admitted, mut refused) = (0, 0);
    for n in 0.. {
        match ask(nodes[n % nodes.len()], key).await.status {
            200 => (admitted, refused) = (admitted + 1, 0),
            429 => refused += 1,
            other => panic!("{other}"),
        }
        if refused > nodes.len() {
            break;
        }
    }
    admitted
}

#[tokio::test]
async fn nodes_share_a_limit_and_each_keeps_it_alone_while_redis_is_away() {
    let mut redis = Redis::start();
    let first = Service::start_with(&[("TIDINGS_REDIS_URL", &redis.url())]).await;
    let second = first.another_node().await;
    shared(&first, &second, &first).await;
    // Two buckets would give 80 each time. Where an answer takes Redis too long, as on a busy machine, it is counted by the
    // node as well and says nothing of what they share.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let began = Instant::now();
        let key = limited(&first, 1, Some(40)).await;
        let admitted = admitted_by(&[&first, &second], &key).await;
        let came_back = began.elapsed().as_secs() + 1;
        if (40..=40 + came_back).contains(&admitted) {
            break;
        }
        assert!(admitted <= 80 + 2 * came_back, "more than without Redis: {admitted}, {came_back}");
        assert!(Instant::now() < deadline, "the limit is never shared: {admitted}, {came_back}");
    }

    // Nothing is refused that the limit allows, and the limit holds.
    let unused = limited(&first, 1, Some(40)).await;
    redis.kill();
    for node in [&first, &second] {
        let began = Instant::now();
        let admitted = admitted_by(&[node], &unused).await;
        let came_back = began.elapsed().as_secs() + 1;
        assert!((40..=40 + came_back).contains(&admitted), "{admitted}, {came_back}");
    }
    redis.start_again();
    shared(&first, &second, &first).await;
}

#[test]
fn the_document_says_of_every_operation_that_it_may_be_limited() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.yaml");
    let document: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let refused = &document["components"]["responses"]["Problem429"];
    for name in ["RateLimit", "RateLimit-Policy", "Retry-After"] {
        assert!(refused["headers"][name].is_object(), "{refused}");
    }
    let paths = document["paths"].as_object().unwrap().values();
    let operations: Vec<&Value> = paths.flat_map(|path| path.as_object().unwrap().values()).collect();
    assert!(operations.len() > 10);
    for operation in operations {
        let responses = operation["responses"].as_object().unwrap();
        assert_eq!(responses["429"]["$ref"], "#/components/responses/Problem429", "{operation}");
        for (status, response) in responses.iter().filter(|(status, _)| status.starts_with('2')) {
            assert!(response["headers"]["RateLimit"].is_object(), "{status} of {operation}");
        }
    }
}
