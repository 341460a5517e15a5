//! Marks for a whole inbox: everything up to a position is read, seen or archived in one request.

use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;
use tidings_domain::notification::Category;
use tidings_projections::log::Cursor;

use crate::api::Tag;
use crate::api::http::body::OptionalBody;
use crate::api::http::credentials::{Anyone, Credentials, InboxWrite};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::reads::parse_user;
use crate::api::http::request::{Command, Key};
use crate::commands::{BulkKind, BulkMark};

pub struct BulkMarks;

/// Which items to mark; all of them where nothing is said.
#[derive(Debug, Default, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct MarkInbox {
    /// A cursor: items that came after it stay as they are. Where it is left out, all that came before the
    /// request are marked.
    up_to: Option<String>,
    /// Only items of this category.
    #[oai(validator(min_length = 1, max_length = 64))]
    category: Option<String>,
}

/// Done, durably.
#[derive(Debug, Object)]
struct InboxMarked {
    /// Items that this request changed.
    marked: u64,
    /// Everything it did is at or before this position of the log.
    cursor: String,
}

#[derive(ApiResponse)]
enum MarkedResponse {
    /// Done, or already so.
    #[oai(status = 200)]
    Done(
        Json<InboxMarked>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had begun it; what was missing is done now.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

type MarkCommand = Command<Anyone<InboxWrite>, OptionalBody<MarkInbox>>;

#[OpenApi(prefix_path = "/v1", tag = "Tag::Inbox")]
impl BulkMarks {
    /// Mark an inbox as read
    ///
    /// Archived and snoozed items, too. Each item is marked by itself; other requests go first.
    #[oai(path = "/users/:user_id/inbox/read-all", method = "post", operation_id = "markInboxRead")]
    async fn read_all(
        &self,
        command: MarkCommand,
        /// Whose inbox.
        user_id: Path<String>,
        /// Makes a repetition harmless: it does what an earlier request has not done, and nothing twice.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<MarkedResponse, Problem> {
        command.mark_all(user_id.0, &key, BulkKind::Read).await
    }

    /// Mark an inbox as seen
    ///
    /// Archived and snoozed items, too. Each item is marked by itself; other requests go first.
    #[oai(path = "/users/:user_id/inbox/seen-all", method = "post", operation_id = "markInboxSeen")]
    async fn seen_all(
        &self,
        command: MarkCommand,
        /// Whose inbox.
        user_id: Path<String>,
        /// Makes a repetition harmless: it does what an earlier request has not done, and nothing twice.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<MarkedResponse, Problem> {
        command.mark_all(user_id.0, &key, BulkKind::Seen).await
    }

    /// Archive an inbox
    ///
    /// Marks its items as read, too; snoozed ones are archived with the others. Each item is marked by itself; other
    /// requests go first.
    #[oai(path = "/users/:user_id/inbox/archive-all", method = "post", operation_id = "archiveInbox")]
    async fn archive_all(
        &self,
        command: MarkCommand,
        /// Whose inbox.
        user_id: Path<String>,
        /// Makes a repetition harmless: it does what an earlier request has not done, and nothing twice.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<MarkedResponse, Problem> {
        command.mark_all(user_id.0, &key, BulkKind::Archive).await
    }
}

impl<C: Credentials> Command<C, OptionalBody<MarkInbox>> {
    async fn mark_all(&self, user: String, key: &Key, mark: BulkKind) -> Result<MarkedResponse, Problem> {
        let user = parse_user(user)?;
        self.principal.require_access_to(&user)?;
        let MarkInbox { up_to, category } = self.body.parse()?.unwrap_or_default();
        let reads = &self.backend.reads;
        let up_to = match up_to {
            Some(text) => {
                let malformed = |error| Problem::at(Kind::Malformed, "/up_to", format!("{error}"));
                let cursor = text.parse::<Cursor>().map_err(malformed)?;
                Some(reads.position(cursor).await?)
            }
            None => None,
        };
        let category = category.map(Category::new).transpose()?;
        let bulk = BulkMark { user, mark, up_to, category };
        let done = self.backend.commands.mark_all(&self.context(key), bulk).await?;
        let cursor = reads.cursor(done.position);
        let answer = InboxMarked { marked: done.marked, cursor: cursor.clone() };
        Ok(MarkedResponse::Done(Json(answer), cursor, done.replayed.then_some(true)))
    }
}
