//! A range of the log as one stream of lines (application/x-ndjson): an event per line, and a last line that says
//! where the end is, so that a copy that was cut short shows.
//!
//! Pages are read when the client has taken what came before, so a slow one holds neither memory nor a connection
//! to the database.

use std::io;
use std::sync::Arc;

use futures_util::stream;
use poem::{Body, IntoResponse, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::MetaSchemaRef;
use poem_openapi::types::Type;
use serde_json::json;
use tidings_projections::log::{Filter, Listed, ReadError};

use crate::api::http::reads::Reads;
use crate::auth::Principal;

/// Events in memory per export: at 256 KiB each, a bound of 25 MB.
const PAGE_EVENTS: i64 = 100;

/// What to export, fixed when it begins: events of one tenant in (`after`, `up_to`] that match the filter.
pub struct Export {
    pub reads: Arc<Reads>,
    pub filter: Filter,
    pub after: i64,
    pub up_to: i64,
    /// The epoch in which it was fixed.
    pub epoch: i64,
    /// On whose behalf: it breaks off when he has lost his rights, however slowly he reads.
    pub principal: Principal,
}

impl Payload for Export {
    const CONTENT_TYPE: &'static str = "application/x-ndjson";

    fn schema_ref() -> MetaSchemaRef {
        String::schema_ref()
    }
}

impl IntoResponse for Export {
    fn into_response(self) -> Response {
        let export = Some(self);
        let lines = stream::try_unfold(export, async |export| match export {
            None => Ok(None),
            Some(export) => export.chunk().await.map(Some),
        });
        Response::builder().content_type(Self::CONTENT_TYPE).body(Body::from_bytes_stream(lines))
    }
}

impl Export {
    /// The next lines and what comes after them; nothing after the last.
    async fn chunk(mut self) -> io::Result<(String, Option<Self>)> {
        loop {
            self.principal.check().map_err(io::Error::other)?;
            let page = self.page().await.map_err(|error| {
                // The body breaks off without its last line, which is all that can be said by now.
                tracing::warn!(%error, "an export of the log broke off");
                io::Error::other(error)
            })?;
            self.after = page.next;
            let epochs = self.reads.history.epochs();
            // What was sent and what follows would be of two histories.
            if epochs.current().number != self.epoch {
                return Err(io::Error::other("a new epoch began"));
            }
            let mut lines = String::new();
            for event in &page.events {
                lines += &event.to_json(&epochs);
                lines.push('\n');
            }
            if self.after >= self.up_to {
                lines += &json!({"end": true, "cursor": self.reads.cursor(self.after)}).to_string();
                lines.push('\n');
                return Ok((lines, None));
            }
            if !lines.is_empty() {
                return Ok((lines, Some(self)));
            }
        }
    }

    async fn page(&self) -> Result<Listed, ReadError> {
        let Self { reads, principal, filter, after, up_to, .. } = self;
        let tenant = principal.tenant().as_str();
        reads.reader.list(&reads.pool, tenant, (*after, *up_to), filter, PAGE_EVENTS).await
    }
}
