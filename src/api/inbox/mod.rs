//! A user's inbox: its items, page by page, and its counts.

pub mod bulk_marks;
pub mod live;
pub mod tickets;

use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromParameter, Type};
use poem_openapi::{Enum, Object, OpenApi};
use tidings_domain::notification::Category;
use tidings_projections::inbox::{self, Fixed, Page, PageQuery, Shown};
use tidings_projections::log::Cursor;

use crate::api::Tag;
use crate::api::http::credentials::{Anyone, Caller, InboxRead};
use crate::api::http::next::Next;
use crate::api::http::parameter::{Before, Header, Limit, Parameter, Query};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::reads::{Reads, parse_user};
use crate::api::notifications::wire::InboxItem;
use crate::auth::Scope;
use crate::directory::Reading;
use crate::replay::Moment;

const LIMIT_DEFAULT: i64 = 20;
const LIMIT_MAX: u32 = 100;

pub struct Inbox;

/// Which items to show.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename = "InboxState", rename_all = "snake_case")]
enum State {
    /// Neither archived nor snoozed.
    Active,
    Unread,
    Unseen,
    Read,
    Archived,
    Snoozed,
    All,
}

impl Parameter for State {
    fn schema() -> MetaSchemaRef {
        Self::schema_ref()
    }

    fn register(registry: &mut Registry) {
        <Self as Type>::register(registry);
    }

    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        let expected = "must be active, unread, unseen, read, archived, snoozed or all";
        Self::parse_from_parameter(text).map_err(|_| Problem::at(Kind::Malformed, name, expected))
    }
}

/// A category or tag, as an item may have it.
struct Label(String);

impl Parameter for Label {
    fn schema() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            min_length: Some(1),
            max_length: Some(64),
            ..MetaSchema::new("string")
        }))
    }

    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        let expected = "must have 1 to 64 characters, none of them a control character";
        let label = Category::new(text.to_owned());
        label.map_err(|_| Problem::at(Kind::Malformed, name, expected))?;
        Ok(Self(text.to_owned()))
    }
}

impl From<State> for Shown {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::Unread => Self::Unread,
            State::Unseen => Self::Unseen,
            State::Read => Self::Read,
            State::Archived => Self::Archived,
            State::Snoozed => Self::Snoozed,
            State::All => Self::All,
        }
    }
}

/// A page of an inbox, newest first. Items and counts hold at `cursor`; open a socket with it to go on.
#[derive(Debug, Object)]
struct InboxPage {
    items: Vec<InboxItem>,
    /// Pass it as `before` for the next page; null at the end.
    next: Next,
    /// Active items that are not read.
    unread: i64,
    /// Active items that are not seen.
    unseen: i64,
    cursor: String,
}

/// The counts of an inbox. They hold at `cursor`.
#[derive(Debug, Object)]
struct InboxCounts {
    /// Active items that are not read.
    unread: i64,
    /// Active items that are not seen.
    unseen: i64,
    cursor: String,
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Inbox")]
impl Inbox {
    /// Read an inbox
    ///
    /// A user nobody has written to has an empty inbox.
    #[oai(path = "/users/:user_id/inbox", method = "get", operation_id = "getInbox")]
    #[expect(clippy::too_many_arguments, reason = "one argument per parameter of the query")]
    async fn page(
        &self,
        caller: Caller<Anyone<InboxRead>>,
        reads: &Reads,
        /// Whose inbox.
        user_id: Path<String>,
        /// Which items; `active` where it is left out.
        state: Query<State>,
        /// Only items of this category.
        category: Query<Label>,
        /// Only items with this tag.
        tag: Query<Label>,
        /// Items of the page: 1 to 100, 20 where it is left out.
        limit: Query<Limit<LIMIT_MAX>>,
        /// The `next` of the page before.
        before: Query<Before>,
        /// As it was at this cursor, or at this time (RFC 3339; a `+` is written `%2B`) with all that was recorded up to
        /// its millisecond. Folded anew from the log; needs an API key with the scope `events:read`, too.
        at: Query<Moment>,
        /// Wait until the inbox shows at least this position, for at most two seconds.
        #[oai(name = "Tidings-Min-Cursor")]
        min_cursor: Header<Cursor>,
    ) -> Result<Json<InboxPage>, Problem> {
        let user = parse_user(user_id.0)?;
        caller.principal.require_access_to(&user)?;
        let query = PageQuery {
            shown: state.0.map(Into::into).unwrap_or_default(),
            category: category.0.map(|category| category.0),
            tag: tag.0.map(|tag| tag.0),
            before: before.0.map(|before| before.0),
            limit: limit.0.map_or(LIMIT_DEFAULT, |limit| limit.0),
        };
        let owner = (caller.principal.tenant().as_str(), user.as_str());
        let mut reader = Reading::Now { tenant: caller.principal.tenant(), user: &user };
        let page = match at.0 {
            None => {
                reads.wait_for(min_cursor.0).await?;
                inbox::page(&reads.pool, owner, &query).await?
            }
            Some(at) => {
                caller.principal.require(Scope::EventsRead)?;
                let position = at.position(&reads.pool, &reads.history).await??;
                reader = reads.directory.reading_at(caller.principal.tenant(), &user, position).await?;
                inbox::inbox_at(&reads.pool, &reads.reader, owner, position).await?.page(&query)
            }
        };
        Ok(Json(wire_page(reads, &reader, page).await?))
    }

    /// Read the counts of an inbox
    #[oai(path = "/users/:user_id/inbox/counts", method = "get", operation_id = "getInboxCounts")]
    async fn counts(
        &self,
        caller: Caller<Anyone<InboxRead>>,
        reads: &Reads,
        /// Whose inbox.
        user_id: Path<String>,
        /// Wait until the counts hold at this position or later, for at most two seconds.
        #[oai(name = "Tidings-Min-Cursor")]
        min_cursor: Header<Cursor>,
    ) -> Result<Json<InboxCounts>, Problem> {
        let user = parse_user(user_id.0)?;
        caller.principal.require_access_to(&user)?;
        reads.wait_for(min_cursor.0).await?;
        let standing =
            inbox::standing(&reads.pool, caller.principal.tenant().as_str(), user.as_str()).await?;
        Ok(Json(InboxCounts {
            unread: standing.counts.unread,
            unseen: standing.counts.unseen,
            cursor: reads.cursor(standing.position),
        }))
    }
}

async fn wire_page(reads: &Reads, reader: &Reading<'_>, page: Page) -> Result<InboxPage, Problem> {
    let mut items = Vec::with_capacity(page.items.len());
    for item in &page.items {
        let fixed: Fixed =
            serde_json::from_str(&item.state.content).map_err(|error| Problem::internal(&error))?;
        let words = match &fixed.template {
            Some(template) => Some(reads.directory.words_of(reader, template).await?),
            None => None,
        };
        items.push(InboxItem::new(item, fixed, words, reads.history.cursor(item.state.position)));
    }
    Ok(InboxPage {
        items,
        next: Next(page.next.map(Before::next)),
        unread: page.counts.unread,
        unseen: page.counts.unseen,
        cursor: reads.cursor(page.position),
    })
}
