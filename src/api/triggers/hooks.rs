//! Webhooks that come in. They carry no credentials but their signature, which is checked before anything is parsed.
//!
//! Whether there is a source of a name is not told: a request that is not signed by it is refused in the same words, and at the
//! same time after it came, as one to nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use poem::http::HeaderMap;
use poem::{Request, RequestBody};
use poem_openapi::param::Path;
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, Object, OpenApi};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tidings_domain::Tenant;
use tidings_domain::notification::Create;
use tidings_domain::source::{Fault, Scheme, SourceId, SourceName};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::api::Tag;
use crate::api::http::backend::Backend;
use crate::api::http::body::{SINGLE_BYTES_MAX, parse, read};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::{closed, rate_limit, request_id};
use crate::api::notifications::wire::CreateNotification;
use crate::auth::{Denied, Principal};
use crate::clock;
use crate::commands::{Context, Hooked, Idempotency, Verdict};
use crate::directory::{Directory, KnownSource};
use crate::hooks::{DELIVERY_ID_CHARS_MAX, Input, Made, Refused, delivery_id, verify};
use crate::telemetry::traces;

/// When a refusal is answered, counted from when the request was there: later than the slowest check.
const REFUSED_AFTER: Duration = Duration::from_millis(100);
/// Mappings that are evaluated at once on a node; each has a thread, and may use it for half a second.
const MAPPINGS_AT_ONCE: usize = 4;
/// How long one waits for its turn; a provider comes again.
const MAPPING_WAIT: Duration = Duration::from_secs(1);
/// Bytes of all the notifications of one hook: what one call of the log takes.
const MADE_BYTES_MAX: usize = 4 << 20;
/// What proves who sent a request, and nothing else.
const HIDDEN_HEADERS: [&str; 8] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "stripe-signature",
    "webhook-signature",
    "x-api-key",
    "x-hub-signature",
    "x-hub-signature-256",
];

static MAPPING: Semaphore = Semaphore::const_new(MAPPINGS_AT_ONCE);

pub struct Hooks;

/// A notification that was made.
#[derive(Debug, Object)]
struct HookedNotification {
    id: String,
}

/// What a webhook led to.
#[derive(Debug, Object)]
struct HookReceipt {
    /// Whether the source's mapping passed over it.
    ignored: bool,
    notifications: Vec<HookedNotification>,
    /// Everything it led to is at or before this position.
    cursor: String,
}

#[derive(ApiResponse)]
enum HookResponse {
    /// It was passed over.
    #[oai(status = 200)]
    Ignored(
        Json<HookReceipt>,
        /// Everything it led to is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
    ),
    /// Notifications were made of it, durably.
    #[oai(status = 201)]
    Accepted(
        Json<HookReceipt>,
        /// Everything it led to is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier delivery with the same id had led to them.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

/// A request as it came.
struct Incoming {
    backend: Arc<Backend>,
    headers: HeaderMap,
    body: Vec<u8>,
    came: Instant,
}

impl<'a> ApiExtractor<'a> for Incoming {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(_registry: &mut Registry) {}

    fn request_meta() -> Option<MetaRequest> {
        let schema = MetaSchema {
            description: Some("Whatever the provider sends: at most 256 KiB of JSON."),
            additional_properties: Some(Box::new(Value::schema_ref())),
            example: Some(crate::api::document::examples::hook()),
            ..MetaSchema::new("object")
        };
        let schema = MetaSchemaRef::Inline(Box::new(schema));
        let content = vec![MetaMediaType { content_type: Json::<Value>::CONTENT_TYPE, schema }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        closed::check(request)?;
        let body = read(request, body, SINGLE_BYTES_MAX).await?;
        let (backend, headers) = (Backend::of(request).clone(), request.headers().clone());
        Ok(Self { backend, headers, body, came: Instant::now() })
    }
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Hooks")]
impl Hooks {
    /// Receive a webhook
    ///
    /// For providers, at the `path` of a source. The signature is that of the source's scheme, over the body as it is sent.
    /// A delivery has one effect, however often it comes; one that nothing could be made of is refused with 422 and may
    /// come again. No credentials.
    #[oai(path = "/hooks/:source", method = "post", operation_id = "receiveHook")]
    async fn receive(
        &self,
        incoming: Incoming,
        /// The source: its name, with the tenant and a colon before it unless that is `default`.
        source: Path<String>,
    ) -> Result<HookResponse, Problem> {
        let came = incoming.came;
        match incoming.verified(&source).await? {
            Ok((id, source)) => incoming.take(&id, &source).await,
            Err(denied) => {
                tokio::time::sleep_until(came + REFUSED_AFTER).await;
                Err(denied.into())
            }
        }
    }
}

impl Incoming {
    /// The source that it is signed by.
    async fn verified(&self, source: &str) -> Result<Result<(SourceId, Arc<KnownSource>), Denied>, Problem> {
        let id = parse_path(source);
        let known = match &id {
            Some(id) => self.backend.reads.directory.source(id).await?,
            None => None,
        };
        let configured = known.as_ref().map(|known| &known.configured);
        let now = clock::now().unix_timestamp();
        Ok(match (verify(configured, &self.headers, &self.body, now), id.zip(known)) {
            (Ok(()), Some(found)) => Ok(found),
            (Err(Refused::Timestamp), Some(_)) => Err(Denied::StaleSignature),
            (Ok(()) | Err(_), _) => Err(Denied::UnknownSignature),
        })
    }

    async fn take(&self, id: &SourceId, source: &KnownSource) -> Result<HookResponse, Problem> {
        if let Some(limit) = &source.limit {
            let standing = self.backend.authenticator.count_hook(id, limit).await;
            rate_limit::tell(standing);
            if !standing.admitted {
                return Err(Denied::RateLimited.into());
            }
        }
        let scheme = source.configured.settings.scheme;
        let payload = serde_json::from_slice::<Value>(&self.body);
        let delivery_id = match (scheme, &payload) {
            (Scheme::Stripe, Ok(payload)) => payload["id"].as_str().filter(|it| is_id(it)).map(str::to_owned),
            (scheme, _) => delivery_id(scheme, &self.headers),
        };
        let name = delivery_id.clone().unwrap_or_default();
        let context = Context {
            principal: Principal::Source { source: id.clone() },
            request_id: request_id::current(),
            trace: traces::current(),
            // A provider may repeat a delivery in other words: what makes it the same is its id.
            idempotency: delivery_id.map(|key| {
                let idempotency = Idempotency::new(key, "POST", &path_of(id), b"");
                Idempotency { alias: body_name(scheme, &self.body), ..idempotency }
            }),
        };
        let commands = &self.backend.commands;
        if let Some(earlier) = commands.hooked(&context).await? {
            return Ok(self.answer(earlier));
        }
        let verdict = match payload {
            Err(_) => failed("the body is not JSON"),
            Ok(_) if context.idempotency.is_none() => no_id(scheme),
            Ok(payload) => {
                let pairs = self.headers.iter();
                let pairs = pairs
                    .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
                let input = Input { payload, headers: shown(pairs), source: id.name.to_string() };
                make(source, input, (&self.backend.reads.directory, &id.tenant)).await?.verdict
            }
        };
        let fault = if let Verdict::Failed(fault) = &verdict { Some(fault.clone()) } else { None };
        let hooked = commands.take_hook(&context, (id, &name), verdict).await?;
        match fault {
            Some(fault) => Err(refused(&fault)),
            None => Ok(self.answer(hooked)),
        }
    }

    fn answer(&self, hooked: Hooked) -> HookResponse {
        let cursor = self.backend.reads.cursor(hooked.position);
        let notifications: Vec<_> =
            hooked.notifications.iter().map(|id| HookedNotification { id: id.to_string() }).collect();
        let ignored = notifications.is_empty();
        let receipt = Json(HookReceipt { ignored, notifications, cursor: cursor.clone() });
        match ignored {
            true => HookResponse::Ignored(receipt, cursor),
            false => HookResponse::Accepted(receipt, cursor, hooked.replayed.then_some(true)),
        }
    }
}

/// GitHub signs the body and nothing else: what somebody sends again under another name is the same by its body. No id that comes
/// in a header has a line break in it.
fn body_name(scheme: Scheme, body: &[u8]) -> Option<String> {
    (scheme == Scheme::Github).then(|| format!("body\n{}", hex::encode(Sha256::digest(body))))
}

fn no_id(scheme: Scheme) -> Verdict {
    failed(match scheme {
        Scheme::StandardWebhooks => "the header `webhook-id` must have 1 to 255 characters",
        Scheme::Github => "the header `X-GitHub-Delivery` must have 1 to 255 characters",
        Scheme::Stripe => "the event's `id` must have 1 to 255 printable ASCII characters",
    })
}

fn is_id(text: &str) -> bool {
    (1..=DELIVERY_ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

/// Where a source's webhooks are sent.
pub fn path_of(SourceId { tenant, name }: &SourceId) -> String {
    if *tenant == Tenant::default_tenant() {
        format!("/v1/hooks/{name}")
    } else {
        format!("/v1/hooks/{tenant}:{name}")
    }
}

/// `None` for what can be no source's. One spelling per source.
fn parse_path(text: &str) -> Option<SourceId> {
    let (tenant, name) = match text.split_once(':') {
        None => (Tenant::default_tenant(), text),
        Some((tenant, name)) => (Tenant::try_from(tenant.to_owned()).ok()?, name),
    };
    let id = SourceId { tenant, name: SourceName::try_from(name.to_owned()).ok()? };
    (path_of(&id).strip_prefix("/v1/hooks/") == Some(text)).then_some(id)
}

/// The headers that a mapping sees, by name; what is there several times stands in one line (RFC 9110, section 5.2).
pub fn shown(pairs: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in pairs.filter(|(name, _)| !HIDDEN_HEADERS.contains(&name.as_str())) {
        headers.entry(name).and_modify(|all| *all = format!("{all}, {value}")).or_insert(value);
    }
    headers
}

/// What a source's mapping makes of a hook, and the bodies of requests that say the same.
pub struct Making {
    pub verdict: Verdict,
    pub bodies: Vec<Value>,
}

pub async fn make(
    source: &KnownSource,
    input: Input,
    within: (&Directory, &Tenant),
) -> Result<Making, Problem> {
    let nothing = |verdict| Making { verdict, bodies: Vec::new() };
    let Some(mapping) = source.mapping.clone() else {
        return Ok(nothing(failed("the mapping cannot be read any more: configure the source again")));
    };
    let turn = tokio::time::timeout(MAPPING_WAIT, MAPPING.acquire()).await;
    let turn =
        turn.map_err(|_| Problem::new(Kind::Busy, "too many mappings are under way; nothing was done"))?;
    let _turn = turn.map_err(|error| Problem::internal(&error))?;
    let running = tokio::task::spawn_blocking(move || mapping.run(input)).await;
    let bodies = match running.map_err(|error| Problem::internal(&error))? {
        Ok(Made::Ignored) => return Ok(nothing(Verdict::Ignored)),
        Ok(Made::Notifications(bodies)) => bodies,
        Err(fault) => return Ok(nothing(Verdict::Failed(fault))),
    };
    match creates(&bodies, within).await? {
        Ok(creates) => Ok(Making { verdict: Verdict::Accepted(creates), bodies }),
        Err(fault) => Ok(nothing(Verdict::Failed(fault))),
    }
}

/// What is made is held to what a request is. The outer error is not the mapping's.
async fn creates(
    bodies: &[Value],
    within: (&Directory, &Tenant),
) -> Result<Result<Vec<Create>, Fault>, Problem> {
    let (now, mut bytes) = (clock::now(), 0);
    let mut creates = Vec::with_capacity(bodies.len());
    for body in bodies {
        let text = body.to_string();
        bytes += text.len();
        if text.len() > SINGLE_BYTES_MAX || bytes > MADE_BYTES_MAX {
            return Ok(Err(fault("makes notifications of more than 256 KiB, or 4 MiB together")));
        }
        let parsed = match parse::<CreateNotification>(&text) {
            Ok(parsed) => parsed,
            // What the parser says of a value may have the value in it.
            Err(problem) => return Ok(Err(at(&problem, "is not what a notification may have here"))),
        };
        match parsed.into_command(now, within).await {
            Ok(create) => creates.push(create),
            Err(problem) if problem.status().is_server_error() => return Err(problem),
            Err(problem) => return Ok(Err(at(&problem, problem.first().1))),
        }
    }
    Ok(Ok(creates))
}

/// The member of the mapping that made the member at fault.
fn at(problem: &Problem, detail: &str) -> Fault {
    let (pointer, _) = problem.first();
    let pointer = match pointer.strip_prefix("/template") {
        Some("/key") => "/template",
        Some(within) => within,
        None => pointer.strip_prefix("/content").unwrap_or(pointer),
    };
    Fault { pointer: pointer.to_owned(), detail: detail.to_owned() }
}

fn fault(detail: &str) -> Fault {
    Fault { pointer: String::new(), detail: detail.to_owned() }
}

fn failed(detail: &str) -> Verdict {
    Verdict::Failed(fault(detail))
}

/// The answer to a hook that nothing could be made of.
pub fn refused(fault: &Fault) -> Problem {
    Problem::at(Kind::Invalid, &fault.pointer, &fault.detail)
}
