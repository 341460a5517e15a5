//! A command as it comes in: who sends it, what it says, and as part of which request.

use std::marker::PhantomData;
use std::sync::Arc;

use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::backend::Backend;
use super::body::{CommandBody, NoBody};
use super::credentials::{Credentials, admit};
use super::parameter::{Header, Parameter};
use super::problem::{Kind, Problem};
use super::request_id;
use crate::auth::Principal;
use crate::commands::{Context, Idempotency};
use crate::telemetry::traces;

/// Characters of an `Idempotency-Key`.
const KEY_CHARS_MAX: usize = 255;

/// The `Idempotency-Key` header.
pub type Key = Header<IdempotencyKey>;

pub struct IdempotencyKey(String);

impl Parameter for IdempotencyKey {
    fn schema() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            min_length: Some(1),
            max_length: Some(KEY_CHARS_MAX),
            pattern: Some("^[ -~]+$".into()),
            ..MetaSchema::new("string")
        }))
    }

    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        if !(1..=KEY_CHARS_MAX).contains(&text.len()) || !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Err(Problem::at(Kind::Malformed, name, "must have 1 to 255 printable ASCII characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A command by somebody with the credentials `C`, with the body `B`.
pub struct Command<C, B = NoBody> {
    pub backend: Arc<Backend>,
    pub body: B,
    pub principal: Principal,
    method: String,
    path: String,
    credentials: PhantomData<C>,
}

impl<C, B> Command<C, B> {
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
}

impl<C, B: CommandBody> Command<C, B> {
    /// The context to execute it in.
    pub fn context(&self, key: &Key) -> Context {
        let idempotency = |key: &IdempotencyKey| {
            Idempotency::new(key.0.clone(), &self.method, &self.path, self.body.bytes())
        };
        Context {
            principal: self.principal.clone(),
            request_id: request_id::current(),
            trace: traces::current(),
            idempotency: key.0.as_ref().map(idempotency),
        }
    }
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
        B::meta()
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let principal = admit::<C>(request).await?;
        Ok(Self {
            backend: Backend::of(request).clone(),
            body: B::read(request, body).await?,
            principal,
            method: request.method().to_string(),
            // With its query: what is asked for there is asked for, too.
            path: request.original_uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            credentials: PhantomData,
        })
    }
}
