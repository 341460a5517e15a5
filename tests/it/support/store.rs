//! Postgres and Redis of a running service, for looking at what it keeps, and for writing as an older version would.

use std::path::{Path, PathBuf};

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamReadOptions, StreamReadReply};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{PATIENCE, Service};

/// The embedded services as process ids: Postgres, then Redis, each where the service does not use another's.
pub async fn children(data_dir: &Path) -> Vec<i32> {
    let mut pids = Vec::new();
    if let Ok(postmaster) = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid")) {
        pids.push(postmaster.lines().next().unwrap().parse().unwrap());
    }
    if redis_socket(data_dir).exists() {
        let client = redis::Client::open(redis_url(data_dir)).unwrap();
        let mut redis = client.get_multiplexed_async_connection().await.unwrap();
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut redis).await.unwrap();
        let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap();
        pids.push(pid.parse().unwrap());
    }
    pids
}

fn redis_socket(data_dir: &Path) -> PathBuf {
    data_dir.join("redis/redis.sock")
}

fn redis_url(data_dir: &Path) -> String {
    format!("redis+unix://{}", redis_socket(data_dir).display())
}

/// The stream that mirrors the log.
const STREAM: &str = "tidings:{0}:events";

impl Service {
    /// The Redis it was given, else its own.
    pub fn redis_url(&self) -> String {
        self.setting("TIDINGS_REDIS_URL").map_or_else(|| redis_url(&self.data_dir()), str::to_owned)
    }

    pub async fn redis(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.redis_url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// The entries of the mirror after an id, waiting for `count` of them.
    pub async fn mirrored_after(&self, after: &str, count: usize) -> Vec<StreamId> {
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE * 2));
        let client = redis::Client::open(self.redis_url()).unwrap();
        let mut redis = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
        let (mut after, mut found) = (after.to_owned(), Vec::new());
        while found.len() < count {
            let options = StreamReadOptions::default().block(PATIENCE.as_millis() as usize);
            let reply: Option<StreamReadReply> =
                redis.xread_options(&[STREAM], &[&after], &options).await.unwrap();
            let reply = reply.expect("entries come");
            found.extend(reply.keys.into_iter().flat_map(|key| key.ids));
            after = found.last().map_or(after, |entry| entry.id.clone());
        }
        found
    }

    pub async fn sql(&self) -> PgConnection {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(self.data_dir().join("postgres"))
            .port(5432)
            .username("tidings")
            .database("tidings")
            .ssl_mode(PgSslMode::Disable);
        PgConnection::connect_with(&options).await.unwrap()
    }

    /// An instant a little from now, by the clock of the database, which is that of this machine.
    pub async fn in_ms(&self, ms: i32) -> String {
        let format = "YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"";
        sqlx::query_scalar(
            "SELECT to_char((clock_timestamp() + $1 * interval '1 ms') AT TIME ZONE 'UTC', $2)",
        )
        .bind(ms)
        .bind(format)
        .fetch_one(&mut self.sql().await)
        .await
        .unwrap()
    }

    /// What a request that is refused must leave alone: events, head and idempotency keys.
    pub async fn stored(&self, sql: &mut PgConnection) -> (i64, i64, i64) {
        sqlx::query_as(
            "SELECT (SELECT count(*) FROM events), (SELECT position FROM log_head),
                    (SELECT count(*) FROM idempotency)",
        )
        .fetch_one(sql)
        .await
        .unwrap()
    }
}

impl Service {
    /// Another node on the same Postgres and Redis, as in production.
    pub async fn another_node(&self) -> Self {
        self.another_node_with(&[]).await
    }

    /// With these environment variables on top.
    pub async fn another_node_with(&self, settings: &[(&str, &str)]) -> Self {
        let data_dir = self.data_dir();
        let database = format!(
            "postgres:///tidings?host={}&port=5432&user=tidings&sslmode=disable",
            data_dir.join("postgres").display()
        );
        let shared = [
            ("TIDINGS_DATABASE_URL", database.as_str()),
            ("TIDINGS_REDIS_URL", &self.redis_url()),
            ("TIDINGS_MASTER_KEY", &self.secret("master_key")),
            ("TIDINGS_ROOT_API_KEY", &self.root_key()),
            ("TIDINGS_JWT_SECRET", &self.jwt_secret()),
        ];
        Self::start_with(&[&shared, settings].concat()).await
    }
}

/// An event to append as some other binary would have written it.
pub struct Stored<'a> {
    pub tenant: &'a str,
    pub user: &'a str,
    pub id: &'a str,
    pub sequence: i64,
    pub name: &'a str,
    pub version: &'a str,
    pub payload: Value,
}

impl Stored<'_> {
    /// Appends it through the one append path and gives its cursor.
    pub async fn append(&self, sql: &mut PgConnection) -> String {
        let command_id = Uuid::from_u128(distinct_id(self.id, self.sequence));
        let (position, epoch): (i64, i64) = sqlx::query_as(
            "SELECT first_position, epoch FROM log_append(
                ARRAY[$1::uuid], NULL,
                ARRAY[1], ARRAY['notification'], ARRAY[$2], ARRAY[$3::bigint],
                ARRAY[1], ARRAY['notification'], ARRAY[$2], ARRAY[$3::bigint],
                ARRAY[$4], ARRAY[$5], ARRAY[$6], ARRAY[$7], ARRAY[$8], ARRAY[$9],
                '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')
              WHERE losers IS NULL",
        )
        .bind(command_id)
        .bind(self.id)
        .bind(self.sequence)
        .bind(self.name)
        .bind(self.version)
        .bind(self.payload.to_string())
        .bind(command_metadata(self.tenant, command_id).to_string())
        .bind(self.tenant)
        .bind(self.user)
        .fetch_one(sql)
        .await
        .unwrap();
        format!("{epoch}.{position}")
    }
}

/// What the metadata of every event name.
fn command_metadata(tenant: &str, command_id: Uuid) -> Value {
    json!({
        "tenant": tenant, "actor": "key:root", "command_id": command_id, "request_id": "a-request",
        "correlation_id": "a-request", "causation_id": "a-request",
    })
}

/// Different for every event, the same in every run.
fn distinct_id(id: &str, sequence: i64) -> u128 {
    let text = id.bytes().fold(0_u128, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    text.wrapping_mul(31).wrapping_add(sequence.cast_unsigned().into())
}
