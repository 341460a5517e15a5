//! Browsers that take pushes for a user: each registers itself, with the user's own token, and nobody else sees it.

use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;
use tidings_domain::RecipientId;
use tidings_domain::notification::Channel;
use tidings_domain::recipient::{self, Action};

use crate::api::Tag;
use crate::api::http::body::{Body, CommandBody};
use crate::api::http::credentials::{Anyone, Caller, NotificationsRead, NotificationsWrite};
use crate::api::http::parameter::Required;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::reads::{Reads, parse_user};
use crate::api::http::request::{Command, Key};
use crate::api::settings::channels::public_key;
use crate::api::values::addresses;
use crate::channels::{BrowserKeys, InvalidKey, OutgoingPolicy};

pub struct Browsers;

/// A browser, exactly as its `PushSubscription.toJSON()` says it.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
pub struct PutPushSubscription {
    /// Where its push service is called: `https`, at most 2,048 characters.
    #[oai(validator(min_length = 1, max_length = 2048))]
    endpoint: String,
    keys: PutPushKeys,
    /// Milliseconds since 1970, or null. Ignored: a subscription that has ended says so when it is called.
    #[serde(rename = "expirationTime")]
    #[oai(rename = "expirationTime")]
    expiration_time: Option<f64>,
}

/// What messages are encrypted with.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct PutPushKeys {
    /// A point of P-256: 65 bytes, uncompressed, in base64url without padding.
    #[oai(validator(min_length = 87, max_length = 87))]
    p256dh: String,
    /// 16 bytes in base64url without padding.
    #[oai(validator(min_length = 22, max_length = 22))]
    auth: String,
}

/// A browser that takes pushes for the user.
#[derive(Debug, Object)]
pub struct PushSubscription {
    endpoint: String,
    keys: PushKeys,
}

/// What messages are encrypted with.
#[derive(Debug, Object)]
struct PushKeys {
    p256dh: String,
    auth: String,
}

/// Which browser, and whose.
#[derive(Debug, Object)]
struct UserPushSubscription {
    user_id: String,
    endpoint: String,
}

/// The key that browsers subscribe to.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct PushKey {
    /// For `applicationServerKey`: base64url, 65 bytes. Left out where the channel `web_push` is not configured.
    public_key: Option<String>,
}

#[derive(ApiResponse)]
enum SubscriptionResponse {
    /// Recorded, or already so.
    #[oai(status = 200)]
    Kept(
        Json<UserPushSubscription>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had done it.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Recipients")]
impl Browsers {
    /// Register a browser
    ///
    /// What a page sends after it subscribed, as it is. The same endpoint again takes the place of what was said of it before. A
    /// user has at most ten; one more takes the place of the oldest. One that its push service does not know any more goes by itself.
    #[oai(path = "/users/:user_id/push_subscriptions", method = "post", operation_id = "addPushSubscription")]
    async fn add(
        &self,
        command: Command<Anyone<NotificationsWrite>, Body<PutPushSubscription>>,
        /// Whose browser.
        user_id: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<SubscriptionResponse, Problem> {
        let id = own(&command, user_id.0)?;
        let asked = command.body.parse::<PutPushSubscription>()?;
        let subscription = asked.into_domain("", &command.backend.outgoing)?;
        let endpoint = subscription.endpoint.clone();
        answer(&command, &id, &key, Action::AddPushSubscription(subscription), endpoint).await
    }

    /// Remove a browser
    ///
    /// It gets no push any more. One that is not there is no error.
    #[oai(
        path = "/users/:user_id/push_subscriptions",
        method = "delete",
        operation_id = "removePushSubscription"
    )]
    async fn remove(
        &self,
        command: Command<Anyone<NotificationsWrite>>,
        /// Whose browser.
        user_id: Path<String>,
        /// The `endpoint` of its subscription.
        endpoint: Required<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<SubscriptionResponse, Problem> {
        command.body.parse()?;
        let id = own(&command, user_id.0)?;
        let action = Action::RemovePushSubscription { endpoint: endpoint.0.clone() };
        answer(&command, &id, &key, action, endpoint.0).await
    }

    /// Look at the key that browsers subscribe to
    ///
    /// It is the tenant's, and stays the same until the channel `web_push` gets another one.
    #[oai(path = "/push_key", method = "get", operation_id = "getPushKey")]
    async fn key(
        &self,
        caller: Caller<Anyone<NotificationsRead>>,
        reads: &Reads,
    ) -> Result<Json<PushKey>, Problem> {
        let settings = reads.settings(caller.principal.tenant()).await?;
        let configured = settings.channels.get(&Channel::WebPush);
        let secrets = configured.and_then(|configured| configured.secrets.values().next());
        Ok(Json(PushKey { public_key: secrets.and_then(public_key) }))
    }
}

/// The caller's own, where that is a user.
fn own<C, B>(command: &Command<C, B>, user_id: String) -> Result<RecipientId, Problem> {
    let user = parse_user(user_id)?;
    command.principal().require_access_to(&user)?;
    Ok(RecipientId { tenant: command.principal().tenant().clone(), user })
}

async fn answer<C, B: CommandBody>(
    command: &Command<C, B>,
    id: &RecipientId,
    key: &Key,
    action: Action,
    endpoint: String,
) -> Result<SubscriptionResponse, Problem> {
    let changed = command.describe(id, key, action).await?;
    let cursor = command.backend.reads.cursor(changed.position);
    let told = UserPushSubscription { user_id: id.user.to_string(), endpoint };
    Ok(SubscriptionResponse::Kept(Json(told), cursor, changed.replayed.then_some(true)))
}

impl PutPushSubscription {
    /// `at` is where it stands.
    pub fn into_domain(
        self,
        at: &str,
        outgoing: &OutgoingPolicy,
    ) -> Result<recipient::PushSubscription, Problem> {
        let PutPushKeys { p256dh, auth } = self.keys;
        let endpoint = addresses::endpoint(&format!("{at}/endpoint"), self.endpoint, outgoing)?;
        let subscription = recipient::PushSubscription { endpoint, p256dh, auth };
        let (member, expected) = match BrowserKeys::parse(&subscription) {
            Ok(_) => return Ok(subscription),
            Err(InvalidKey::P256dh) => {
                ("p256dh", "must be a point of P-256: 65 bytes, uncompressed, in base64url without padding")
            }
            Err(InvalidKey::Auth) => ("auth", "must be 16 bytes in base64url without padding"),
        };
        Err(Problem::at(Kind::Invalid, format!("{at}/keys/{member}"), expected))
    }
}

impl From<recipient::PushSubscription> for PushSubscription {
    fn from(subscription: recipient::PushSubscription) -> Self {
        let recipient::PushSubscription { endpoint, p256dh, auth } = subscription;
        Self { endpoint, keys: PushKeys { p256dh, auth } }
    }
}
