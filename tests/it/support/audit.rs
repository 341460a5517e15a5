//! The books of the service, checked from the tables themselves: what was kept, counted and told.

use serde_json::Value;
use sqlx::PgConnection;

use super::{Door, api};

/// One change of a user's inbox, as a frame told it or as the read model keeps it.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Seen {
    pub position: i64,
    pub event: String,
    pub notification: String,
    pub unread: i64,
    pub unseen: i64,
}

impl Seen {
    pub fn of_frame(frame: &Value) -> Self {
        assert_eq!(frame["type"], "event", "{frame}");
        Self {
            position: api::position(frame["cursor"].as_str().unwrap()),
            event: frame["event"].as_str().unwrap().to_owned(),
            notification: frame["notification"]["id"].as_str().unwrap().to_owned(),
            unread: frame["unread"].as_i64().unwrap(),
            unseen: frame["unseen"].as_i64().unwrap(),
        }
    }

    /// Every change of a user's inbox, in order.
    pub async fn all_of(sql: &mut PgConnection, user: &str) -> Vec<Self> {
        sqlx::query_as(
            "SELECT position, event, 'ntf_' || notification AS notification, unread, unseen
               FROM inbox_v1.changes WHERE tenant = 'default' AND user_id = $1 ORDER BY position",
        )
        .bind(user)
        .fetch_all(sql)
        .await
        .unwrap()
    }
}

impl Door {
    /// The log has no hole, the inbox is at its end, and the counts of each user are those of a recount, of the
    /// last change, and of the API. Nobody may be at work; what is recorded is waited for.
    pub async fn audit(&self, sql: &mut PgConnection, users: &[&str]) {
        *self.done.lock().unwrap() = Some(self.head().await);
        for user in users {
            self.counts(user).await;
        }
        let (events, last, head, checkpoint): (i64, i64, i64, i64) = sqlx::query_as(
            "SELECT count(*), coalesce(max(position), 0), (SELECT position FROM log_head),
                    (SELECT position FROM inbox_v1.checkpoint) FROM events",
        )
        .fetch_one(&mut *sql)
        .await
        .unwrap();
        assert_eq!((last, head, checkpoint), (events, events, events), "positions have no hole");
        for user in users {
            let counters: (i64, i64) = counts(sql, COUNTERS, user).await;
            assert_eq!(counters, counts(sql, RECOUNT, user).await, "the counters of {user} and a recount");
            assert_eq!(counters, counts(sql, LAST_CHANGE, user).await, "what {user} was told last");
            assert_eq!(counters, self.counts(user).await, "what {user} is told when asking");
        }
    }
}

const COUNTERS: &str =
    "SELECT unread, unseen FROM inbox_v1.counters WHERE tenant = 'default' AND user_id = $1";
const RECOUNT: &str = "
SELECT count(*) FILTER (WHERE read_at IS NULL), count(*) FILTER (WHERE seen_at IS NULL)
  FROM inbox_v1.items
 WHERE tenant = 'default' AND user_id = $1 AND listed IS NOT NULL
   AND ended IS NULL AND archived_at IS NULL AND snoozed_until IS NULL";
const LAST_CHANGE: &str = "
SELECT unread, unseen FROM inbox_v1.changes
 WHERE tenant = 'default' AND user_id = $1 ORDER BY position DESC LIMIT 1";

/// Of a user nobody has written to, zeros.
async fn counts(sql: &mut PgConnection, query: &'static str, user: &str) -> (i64, i64) {
    sqlx::query_as(query).bind(user).fetch_optional(sql).await.unwrap().unwrap_or_default()
}
