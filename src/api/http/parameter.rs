//! Parameters of queries and headers: given at most once, parsed here, and refused by their names.
//!
//! The framework's own would pass over a header that is no text and take the first of several values, which for
//! an `Idempotency-Key` means to do something twice.

use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use tidings_domain::UserId;
use tidings_projections::log::{Cursor, CursorError};
use time::OffsetDateTime;

use super::problem::{Kind, Problem};
use super::reads::parse_user;
use crate::instant;
use crate::replay::{InvalidMoment, Moment};

/// What a parameter may be.
pub trait Parameter: Sized + Send {
    fn schema() -> MetaSchemaRef {
        String::schema_ref()
    }

    fn register(_registry: &mut Registry) {}

    /// The problem names the parameter.
    fn parse(name: &str, text: &str) -> Result<Self, Problem>;
}

/// A parameter of the query, which may be left out.
pub struct Query<T>(pub Option<T>);

/// A parameter of the query, which must be there.
pub struct Required<T>(pub T);

/// A header, which may be left out.
pub struct Header<T>(pub Option<T>);

/// The parameters of the query, decoded.
pub fn query_pairs(request: &Request) -> Result<Vec<(String, String)>, Problem> {
    if request.uri().query().is_none_or(str::is_empty) {
        return Ok(Vec::new());
    }
    request.params().map_err(|_| Problem::new(Kind::Malformed, "the query cannot be parsed"))
}

pub fn query<T: Parameter>(request: &Request, name: &str) -> Result<Option<T>, Problem> {
    let pairs = query_pairs(request)?;
    let mut values = pairs.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str());
    let value = values.next();
    once(name, values.next())?;
    value.map(|text| T::parse(name, text)).transpose()
}

fn required<T: Parameter>(request: &Request, name: &str) -> Result<T, Problem> {
    query(request, name)?.ok_or_else(|| Problem::at(Kind::Malformed, name, "must be given"))
}

pub fn header<T: Parameter>(request: &Request, name: &str) -> Result<Option<T>, Problem> {
    let mut values = request.headers().get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    once(name, values.next())?;
    let text = value.to_str();
    let text = text.map_err(|_| Problem::at(Kind::Malformed, name, "must be printable ASCII characters"))?;
    T::parse(name, text).map(Some)
}

fn once<T>(name: &str, second: Option<T>) -> Result<(), Problem> {
    match second {
        None => Ok(()),
        Some(_) => Err(Problem::at(Kind::Malformed, name, "must be given once")),
    }
}

/// Any text without U+0000, which PostgreSQL cannot hold.
impl Parameter for String {
    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        if text.contains('\0') {
            return Err(Problem::at(Kind::Invalid, name, "must not contain the character U+0000"));
        }
        Ok(text.to_owned())
    }
}

impl Parameter for UserId {
    fn parse(_name: &str, text: &str) -> Result<Self, Problem> {
        parse_user(text.to_owned())
    }
}

impl Parameter for Cursor {
    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        text.parse().map_err(|error: CursorError| Problem::at(Kind::Malformed, name, error.to_string()))
    }
}

impl Parameter for OffsetDateTime {
    fn schema() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", "date-time")))
    }

    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        instant::parse(text).map_err(|error| Problem::at(Kind::Malformed, name, error.to_string()))
    }
}

impl Parameter for Moment {
    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        text.parse().map_err(|error: InvalidMoment| Problem::at(Kind::Malformed, name, error.to_string()))
    }
}

/// How many items a page has: 1 to `MAX`.
#[derive(Clone, Copy)]
pub struct Limit<const MAX: u32>(pub i64);

impl<const MAX: u32> Parameter for Limit<MAX> {
    fn schema() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            minimum: Some(1.0),
            maximum: Some(MAX.into()),
            ..MetaSchema::new_with_format("integer", "int64")
        }))
    }

    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        match text.parse() {
            Ok(limit) if (1..=i64::from(MAX)).contains(&limit) => Ok(Self(limit)),
            _ => Err(Problem::at(Kind::Malformed, name, format!("must be a whole number from 1 to {MAX}"))),
        }
    }
}

/// Where the page before ended, in hexadecimal: what makes `next` opaque.
pub struct Before(pub i64);

impl Before {
    pub fn next(position: i64) -> String {
        format!("{position:x}")
    }
}

impl Parameter for Before {
    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        let digits = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let position = if digits { i64::from_str_radix(text, 16).ok() } else { None };
        let expected = "must be the `next` of an earlier page";
        position.map(Self).ok_or_else(|| Problem::at(Kind::Malformed, name, expected))
    }
}

macro_rules! extract {
    ($place:ident, $param_in:expr, $read:ident, $is_required:literal) => {
        impl<'a, T: Parameter> ApiExtractor<'a> for $place<T> {
            const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
            const PARAM_IS_REQUIRED: bool = $is_required;
            type ParamType = ();
            type ParamRawType = ();

            fn register(registry: &mut Registry) {
                T::register(registry);
            }

            fn param_in() -> Option<MetaParamIn> {
                Some($param_in)
            }

            fn param_schema_ref() -> Option<MetaSchemaRef> {
                Some(T::schema())
            }

            async fn from_request(
                request: &'a Request,
                _body: &mut RequestBody,
                options: ExtractParamOptions<()>,
            ) -> poem::Result<Self> {
                Ok(Self($read(request, options.name)?))
            }
        }
    };
}

extract!(Query, MetaParamIn::Query, query, false);
extract!(Required, MetaParamIn::Query, required, true);
extract!(Header, MetaParamIn::Header, header, false);
