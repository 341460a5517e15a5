//! Keys of services, for whoever holds the root key: make one, list them, revoke one.

use poem::http::HeaderMap;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::Deserialize;
use tidings_domain::Tenant;
use tidings_projections::inbox::rfc3339;
use uuid::Uuid;

use crate::api::Tag;
use crate::api::http::body::Body;
use crate::api::http::credentials::{Caller, Root};
use crate::api::http::next::Next;
use crate::api::http::parameter::{Limit, Parameter, Query};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::reads::Reads;
use crate::api::http::request::Command;
use crate::api::values::instant::parse_instant;
use crate::auth::keys::{self, KeyRow, NewKey};
use crate::auth::{self, Scope};

const LIMIT_DEFAULT: i64 = 20;
const LIMIT_MAX: u32 = 100;

pub struct Keys;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Enum)]
enum ApiKeyScope {
    /// Create and cancel notifications, report and retry deliveries.
    #[serde(rename = "notifications:write")]
    #[oai(rename = "notifications:write")]
    NotificationsWrite,
    /// Look at notifications, their deliveries and their events.
    #[serde(rename = "notifications:read")]
    #[oai(rename = "notifications:read")]
    NotificationsRead,
    /// Read inboxes, and open sockets and streams.
    #[serde(rename = "inbox:read")]
    #[oai(rename = "inbox:read")]
    InboxRead,
    /// Mark what is in inboxes, also on a socket.
    #[serde(rename = "inbox:write")]
    #[oai(rename = "inbox:write")]
    InboxWrite,
    /// Read the log.
    #[serde(rename = "events:read")]
    #[oai(rename = "events:read")]
    EventsRead,
    /// All of these.
    #[serde(rename = "admin")]
    #[oai(rename = "admin")]
    Admin,
}

impl From<ApiKeyScope> for Scope {
    fn from(scope: ApiKeyScope) -> Self {
        match scope {
            ApiKeyScope::NotificationsWrite => Self::NotificationsWrite,
            ApiKeyScope::NotificationsRead => Self::NotificationsRead,
            ApiKeyScope::InboxRead => Self::InboxRead,
            ApiKeyScope::InboxWrite => Self::InboxWrite,
            ApiKeyScope::EventsRead => Self::EventsRead,
            ApiKeyScope::Admin => Self::Admin,
        }
    }
}

/// A key to be made.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct CreateApiKey {
    /// For people, to know it by: 1 to 100 characters.
    #[oai(validator(min_length = 1, max_length = 100))]
    name: String,
    /// The tenant it acts for: 1 to 63 characters of `a-z`, `0-9` and `-`; `default` where it is left out.
    #[oai(validator(min_length = 1, max_length = 63))]
    tenant: Option<String>,
    #[oai(validator(min_items = 1, unique_items))]
    scopes: Vec<ApiKeyScope>,
    /// How many requests per second it may make on average: 1 to 1,000,000; as many as there are where it is left out.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000")))]
    requests_per_second: Option<u32>,
    /// How many of them may come at once: 1 to 1,000,000, and only together with `requests_per_second`.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000")))]
    burst: Option<u32>,
    /// When it ends by itself: an instant in the future (RFC 3339, cut to milliseconds).
    expires_at: Option<String>,
}

/// A key of a service.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct ApiKey {
    id: String,
    /// The key itself, to be sent as `x-api-key`. Only the answer that makes it has it: nobody can read it again.
    key: Option<String>,
    tenant: String,
    name: String,
    /// The last characters of the key.
    hint: String,
    /// Those it was made with. New ones may be added.
    scopes: Vec<String>,
    requests_per_second: Option<i32>,
    burst: Option<i32>,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
}

impl ApiKey {
    fn new(row: KeyRow, key: Option<String>) -> Self {
        Self {
            id: keys::name_of(row.id),
            key,
            tenant: row.tenant,
            name: row.name,
            hint: row.hint,
            scopes: row.scopes,
            requests_per_second: row.requests_per_second,
            burst: row.burst,
            created_at: rfc3339(row.created_at),
            expires_at: row.expires_at.map(rfc3339),
            revoked_at: row.revoked_at.map(rfc3339),
        }
    }
}

/// A key as the API shows it.
pub fn to_json(row: KeyRow) -> String {
    ApiKey::new(row, None).to_json_string()
}

/// A page of keys, newest first.
#[derive(Debug, Object)]
struct ApiKeyPage {
    keys: Vec<ApiKey>,
    /// Pass it as `before` for the next page; null at the end.
    next: Next,
}

#[derive(ApiResponse)]
enum CreatedKeyResponse {
    /// Made, and good on every node.
    #[oai(status = 201)]
    Created(
        Json<ApiKey>,
        /// `no-store`: a key is a secret.
        #[oai(header = "Cache-Control")]
        String,
    ),
}

/// Where the page before ended.
struct Before(Uuid);

impl Parameter for Before {
    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        let expected = "must be the `next` of an earlier page";
        keys::parse_id(text).map(Self).ok_or_else(|| Problem::at(Kind::Malformed, name, expected))
    }
}

impl Parameter for Tenant {
    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        Self::try_from(text.to_owned()).map_err(|error| Problem::at(Kind::Malformed, name, error.to_string()))
    }
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Keys")]
impl Keys {
    /// Make a key
    ///
    /// It is shown in this answer and never again: what is kept is its SHA-256. For the same reason an
    /// `Idempotency-Key` is refused here: its repetition could not be given the same answer. If the answer was lost,
    /// list the keys, revoke the one that nobody knows, and make another.
    #[oai(path = "/keys", method = "post", operation_id = "createApiKey")]
    async fn create(
        &self,
        command: Command<Root, Body<CreateApiKey>>,
        known: &auth::Keys,
        headers: &HeaderMap,
    ) -> Result<CreatedKeyResponse, Problem> {
        if headers.contains_key("Idempotency-Key") {
            let detail = "is not taken here: a key is not kept, so no repetition could show it again";
            return Err(Problem::at(Kind::Malformed, "Idempotency-Key", detail));
        }
        let new = command.body.parse::<CreateApiKey>()?.into_new()?;
        let (secret, row) = keys::create(&command.backend.reads.pool, &new).await?;
        // Whether this node learns of it now or when it is shown makes no difference to anybody.
        let _: Result<(), auth::Stale> = known.refresh().await;
        Ok(CreatedKeyResponse::Created(Json(ApiKey::new(row, Some(secret))), "no-store".into()))
    }

    /// List keys
    ///
    /// Newest first. Revoked and expired ones stay: they are named by what was done with them.
    #[oai(path = "/keys", method = "get", operation_id = "listApiKeys")]
    async fn list(
        &self,
        _caller: Caller<Root>,
        reads: &Reads,
        /// Only keys of this tenant.
        tenant: Query<Tenant>,
        /// Keys of the page: 1 to 100, 20 where it is left out.
        limit: Query<Limit<LIMIT_MAX>>,
        /// The `next` of the page before.
        before: Query<Before>,
    ) -> Result<Json<ApiKeyPage>, Problem> {
        let limit = limit.0.map_or(LIMIT_DEFAULT, |limit| limit.0);
        let before = before.0.map(|before| before.0);
        let mut rows = keys::list(&reads.pool, tenant.0.as_ref(), before, limit + 1).await?;
        let more = rows.len() as i64 > limit;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|row| keys::name_of(row.id));
        let keys = rows.into_iter().map(|row| ApiKey::new(row, None)).collect();
        Ok(Json(ApiKeyPage { keys, next: Next(next) }))
    }

    /// Revoke a key
    ///
    /// For good; doing it twice is fine. From here on this node refuses it, and every other within a second. Sockets
    /// that were opened with it, or with a ticket it made, are closed with 4503; streams end with a `closing` event. A
    /// request that is under way is finished.
    #[oai(path = "/keys/:id", method = "delete", operation_id = "revokeApiKey")]
    async fn revoke(
        &self,
        _caller: Caller<Root>,
        reads: &Reads,
        known: &auth::Keys,
        /// The key, by its id.
        id: Path<String>,
    ) -> Result<Json<ApiKey>, Problem> {
        let malformed =
            || Problem::at(Kind::Malformed, "id", "a key's id is key_ followed by a UUID in lower case");
        let id = keys::parse_id(&id).ok_or_else(malformed)?;
        let row = keys::revoke(&reads.pool, id).await?;
        let row = row.ok_or_else(|| Problem::new(Kind::NotFound, "there is no such key"))?;
        known.revoked(id).await;
        Ok(Json(ApiKey::new(row, None)))
    }
}

impl CreateApiKey {
    fn into_new(self) -> Result<NewKey, Problem> {
        let tenant = self.tenant.map_or_else(|| Ok(Tenant::default_tenant()), Tenant::try_from);
        let expires_at = self.expires_at.map(|text| parse_instant("/expires_at", &text)).transpose()?;
        Ok(NewKey {
            tenant: tenant.map_err(|error| Problem::at(Kind::Invalid, "/tenant", error.to_string()))?,
            name: self.name,
            scopes: self.scopes.into_iter().map(Scope::from).collect(),
            requests_per_second: self.requests_per_second,
            burst: self.burst,
            expires_at,
        })
    }
}

#[cfg(test)]
mod tests {
    //! The scopes of the wire are those there are.
    use super::*;

    #[test]
    fn a_scope_is_named_on_the_wire_as_everywhere() {
        for scope in Scope::ALL {
            let wire: ApiKeyScope = serde_json::from_value(scope.name().into()).expect("a scope");
            assert_eq!(Scope::from(wire), scope);
            assert_eq!(wire.to_json(), Some(scope.name().into()));
        }
    }
}
