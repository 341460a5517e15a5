//! Learns of events that other nodes append: by NOTIFY at once, by a look every second when one was lost.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::time::{Instant, timeout_at};

use super::History;
use crate::telemetry::Trouble;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps the head and the epochs of `history` current until the task is aborted. Listens on a connection of its
/// own, which is taken from no request.
pub async fn follow(connect: PgConnectOptions, pool: PgPool, history: History) {
    let listening = PgPoolOptions::new().max_connections(1).connect_lazy_with(connect);
    let mut trouble = Trouble::default();
    loop {
        if let Err(error) = listen(&listening, &pool, &history, &mut trouble).await {
            if trouble.begins() {
                tracing::warn!(%error, "the log's notifications are lost; trying again");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

async fn listen(
    listening: &PgPool,
    pool: &PgPool,
    history: &History,
    trouble: &mut Trouble,
) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(listening).await?;
    listener.listen("tidings_log").await?;
    loop {
        // A notification says how long the log is, not of which epoch, and a reconnect drops some in silence.
        history.refresh(pool).await?;
        if trouble.ends() {
            tracing::info!("the log's notifications come again");
        }
        let next_look = Instant::now() + LOOK_EVERY;
        while let Ok(notification) = timeout_at(next_look, listener.try_recv()).await {
            match notification?.and_then(|n| n.payload().parse().ok()) {
                Some(position) => history.head.advance_to(position),
                None => break,
            }
        }
    }
}
