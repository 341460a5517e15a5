//! Health: alive, and ready to serve.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use poem::http::StatusCode;
use poem::web::{Data, Json};
use poem::{Response, handler};
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::watch;

use crate::log::History;
use crate::mirror::Health;

/// Whether the node should get traffic.
#[derive(Clone)]
pub struct Readiness {
    pool: PgPool,
    history: History,
    /// The head found at start, which the read models must reach first.
    head_at_start: i64,
    mirror: watch::Receiver<Health>,
    draining: Arc<AtomicBool>,
}

impl Readiness {
    pub fn new(pool: PgPool, history: History, mirror: watch::Receiver<Health>) -> Self {
        let head_at_start = history.head.get();
        Self { pool, history, head_at_start, mirror, draining: Arc::default() }
    }

    /// From now on the node is unready; it finishes what it has.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    async fn status(&self) -> (StatusCode, &'static str) {
        let mirror = self.mirror.borrow().clone();
        if self.draining.load(Ordering::Relaxed) {
            return (StatusCode::SERVICE_UNAVAILABLE, "draining");
        }
        if mirror == Health::DatabaseBehind {
            return (StatusCode::SERVICE_UNAVAILABLE, "database-behind");
        }
        if sqlx::query("SELECT").execute(&self.pool).await.is_err() {
            return (StatusCode::SERVICE_UNAVAILABLE, "no-database");
        }
        if self.history.inbox.get() < self.head_at_start {
            return (StatusCode::SERVICE_UNAVAILABLE, "starting");
        }
        match mirror {
            Health::Current | Health::Starting | Health::DatabaseBehind => (StatusCode::OK, "ready"),
            Health::RedisAway => (StatusCode::OK, "degraded"),
        }
    }
}

/// The process answers.
#[handler]
pub fn live() -> Json<serde_json::Value> {
    Json(json!({"status": "alive"}))
}

/// 200 while the node can serve, `degraded` without Redis; 503 with the reason otherwise.
#[handler]
pub async fn ready(readiness: Data<&Readiness>) -> Response {
    let (status, word) = readiness.status().await;
    let body = json!({"status": word}).to_string();
    Response::builder().status(status).content_type("application/json").body(body)
}
