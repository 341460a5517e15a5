//! `/metrics`: what happens is counted, in a text that parses strictly, and every name is documented.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::Connection;
use tokio::net::TcpStream;

use crate::dispatch;
use crate::outage::redis_server::Redis;
use crate::support::issuer::{Signer, jwks};
use crate::support::{Endpoint, PATIENCE, Says, Service, Socket, Sse, note};

/// Series by name and labels as they are printed, and the type of each family.
#[derive(Debug, Default)]
pub struct Scrape {
    pub types: BTreeMap<String, String>,
    series: BTreeMap<String, f64>,
}

impl Scrape {
    pub async fn of(service: &Service) -> Self {
        let answer = service.send(service.request("GET", "/metrics")).await.expect(200);
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4"));
        Self::parse(&answer.body)
    }

    /// The text format 0.0.4, strictly: help and type before the samples of a family, all of them together.
    fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        let mut family = String::new();
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(!help.is_empty() && !scrape.types.contains_key(name), "{line}");
                family = name.to_owned();
            } else if let Some(typed) = line.strip_prefix("# TYPE ") {
                let (name, kind) = typed.split_once(' ').unwrap();
                assert_eq!(name, family);
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                scrape.types.insert(name.to_owned(), kind.to_owned());
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                let is_histogram = scrape.types[&family] == "histogram";
                let suffixes: &[&str] = if is_histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(suffixes.iter().any(|suffix| name == format!("{family}{suffix}")), "{line}");
                check_labels(&series[name.len()..]);
                let value = value.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
                assert_eq!(scrape.series.insert(series.to_owned(), value), None, "{line}: twice");
            }
        }
        scrape
    }

    /// The value of a series; none is 0, as for `increase`.
    pub fn value(&self, series: &str) -> f64 {
        self.series.get(series).copied().unwrap_or(0.0)
    }

    fn text(&self) -> String {
        self.series.keys().map(|series| format!("{series}\n")).collect()
    }
}

/// `{name="value",...}`, or nothing.
fn check_labels(labels: &str) {
    if labels.is_empty() {
        return;
    }
    let labels = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix("\"}")).unwrap();
    for label in labels.split("\",") {
        let (name, value) = label.split_once("=\"").unwrap();
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{labels}");
        assert!(!value.contains(['"', '\\', '\n']), "{labels}");
    }
}

/// From one question to the next, where nothing tells that a number has moved.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Asks until the series has this value.
async fn becomes(service: &Service, series: &str, value: f64) {
    until(service, series, |it| it == value).await;
}

/// Asks until the value of the series will do.
pub async fn until(service: &Service, series: &str, will_do: impl Fn(f64) -> bool) -> Scrape {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let scrape = Scrape::of(service).await;
        if will_do(scrape.value(series)) {
            return scrape;
        }
        assert!(Instant::now() < deadline, "{series} is {}", scrape.value(series));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

const CREATE: &str = r#"tidings_commands_total{command="create",outcome="done"}"#;
const POSTED: &str = r#"tidings_http_requests_total{method="POST",route="/v1/notifications",status="2xx"}"#;

#[tokio::test]
async fn a_story_moves_exactly_the_numbers_that_tell_it() {
    let service = Service::start().await;
    let before = Scrape::of(&service).await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let mut stream = Sse::of(&service, "alice", &[]).await;
    let keyed = note("alice");
    let first = service.post_keyed("/v1/notifications", &keyed, "a key").await.expect(201);
    service.post_keyed("/v1/notifications", &keyed, "a key").await.expect(201);
    let id = first.text("id");
    socket.event("notification.created").await;
    stream.event("welcome").await;
    stream.event("event").await;
    socket.send(json!({"type": "read", "id": id, "ref": "1"}).to_string()).await;
    socket.event("notification.read").await;
    socket.frame("reply").await;
    stream.event("event").await;
    service.post("/v1/notifications/batch", &json!({"notifications": [note("bob"), note("bob")]})).await;
    service.post(&format!("/v1/notifications/{id}/retry"), &serde_json::Value::Null).await.expect(409);
    service.send(service.request("GET", "/v1/notifications").header("x-api-key", "bad")).await.expect(401);
    service.get("/v1/nothing/at/all").await.expect(404);
    for (method, path) in [("HEAD", "/health/live"), ("GET", "/docs"), ("HEAD", "/docs")] {
        service.send(service.request(method, path)).await.expect(200);
    }
    service.counts("bob").await;

    let after = Scrape::of(&service).await;
    let moved = |series: &str| after.value(series) - before.value(series);
    assert_eq!(moved(CREATE), 3.0, "{}", after.text());
    assert_eq!(moved(r#"tidings_commands_total{command="create",outcome="replayed"}"#), 1.0);
    assert_eq!(moved(r#"tidings_commands_total{command="read",outcome="done"}"#), 1.0);
    assert_eq!(moved(r#"tidings_commands_total{command="retry",outcome="refused"}"#), 1.0);
    assert_eq!(moved(POSTED), 2.0);
    let latency = r#"tidings_http_request_duration_seconds_count{method="POST",route="/v1/notifications"}"#;
    assert_eq!(moved(latency), 2.0);
    let refused = r#"method="POST",route="/v1/notifications/{id}/retry",status="4xx""#;
    assert_eq!(moved(&format!("tidings_http_requests_total{{{refused}}}")), 1.0);
    let lost = r#"tidings_http_requests_total{method="any",route="none",status="4xx"}"#;
    assert_eq!(moved(lost), 1.0);
    for (method, route) in [("HEAD", "/health/live"), ("GET", "/docs"), ("HEAD", "/docs")] {
        let labels = format!(r#"method="{method}",route="{route}",status="2xx""#);
        assert_eq!(moved(&format!("tidings_http_requests_total{{{labels}}}")), 1.0, "{method} {route}");
    }
    let served = |series: &&String| series.contains(r#"route="none",status="2xx""#);
    assert_eq!(after.series.keys().find(served), None, "a route that is there is counted as itself");
    assert_eq!(moved(r#"tidings_http_requests_total{method="GET",route="/v1/ws",status="1xx"}"#), 1.0);
    assert_eq!(moved(r#"tidings_problems_total{type="unauthorized"}"#), 1.0);
    assert_eq!(moved(r#"tidings_problems_total{type="invalid-state"}"#), 1.0);
    assert_eq!(moved(r#"tidings_auth_failures_total{reason="unknown_key"}"#), 1.0);
    // Created three times, read once, and with it delivered.
    assert_eq!(moved("tidings_events_appended_total"), 5.0);
    assert_eq!(after.value("tidings_log_head_position"), 5.0);
    assert_eq!(moved(r#"tidings_append_batch_events_sum{lane="single"}"#), 3.0);
    assert_eq!(moved(r#"tidings_append_batch_events_sum{lane="bulk"}"#), 2.0);
    for lane in ["single", "bulk"] {
        assert_eq!(after.value(&format!(r#"tidings_append_queue_jobs{{lane="{lane}"}}"#)), 0.0);
    }
    assert_eq!(after.value(r#"tidings_read_model_position{model="inbox"}"#), 5.0);
    assert_eq!(after.value(r#"tidings_read_model_lag_events{model="inbox"}"#), 0.0);
    assert_eq!(after.value(r#"tidings_connections{kind="socket"}"#), 1.0);
    assert_eq!(after.value(r#"tidings_connections{kind="sse"}"#), 1.0);
    assert_eq!(moved(r#"tidings_frames_sent_total{type="event"}"#), 4.0);
    assert_eq!(moved(r#"tidings_frames_sent_total{type="welcome"}"#), 2.0);
    assert_eq!(moved(r#"tidings_frames_sent_total{type="reply"}"#), 1.0);
    assert_eq!(moved("tidings_frame_latency_seconds_count"), 4.0);
    assert!(moved("tidings_frame_latency_seconds_sum") < 5.0);
    assert_eq!(moved(r#"tidings_frames_received_total{type="command"}"#), 1.0);
    assert_eq!(after.value("tidings_connection_queued_bytes"), 0.0);
    assert_eq!(after.value("tidings_ready"), 1.0);
    assert_eq!(after.value(r#"tidings_embedded{service="postgres"}"#), 1.0);
    assert!(after.value("tidings_log_epoch") > 1.7e9);
    assert!(after.value("process_open_fds") > 10.0);
    assert!(!after.text().contains("alice") && !after.text().contains(&id), "{}", after.text());

    socket.close().await;
    drop(stream);
    becomes(&service, r#"tidings_connections{kind="socket"}"#, 0.0).await;
    let ended = r#"tidings_connections_closed_total{code="none",kind="socket"}"#;
    becomes(&service, ended, 1.0).await;
    becomes(&service, "tidings_mirror_position", 5.0).await;
    becomes(&service, "tidings_mirror_lag_events", 0.0).await;
    becomes(&service, "tidings_feed_position", 5.0).await;
}

#[tokio::test]
async fn a_request_that_its_client_gives_up_is_counted_by_its_route() {
    let service = Service::start().await;
    let mut sql = service.sql().await;
    // No append ends while the head is locked.
    let mut locked = sql.begin().await.unwrap();
    sqlx::query("SELECT position FROM log_head FOR UPDATE").execute(&mut *locked).await.unwrap();
    let stream = TcpStream::connect(service.url("").replace("http://", "")).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = poem::http::Request::post(service.url("/v1/notifications"))
        .header("x-api-key", service.root_key())
        .header("content-type", "application/json");
    let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    body.send_data(note("alice").to_string().into(), true).unwrap();
    becomes(&service, r#"tidings_append_queue_jobs{lane="single"}"#, 1.0).await;
    assert_eq!(Scrape::of(&service).await.value("tidings_http_requests_in_flight"), 2.0, "and the scrape");
    drop((answer, body));
    let aborted = r#"tidings_http_requests_aborted_total{method="POST",route="/v1/notifications"}"#;
    becomes(&service, aborted, 1.0).await;
    assert_eq!(Scrape::of(&service).await.value("tidings_http_requests_in_flight"), 1.0);
    assert_eq!(Scrape::of(&service).await.value(POSTED), 0.0);
    connection.abort();
    locked.rollback().await.unwrap();
}

#[tokio::test]
async fn bad_sockets_are_counted_by_their_close_code() {
    let service = Service::start().await;
    let unauthorized = Socket::open(&service, "", &[("x-api-key", "bad")]).await.unwrap();
    unauthorized.expect_close(4500).await;
    let nobody = Socket::open(&service, "", &[("x-api-key", &service.root_key())]).await.unwrap();
    nobody.expect_close(4501).await;
    for code in [4500, 4501] {
        let closed = format!(r#"tidings_connections_closed_total{{code="{code}",kind="socket"}}"#);
        becomes(&service, &closed, 1.0).await;
    }
    becomes(&service, r#"tidings_auth_failures_total{reason="unknown_key"}"#, 1.0).await;
}

#[tokio::test]
async fn a_redis_that_dies_shows_and_so_does_its_return() {
    let mut redis = Redis::start();
    let service = Service::start_with(&[("TIDINGS_REDIS_URL", &redis.url())]).await;
    becomes(&service, "tidings_redis_up", 1.0).await;
    service.create("alice").await;
    becomes(&service, "tidings_mirror_position", 1.0).await;
    redis.kill();
    becomes(&service, "tidings_redis_up", 0.0).await;
    becomes(&service, r#"tidings_mirror_state{state="redis_away"}"#, 1.0).await;
    let scrape = Scrape::of(&service).await;
    assert_eq!(scrape.value(r#"tidings_mirror_state{state="current"}"#), 0.0);
    assert_eq!(scrape.value("tidings_ready"), 1.0, "degraded is ready");
    assert_eq!(scrape.value(r#"tidings_embedded{service="redis"}"#), 0.0);
    let refills = scrape.value("tidings_mirror_refills_total");
    redis.start_again();
    becomes(&service, "tidings_redis_up", 1.0).await;
    becomes(&service, "tidings_mirror_position", 1.0).await;
    assert!(Scrape::of(&service).await.value("tidings_mirror_refills_total") > refills);
    drop(service);
}

#[tokio::test]
async fn a_stream_that_another_node_keeps_is_where_it_is() {
    let service = Service::start().await;
    for _ in 0..3 {
        service.create("alice").await;
    }
    let entries = service.mirrored_after("0", 3).await;
    becomes(&service, "tidings_mirror_position", 3.0).await;
    // As a node with a newer generation of the inbox leaves it.
    let (stream, epoch) = ("tidings:{0}:events", entries[0].get::<String>("epoch").unwrap());
    let fields = ["epoch", epoch.as_str(), "generation", "99000000"];
    let mut both = redis::pipe();
    both.atomic().del(stream).cmd("XADD").arg(stream).arg("1-0").arg(&fields);
    let _: redis::Value = both.query_async(&mut service.redis().await).await.unwrap();
    becomes(&service, "tidings_mirror_position", 1.0).await;
    becomes(&service, "tidings_mirror_lag_events", 2.0).await;
}

#[tokio::test]
async fn a_table_that_is_locked_is_not_a_database_that_is_away() {
    let service = Service::start().await;
    becomes(&service, "tidings_database_up", 1.0).await;
    let mut sql = service.sql().await;
    let mut locked = sql.begin().await.unwrap();
    sqlx::query("LOCK TABLE timers_v3.timers").execute(&mut *locked).await.unwrap();
    let age = |of: &str| format!(r#"tidings_staleness_seconds{{of="{of}"}}"#);
    // Longer than from one look to the next, and than a look takes.
    let scrape = until(&service, &age("timers_due"), |seconds| seconds > 6.0).await;
    assert_eq!((scrape.value("tidings_database_up"), scrape.value("tidings_ready")), (1.0, 1.0));
    for of in ["inbox", "delivery", "api_keys"] {
        assert!(scrape.value(&age(of)) < 6.0, "{of}: {}", scrape.value(&age(of)));
    }
    locked.rollback().await.unwrap();
    until(&service, &age("timers_due"), |seconds| seconds < 5.0).await;
}

#[tokio::test]
async fn keys_that_cannot_be_read_are_as_old_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, jwks(&[Signer::P256])).unwrap();
    let mut host = Service::start().await;
    let node = host.another_node_with(&[("TIDINGS_JWKS", file.to_str().unwrap())]).await;
    let (keys, set) =
        (r#"tidings_staleness_seconds{of="api_keys"}"#, r#"tidings_staleness_seconds{of="jwks"}"#);
    until(&node, keys, |seconds| seconds < 1.0).await;
    std::fs::remove_file(&file).unwrap();
    host.kill();
    until(&node, keys, |seconds| seconds > 3.0).await;
    until(&node, set, |seconds| seconds > 3.0).await;
    becomes(&node, "tidings_database_up", 0.0).await;
    drop(node);
}

#[tokio::test]
async fn timers_are_counted_when_they_fire() {
    let service = Service::start().await;
    let mut socket = Socket::of(&service, "alice").await.0;
    let mut body = note("alice");
    body["deliver_at"] = json!(service.in_ms(2000).await);
    service.create_with(&body).await;
    socket.event("notification.released").await;
    becomes(&service, r#"tidings_timers_fired_total{kind="release"}"#, 1.0).await;
    let scrape = Scrape::of(&service).await;
    assert_eq!(scrape.value("tidings_timer_lateness_seconds_count"), 1.0);
    assert!(scrape.value("tidings_timer_lateness_seconds_sum") < 5.0);
    assert_eq!(scrape.value(r#"tidings_commands_total{command="release",outcome="done"}"#), 1.0);
}

#[tokio::test]
async fn deliveries_are_counted_by_how_they_went() {
    let service = dispatch::service().await;
    let before = Scrape::of(&service).await;
    let (taking, refusing) = (Endpoint::saying(200).await, Endpoint::saying(400).await);
    for (user, endpoint) in [("bob", &taking), ("carol", &refusing)] {
        dispatch::reach(&service, user, endpoint).await;
    }
    let taken = service.create_with(&dispatch::by_webhook("bob")).await;
    dispatch::story(&service, &taken, "delivery.succeeded").await;
    let refused = service.create_with(&dispatch::by_webhook("carol")).await;
    dispatch::story(&service, &refused, "delivery.dead_lettered").await;
    let nowhere = service.create_with(&dispatch::planned("bob", json!([{"channel": "email"}]))).await;
    dispatch::story(&service, &nowhere, "delivery.skipped").await;
    let seen = service.create("bob").await;
    service.mark(&seen, "seen").await;
    let broadcast = json!({"user_ids": ["ann", "ben"], "content": {"title": "Hello", "body": ""}});
    service.post("/v1/broadcasts", &broadcast).await.expect(201);
    let after = until(&service, "tidings_broadcast_notifications_total", |made| made == 2.0).await;

    let moved = |series: &str| after.value(series) - before.value(series);
    for (series, by) in [
        (r#"tidings_delivery_attempts_total{channel="webhook"}"#, 2.0),
        (r#"tidings_delivery_attempts_total{channel="email"}"#, 0.0),
        (r#"tidings_delivery_failures_total{channel="webhook",class="permanent"}"#, 1.0),
        (r#"tidings_delivery_failures_total{channel="webhook",class="transient"}"#, 0.0),
        (r#"tidings_deliveries_total{channel="webhook",outcome="delivered"}"#, 1.0),
        (r#"tidings_deliveries_total{channel="in_app",outcome="delivered"}"#, 1.0),
        (r#"tidings_deliveries_total{channel="webhook",outcome="exhausted"}"#, 1.0),
        (r#"tidings_deliveries_total{channel="webhook",outcome="dead_lettered"}"#, 1.0),
        (r#"tidings_deliveries_skipped_total{channel="email",reason="not_configured"}"#, 1.0),
        (r#"tidings_delivery_first_attempt_seconds_count{channel="webhook"}"#, 2.0),
        (r#"tidings_delivery_delivered_seconds_count{channel="webhook"}"#, 1.0),
        (r#"tidings_channel_call_duration_seconds_count{channel="webhook"}"#, 2.0),
    ] {
        assert_eq!(moved(series), by, "{series} {}", after.text());
    }
    let waited = moved(r#"tidings_delivery_first_attempt_seconds_sum{channel="webhook"}"#);
    assert!(waited > 0.0 && waited < 20.0, "{waited}");
}

#[tokio::test]
async fn what_waits_for_a_place_is_counted_by_lane() {
    let service = dispatch::service_with(&[("TIDINGS_DISPATCH_CONCURRENCY", "1")]).await;
    let endpoint = Endpoint::start(|_, _| Says::Gated).await;
    dispatch::reach(&service, "alice", &endpoint).await;
    let mut low = dispatch::by_webhook("alice");
    low["priority"] = "low".into();
    let batch = json!({"notifications": [low, low, low]});
    service.post("/v1/notifications/batch", &batch).await.expect(200);
    endpoint.calls(1).await;
    // Looked up every five seconds, and each call is given up after one.
    let due = r#"tidings_dispatch_due{lane="low"}"#;
    let scrape = until(&service, due, |due| due > 0.0).await;
    assert_eq!(scrape.value(r#"tidings_dispatch_due{lane="urgent"}"#), 0.0);
    assert!(scrape.value(r#"tidings_dispatch_oldest_due_seconds{lane="low"}"#) > 0.0);
    assert_eq!(scrape.value("tidings_dispatch_places"), 1.0);
    assert!(scrape.value("tidings_dispatch_places_used") <= 1.0);
    endpoint.open();
    becomes(&service, due, 0.0).await;
    becomes(&service, "tidings_dispatch_places_used", 0.0).await;
}

/// Metrics as a table of `docs/metrics.md` lists them: name, type, labels.
pub fn documented() -> BTreeMap<String, (String, Vec<String>)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = std::fs::read_to_string(file).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let metrics: Vec<(String, (String, Vec<String>))> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let name = cells[0].trim_end_matches('`').to_owned();
            let labels = cells[2].split(',').map(|label| label.trim().trim_matches('`').to_owned());
            (name, (cells[1].to_owned(), labels.filter(|label| !label.is_empty()).collect()))
        })
        .collect();
    let count = metrics.len();
    let metrics: BTreeMap<_, _> = metrics.into_iter().collect();
    assert_eq!(metrics.len(), count, "a metric is listed twice");
    metrics
}

#[tokio::test]
async fn the_document_lists_what_is_printed_and_nothing_else() {
    let service = Service::start().await;
    service.create("alice").await;
    // The first request is counted once it is answered.
    Scrape::of(&service).await;
    let scrape = Scrape::of(&service).await;
    let documented = documented();
    let printed: Vec<_> = scrape.types.iter().collect();
    let listed: Vec<_> = documented.iter().map(|(name, (kind, _))| (name, kind)).collect();
    assert_eq!(printed, listed);
    for (name, (kind, labels)) in &documented {
        let suffix = if kind == "histogram" { "_count" } else { "" };
        let series = format!("{name}{suffix}");
        let printed = scrape.series.keys().filter(|key| key.split('{').next() == Some(&series));
        for key in printed {
            let inside = key.strip_prefix(&series).unwrap().trim_matches(['{', '}']);
            let mut names: Vec<&str> =
                inside.split("\",").filter_map(|label| label.split('=').next()).collect();
            names.retain(|name| !name.is_empty());
            let mut labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            labels.sort_unstable();
            assert_eq!(names, labels, "{key}");
        }
    }
}
