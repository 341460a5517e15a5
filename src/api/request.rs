//! A command as it comes in: who sends it, what it says, and as part of which request.

use std::marker::PhantomData;
use std::sync::Arc;

use poem::{Request, RequestBody};
use poem_openapi::param::Header;
use poem_openapi::registry::{MetaRequest, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::body::{CommandBody, Nothing, OptionalBody};
use super::credentials::Credentials;
use super::problem::{Kind, Problem};
use super::reads::Reads;
use crate::auth::Principal;
use crate::clock;
use crate::commands::{Commands, Context, Idempotency};

/// Characters of an `Idempotency-Key`.
const KEY_CHARS_MAX: usize = 255;
const REQUEST_ID_CHARS_MAX: usize = 128;

/// The `Idempotency-Key` header.
pub type Key = Header<Option<String>>;

/// What carries commands out, and names the positions they reach.
pub struct Backend {
    pub commands: Arc<Commands>,
    pub reads: Arc<Reads>,
}

/// A command by somebody with the credentials `C`, with the body `B`.
pub struct Command<C, B = OptionalBody<Nothing>> {
    pub backend: Arc<Backend>,
    pub body: B,
    principal: Principal,
    request_id: String,
    method: String,
    path: String,
    credentials: PhantomData<C>,
}

impl<C, B: CommandBody> Command<C, B> {
    /// The context to execute it in.
    pub fn context(&self, key: &Key) -> Result<Context, Problem> {
        let idempotency = match &key.0 {
            None => None,
            Some(key) if is_key(key) => {
                Some(Idempotency::new(key.clone(), &self.method, &self.path, self.body.bytes()))
            }
            Some(_) => {
                let expected = "must have 1 to 255 printable ASCII characters";
                return Err(Problem::at(Kind::Malformed, "Idempotency-Key", expected));
            }
        };
        let (principal, request_id) = (self.principal.clone(), self.request_id.clone());
        Ok(Context { principal, request_id, idempotency })
    }
}

fn is_key(text: &str) -> bool {
    (1..=KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

impl<'a, C: Credentials, B: CommandBody> ApiExtractor<'a> for Command<C, B> {
    const TYPES: &'static [ApiExtractorType] =
        &[ApiExtractorType::SecurityScheme, ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        C::register(registry);
        B::register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        C::schemes()
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(B::meta())
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let principal = C::check(request)?;
        let backend = request.data::<Arc<Backend>>().cloned();
        let backend = backend.ok_or_else(|| Problem::new(Kind::Internal, "the service is not wired"))?;
        Ok(Self {
            backend,
            body: B::read(request, body).await?,
            principal,
            request_id: request_id(request),
            method: request.method().to_string(),
            path: request.original_uri().path().to_owned(),
            credentials: PhantomData,
        })
    }
}

/// The caller's own id where it is sane, else a fresh one.
fn request_id(request: &Request) -> String {
    let given = request.headers().get("x-request-id").and_then(|value| value.to_str().ok());
    let sane = |id: &&str| {
        (1..=REQUEST_ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
    };
    given.filter(sane).map_or_else(|| clock::new_uuid().to_string(), str::to_owned)
}
