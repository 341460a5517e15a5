//! Postgres and Redis of a running service, for looking at what it keeps, and for writing as an older version would.

use std::path::Path;

use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{PATIENCE, Service};

/// The embedded services as process ids; none where the service uses those of others.
pub async fn children(data_dir: &Path) -> Vec<i32> {
    let Ok(postmaster) = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid")) else {
        return Vec::new();
    };
    let postgres = postmaster.lines().next().unwrap().parse().unwrap();
    let mut redis = redis_in(data_dir).await;
    let info: String = redis::cmd("INFO").arg("server").query_async(&mut redis).await.unwrap();
    let redis = info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap();
    vec![postgres, redis.parse().unwrap()]
}

fn client_of(data_dir: &Path) -> redis::Client {
    redis::Client::open(format!("redis+unix://{}", data_dir.join("redis/redis.sock").display())).unwrap()
}

async fn redis_in(data_dir: &Path) -> MultiplexedConnection {
    client_of(data_dir).get_multiplexed_async_connection().await.unwrap()
}

impl Service {
    /// For reads that block until something comes.
    pub async fn redis_that_waits(&self) -> MultiplexedConnection {
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE * 2));
        client_of(&self.data_dir()).get_multiplexed_async_connection_with_config(&config).await.unwrap()
    }

    pub async fn redis(&self) -> MultiplexedConnection {
        redis_in(&self.data_dir()).await
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
        let data_dir = self.data_dir();
        let database = format!(
            "postgres:///tidings?host={}&port=5432&user=tidings&sslmode=disable",
            data_dir.join("postgres").display()
        );
        let redis = format!("redis+unix://{}", data_dir.join("redis/redis.sock").display());
        Self::start_with(&[
            ("TIDINGS_DATABASE_URL", &database),
            ("TIDINGS_REDIS_URL", &redis),
            ("TIDINGS_MASTER_KEY", &self.secret("master_key")),
            ("TIDINGS_ROOT_API_KEY", &self.root_key()),
            ("TIDINGS_JWT_SECRET", &self.jwt_secret()),
        ])
        .await
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
