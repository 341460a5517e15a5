//! Learns of events that other nodes append: by NOTIFY at once, by a poll when one was lost.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;

use super::History;

const POLL: Duration = Duration::from_secs(1);

/// Keeps the head of `history` current until the task is aborted.
pub async fn follow(pool: PgPool, history: History) {
    loop {
        if let Err(error) = listen(&pool, &history).await {
            tracing::warn!(%error, "the log's notifications are lost; trying again");
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn listen(pool: &PgPool, history: &History) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen("tidings_log").await?;
    loop {
        // A reconnect drops notifications without a word, so the head is read anew after each silence.
        history.refresh(pool).await?;
        while let Ok(notification) = tokio::time::timeout(POLL, listener.try_recv()).await {
            match notification?.and_then(|n| n.payload().parse().ok()) {
                Some(position) => history.head.advance_to(position),
                None => break,
            }
        }
    }
}
