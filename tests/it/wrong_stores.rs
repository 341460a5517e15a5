//! Stores that are not as they should be: one clear line, and nothing half-done.

use crate::outage::redis_server::Redis;
use crate::support::{Ended, Service, position, run_to_end};

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
