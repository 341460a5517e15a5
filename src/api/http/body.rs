//! Request bodies: JSON, closed, bounded, and refused with a pointer to what is wrong.

use std::marker::PhantomData;

use futures_util::StreamExt;
use poem::http::header;
use poem::{Request, RequestBody};
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::Type;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use serde_json::error::Category;
use serde_path_to_error::Segment;

use super::problem::{Kind, Problem};
use crate::json::{self, Strict};

/// Bytes of a single command.
pub const SINGLE_BYTES_MAX: usize = 256 << 10;
/// Bytes of a batch.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// A JSON body documented as `S`, at most `LIMIT` bytes. The bytes are kept: they make two requests with one
/// idempotency key the same or not.
pub struct Body<S, const LIMIT: usize = SINGLE_BYTES_MAX> {
    bytes: Vec<u8>,
    schema: PhantomData<S>,
}

/// A body that may be left out.
pub struct OptionalBody<S> {
    bytes: Vec<u8>,
    schema: PhantomData<S>,
}

/// How a command's body is read and documented.
pub trait CommandBody: Sized + Send {
    fn register(registry: &mut Registry);
    /// Nothing where the document does not speak of one.
    fn meta() -> Option<MetaRequest>;
    fn read(request: &Request, body: &mut RequestBody) -> impl Future<Output = Result<Self, Problem>> + Send;
    /// As they came in.
    fn bytes(&self) -> &[u8];
}

impl<S, const LIMIT: usize> Body<S, LIMIT> {
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        parse(text(&self.bytes)?)
    }
}

impl<S> Body<S, BATCH_BYTES_MAX> {
    pub fn parse_raw<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        parse_raw(text(&self.bytes)?)
    }
}

impl<S: DeserializeOwned> OptionalBody<S> {
    /// `null` is nothing, too: some generated clients send it where nothing was said.
    pub fn parse(&self) -> Result<Option<S>, Problem> {
        match self.bytes.trim_ascii() {
            b"" | b"null" => Ok(None),
            _ => parse(text(&self.bytes)?).map(Some),
        }
    }
}

/// The body of a command that needs none. An object without members is one, too, but that is not documented: clients
/// would ask for it.
pub struct NoBody(OptionalBody<Nothing>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Nothing {}

impl NoBody {
    pub fn parse(&self) -> Result<(), Problem> {
        self.0.parse().map(drop)
    }
}

fn meta<T: Type>(required: bool) -> Option<MetaRequest> {
    let content = vec![MetaMediaType { content_type: Json::<T>::CONTENT_TYPE, schema: T::schema_ref() }];
    Some(MetaRequest { description: None, content, required })
}

impl<S: Type, const LIMIT: usize> CommandBody for Body<S, LIMIT> {
    fn register(registry: &mut Registry) {
        S::register(registry);
    }

    fn meta() -> Option<MetaRequest> {
        meta::<S>(true)
    }

    async fn read(request: &Request, body: &mut RequestBody) -> Result<Self, Problem> {
        Ok(Self { bytes: read(request, body, LIMIT).await?, schema: PhantomData })
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<S: Type> CommandBody for OptionalBody<S> {
    fn register(registry: &mut Registry) {
        S::register(registry);
    }

    fn meta() -> Option<MetaRequest> {
        meta::<S>(false)
    }

    async fn read(request: &Request, body: &mut RequestBody) -> Result<Self, Problem> {
        Self::read_optional(request, body).await
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl CommandBody for NoBody {
    fn register(_registry: &mut Registry) {}

    fn meta() -> Option<MetaRequest> {
        None
    }

    async fn read(request: &Request, body: &mut RequestBody) -> Result<Self, Problem> {
        OptionalBody::read_optional(request, body).await.map(Self)
    }

    fn bytes(&self) -> &[u8] {
        self.0.bytes.as_slice()
    }
}

impl<S> OptionalBody<S> {
    async fn read_optional(request: &Request, body: &mut RequestBody) -> Result<Self, Problem> {
        let announced = request.headers().contains_key(header::CONTENT_TYPE);
        let bytes = if announced {
            read(request, body, SINGLE_BYTES_MAX).await?
        } else {
            read_bytes(request, body, SINGLE_BYTES_MAX).await?
        };
        Ok(Self { bytes, schema: PhantomData })
    }
}

pub async fn read(request: &Request, body: &mut RequestBody, limit: usize) -> Result<Vec<u8>, Problem> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    if !content_type.is_some_and(Json::<Value>::check_content_type) {
        return Err(Problem::new(Kind::UnsupportedMediaType, "send the body as application/json"));
    }
    read_bytes(request, body, limit).await
}

async fn read_bytes(request: &Request, body: &mut RequestBody, limit: usize) -> Result<Vec<u8>, Problem> {
    let too_large = || Problem::new(Kind::TooLarge, format!("the body may have at most {limit} bytes"));
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut chunks = body.take().map_err(|error| Problem::internal(&error))?.into_bytes_stream();
    let mut bytes = Vec::with_capacity(announced.unwrap_or_default());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk
            .map_err(|error| Problem::new(Kind::Malformed, format!("the body cannot be read: {error}")))?;
        if bytes.len() + chunk.len() > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn text(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes)
        .map_err(|error| Problem::new(Kind::Malformed, format!("the body is not UTF-8: {error}")))
}

/// Parses the common case in one pass; only a body that is refused is read again to find where.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    if text.contains("\\u0000") {
        refuse_nul(text)?;
    }
    parse_raw(text)
}

/// As [`parse`], for a `T` that leaves parts unparsed, whose strings are checked with them.
pub fn parse_raw<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    json::from_str(text).map_err(|error| {
        // What is no JSON further on is no JSON, whatever is wrong before.
        let syntax = if error.classify() == Category::Data {
            serde_json::from_str::<IgnoredAny>(text).err()
        } else {
            Some(error)
        };
        match syntax {
            Some(error) => Problem::new(Kind::Malformed, format!("the body is not JSON: {error}")),
            None => locate::<T>(text),
        }
    })
}

fn locate<T: DeserializeOwned>(text: &str) -> Problem {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, T>(Strict(&mut deserializer)) {
        Ok(_) => Problem::new(Kind::Invalid, "the body is refused"),
        Err(error) => {
            let detail = without_place(&error.inner().to_string());
            let mut pointer = String::new();
            for segment in error.path() {
                match segment {
                    Segment::Seq { index } => pointer += &format!("/{index}"),
                    Segment::Map { key } => pointer += &escaped(key),
                    Segment::Enum { .. } | Segment::Unknown => {}
                }
            }
            if let Some(member) = named_member(&detail) {
                pointer += &escaped(member);
            }
            Problem::at(Kind::Invalid, pointer, detail)
        }
    }
}

/// serde_json appends `at line 1 column 2`, which the pointer says better.
fn without_place(message: &str) -> String {
    message.split(" at line ").next().unwrap_or_default().to_owned()
}

/// A member that is missing or there twice, which serde tells of the object it belongs to.
fn named_member(detail: &str) -> Option<&str> {
    let named = detail.strip_prefix("missing field `").or(detail.strip_prefix("duplicate field `"));
    named?.split('`').next()
}

fn escaped(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// PostgreSQL's text cannot hold U+0000, so nothing in a request may.
fn refuse_nul(text: &str) -> Result<(), Problem> {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return Ok(()) };
    match find_nul(&value, "") {
        Some(pointer) => Err(Problem::at(Kind::Invalid, pointer, "must not contain the character U+0000")),
        None => Ok(()),
    }
}

fn find_nul(value: &Value, pointer: &str) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(|| pointer.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(i, item)| find_nul(item, &format!("{pointer}/{i}")))
        }
        Value::Object(members) => members.iter().find_map(|(key, member)| {
            let below = format!("{pointer}{}", escaped(key));
            if key.contains('\0') { Some(pointer.to_owned()) } else { find_nul(member, &below) }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}
