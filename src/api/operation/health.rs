//! Health: alive, and ready to serve.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use poem::http::StatusCode;
use poem::web::{Data, Json};
use poem::{Response, handler};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::log::History;
use crate::mirror::Health;
use crate::read_models::{Overview, ReadModels};

/// Whether the node should get traffic.
#[derive(Clone)]
pub struct Readiness {
    history: History,
    /// The head found at start, which the read models must reach first.
    head_at_start: i64,
    mirror: watch::Receiver<Health>,
    read_models: ReadModels,
    draining: Arc<AtomicBool>,
}

impl Readiness {
    pub fn new(history: History, mirror: watch::Receiver<Health>, read_models: ReadModels) -> Self {
        let head_at_start = history.head.get();
        Self { history, head_at_start, mirror, read_models, draining: Arc::default() }
    }

    /// From now on the node is unready; it finishes what it has.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it asks for traffic, as far as it knows without asking the database.
    pub fn wants_traffic(&self) -> bool {
        self.status_with_database().0 == StatusCode::OK
    }

    /// What the node is fit for, and the read models where the database can say.
    async fn status(&self) -> (StatusCode, &'static str, Vec<Overview>) {
        let Ok(overviews) = self.read_models.overview().await else {
            return (StatusCode::SERVICE_UNAVAILABLE, "no-database", Vec::new());
        };
        let (status, word) = self.status_with_database();
        (status, word, overviews)
    }

    fn status_with_database(&self) -> (StatusCode, &'static str) {
        let mirror = *self.mirror.borrow();
        if self.draining.load(Ordering::Relaxed) {
            return (StatusCode::SERVICE_UNAVAILABLE, "draining");
        }
        if mirror == Health::DatabaseBehind {
            return (StatusCode::SERVICE_UNAVAILABLE, "database-behind");
        }
        let History { inbox, timers, delivery, subscribers, .. } = &self.history;
        let models = [inbox, timers, delivery, subscribers];
        // A failover may have made the log shorter than it was then.
        let wanted = self.head_at_start.min(self.history.head.get());
        if models.iter().any(|model| model.get() < wanted) {
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
    let (status, word, overviews) = readiness.status().await;
    let projection = |overview: &Overview| {
        let (name, state, parked) = (overview.name.as_str(), overview.state(), overview.standing.parked);
        json!({"name": name, "state": state, "parked": parked})
    };
    let projections: Vec<Value> = overviews.iter().map(projection).collect();
    let body = json!({"status": word, "projections": projections}).to_string();
    Response::builder().status(status).content_type("application/json").body(body)
}
