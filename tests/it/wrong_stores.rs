//! Stores that are not as they should be: one clear line, and nothing half-done.

use std::time::Instant;

use serde_json::json;
use tempfile::TempDir;

use crate::outage::redis_server::Redis;
use crate::support::{ApiKey, Ended, PATIENCE, Service, position, run_to_end};

/// What Redis counts, as the log names it.
const LIMITS: [&str; 2] = ["limits of keys", "limits of connections"];

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let service = Service::start().await;
    service.create("alice").await;
    let head = service.head().await;
    let node = service.another_node().await;
    let mut sql = service.sql().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'of tomorrow', true, '', 0)";
    sqlx::query(newer).execute(&mut sql).await.unwrap();
    for word in ["serve", "migrate"] {
        let Ended { code, errors, .. } = run_to_end(node.command(word));
        assert_eq!(code, Some(1), "{word}");
        assert!(errors.contains("a newer version of Tidings: its schema is 9999"), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    // In a rolling deploy, who runs already goes on.
    service.create("alice").await;
    assert!(position(&service.head().await) > position(&head));
}

#[tokio::test]
async fn a_redis_that_evicts_is_named_in_the_log() {
    let redis = Redis::start();
    let mut connection = redis.connect().await;
    for (setting, value) in [("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")] {
        let () =
            redis::cmd("CONFIG").arg(&["SET", setting, value]).query_async(&mut connection).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let settings = [("TIDINGS_REDIS_URL", redis.url()), ("TIDINGS_LOG_LEVEL", "warn".into())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let service = Service::start_logging(&settings, Some(&log)).await;
    service.create("alice").await;
    service.mirrored_after("0", 1).await;
    drop(service);
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("maxmemory-policy")).collect();
    assert!(lines.len() == 1 && lines[0].contains("allkeys-lru"), "{text}");
}

/// A service whose log is read, and a key with a limit.
struct Watched {
    service: Service,
    key: ApiKey,
    folder: TempDir,
}

impl Watched {
    async fn with(redis: &Redis) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = [
            ("TIDINGS_REDIS_URL", redis.url()),
            ("TIDINGS_LOG_LEVEL", "info,sqlx=error".into()),
            ("TIDINGS_CONNECTIONS_PER_USER", "100000".into()),
        ];
        let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
        let service = Service::start_logging(&settings, Some(&folder.path().join("log"))).await;
        let body =
            json!({"name": "n", "scopes": ["admin"], "requests_per_second": 1_000_000, "burst": 1_000_000});
        let key = service.key_with(body).await;
        Self { service, key, folder }
    }

    /// Asks for places and for requests until this was told of the limits of both, and gives the log.
    async fn told(&self, line: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let request = self.service.by(&self.key, "GET", "/v1/users/alice/inbox");
            self.service.send(request).await.expect(200);
            self.service.socket_by(&self.key, "alice").await;
            let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            if LIMITS.iter().all(|limits| text.contains(&format!("{limits} {line}"))) {
                return text;
            }
            assert!(Instant::now() < deadline, "{text}");
        }
    }
}

/// The fault was told of both limits, and not again for as long as it was the same: on a busy machine Redis may have been too
/// slow meanwhile.
fn is_told_once(text: &str, fault: &str) {
    for limits in LIMITS {
        let count = |fault| text.matches(&format!("Redis {fault}: {limits} hold per node")).count();
        assert!((1..=1 + count("is away")).contains(&count(fault)), "{text}");
    }
}

#[tokio::test]
async fn a_redis_that_is_full_is_told_as_that_and_limits_hold_per_node_until_it_has_room() {
    let redis = Redis::start();
    let mut connection = redis.connect().await;
    let mut memory = async |bytes: u64| {
        let mut set = redis::cmd("CONFIG");
        set.arg(&["SET", "maxmemory"]).arg(bytes).exec_async(&mut connection).await.unwrap();
    };
    let watched = Watched::with(&redis).await;
    memory(1).await;
    watched.told("hold per node").await;
    memory(0).await;
    let text = watched.told("hold over all nodes again").await;
    is_told_once(&text, "is full");
    assert!(!text.contains("Redis refuses"), "{text}");
}

#[tokio::test]
async fn a_redis_that_runs_no_scripts_is_told_as_one_that_refuses_until_it_does() {
    let redis = Redis::start();
    let mut connection = redis.connect().await;
    let mut scripts = async |rule: &str| {
        let mut set = redis::cmd("ACL");
        set.arg(&["SETUSER", "default", rule]).exec_async(&mut connection).await.unwrap();
    };
    scripts("-@scripting").await;
    let watched = Watched::with(&redis).await;
    watched.told("hold per node").await;
    scripts("+@scripting").await;
    let text = watched.told("hold over all nodes again").await;
    is_told_once(&text, "refuses");
}
