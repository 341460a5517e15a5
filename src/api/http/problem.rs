//! Problems (RFC 9457): the one way the API says that something went wrong.
//!
//! Every error of every layer is mapped here, exhaustively. Internals are logged once and never sent.

use std::sync::Arc;

use poem::http::{StatusCode, header};
use poem::{IntoResponse, PathPattern, Response};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiResponse, Object};
use tidings_domain::notification::{self, InvalidContent};
use tidings_domain::template::{self, InvalidTemplate};
use tidings_projections::delivery::ListError;
use tidings_projections::inbox::{QueryError, ReplayError};
use tidings_projections::log::{CursorError, Outage, ReadError};
use tidings_projections::rebuild::RebuildError;

use crate::auth::Denied;
use crate::auth::keys::KeyError;
use crate::commands::{CommandError, PAST};
use crate::log::AppendError;

/// A problem as RFC 9457 writes it. `type` is a stable slug to program against; `detail` is for people.
#[derive(Clone, Debug, Object)]
#[oai(rename = "Problem", skip_serializing_if_is_none)]
pub struct ProblemBody {
    /// A stable slug, such as `invalid-request`. New ones may be added.
    r#type: String,
    title: String,
    /// The HTTP status.
    status: u16,
    detail: String,
    /// The members at fault, where the request has any.
    errors: Option<Vec<FieldError>>,
}

/// One member at fault.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
pub struct FieldError {
    /// A JSON Pointer (RFC 6901) into the request's body, or the name of a parameter or header.
    pub pointer: String,
    pub detail: String,
}

/// What kind of problem: its slug, title and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Malformed,
    Invalid,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Conflict,
    InvalidState,
    EpochLost,
    TooLarge,
    UnsupportedMediaType,
    KeyReused,
    Internal,
    Unavailable,
    Busy,
    OutcomeUnknown,
    ProjectionBehind,
    TooManyConnections,
    RateLimited,
}

impl Kind {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed-request", "The request cannot be parsed"),
            Self::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", "The request is refused"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "Credentials are needed"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "These credentials do not allow this"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is nothing here"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "This path has no such method")
            }
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "Others were faster"),
            Self::InvalidState => (StatusCode::CONFLICT, "invalid-state", "Not in this state"),
            Self::EpochLost => (StatusCode::GONE, "epoch-lost", "The cursor's history is gone"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", "The body is too large"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body must be JSON")
            }
            Self::KeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The key stands for another request",
            ),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something broke on our side"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available right now"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "Too much is waiting"),
            Self::OutcomeUnknown => {
                (StatusCode::SERVICE_UNAVAILABLE, "outcome-unknown", "It is not known whether it was done")
            }
            Self::ProjectionBehind => {
                (StatusCode::SERVICE_UNAVAILABLE, "projection-behind", "The read model has not caught up")
            }
            Self::TooManyConnections => {
                (StatusCode::TOO_MANY_REQUESTS, "too-many-connections", "This user has no connection left")
            }
            Self::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate-limited", "Too many requests"),
        }
    }
}

/// The error with everything behind it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        // Many say what is behind them by themselves.
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        cause = error.source();
    }
    text
}

#[derive(Clone, Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<FieldError>,
    /// Whose credentials were refused.
    denied: Option<Denied>,
    /// What is told to nobody outside: why it cannot be served now.
    cause: Option<Arc<str>>,
}

/// What an answer with a problem tells those who keep account of it.
#[derive(Clone, Debug)]
pub struct Mishap {
    pub slug: &'static str,
    pub denied: Option<Denied>,
    pub cause: Option<Arc<str>>,
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), denied: None, cause: None }
    }

    /// One member, parameter or header is at fault; an empty pointer is the whole body.
    pub fn at(kind: Kind, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let (pointer, detail) = (pointer.into(), detail.into());
        let told = if pointer.is_empty() { detail.clone() } else { format!("{pointer}: {detail}") };
        Self { errors: vec![FieldError { pointer, detail }], ..Self::new(kind, told) }
    }

    /// Several at once, each with its pointer.
    pub fn at_all(kind: Kind, faults: impl Iterator<Item = (String, String)>) -> Self {
        let errors: Vec<FieldError> =
            faults.map(|(pointer, detail)| FieldError { pointer, detail }).collect();
        let told: Vec<String> =
            errors.iter().map(|error| format!("{}: {}", error.pointer, error.detail)).collect();
        Self { errors, ..Self::new(kind, told.join("; ")) }
    }

    /// Something unexpected: logged here, named nowhere else.
    pub fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = causes(error), "a request failed");
        Self::new(Kind::Internal, "the error was logged; please report it with the request id")
    }

    fn unavailable(error: &dyn std::fmt::Display) -> Self {
        let told = "the database cannot be reached; nothing was done";
        Self { cause: Some(error.to_string().into()), ..Self::new(Kind::Unavailable, told) }
    }

    pub fn status(&self) -> StatusCode {
        self.kind.parts().0
    }

    pub fn body(&self) -> ProblemBody {
        let (status, slug, title) = self.kind.parts();
        ProblemBody {
            r#type: slug.into(),
            title: title.into(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            errors: (!self.errors.is_empty()).then(|| self.errors.clone()),
        }
    }

    /// The member at fault, and what is wrong; of several the first.
    pub fn first(&self) -> (&str, &str) {
        self.errors.first().map_or(("", &self.detail), |error| (&error.pointer, &error.detail))
    }

    fn mishap(&self) -> Mishap {
        Mishap { slug: self.kind.parts().1, denied: self.denied, cause: self.cause.clone() }
    }

    /// As the body of an answer and the `problem` of a socket's `error` frame have it.
    pub fn to_json(&self) -> String {
        self.body().to_json_string()
    }
}

const CONTENT_TYPE: &str = "application/problem+json";

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response =
            Response::builder().status(self.status()).content_type(CONTENT_TYPE).body(self.to_json());
        response.set_data(self.mishap());
        let headers = response.headers_mut();
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Problem> for poem::Error {
    fn from(problem: Problem) -> Self {
        let mishap = problem.mishap();
        let mut error = Self::from_response(problem.into_response());
        // The error's data take the place of its response's.
        error.set_data(mishap);
        error
    }
}

/// What may go wrong on every operation, for the document.
impl ApiResponse for Problem {
    fn meta() -> MetaResponses {
        let response = |(status, description)| MetaResponse {
            description,
            status: Some(status),
            status_range: None,
            content: vec![MetaMediaType { content_type: CONTENT_TYPE, schema: ProblemBody::schema_ref() }],
            headers: Vec::new(),
        };
        let statuses = [
            (400, "The request cannot be parsed: JSON, an id, a cursor, a parameter."),
            (401, "Credentials are missing or not valid."),
            (403, "The credentials do not allow this."),
            (404, "It does not exist, or belongs to somebody else."),
            (409, "`conflict`: others were faster; `invalid-state`: not in this state."),
            (410, "`epoch-lost`: the cursor's history is gone; read anew."),
            (413, "The body is larger than 256 KiB, for a batch 8 MiB."),
            (415, "The body is not `application/json`."),
            (422, "Parsed, but refused; `errors` names the members."),
            (429, "`rate-limited`: the key has made as many requests as its limit allows."),
            (500, "A fault of the service."),
            (503, "Not available right now; `Retry-After` says when to come back."),
        ];
        MetaResponses { responses: statuses.map(response).into() }
    }

    fn register(registry: &mut Registry) {
        ProblemBody::register(registry);
    }
}

/// Whatever was raised outside of our handlers: unknown paths, wrong methods, parameters that do not parse.
pub async fn answer(error: poem::Error) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    let pattern = error.data::<PathPattern>().cloned();
    let kind = match error.status() {
        StatusCode::NOT_FOUND => Kind::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Kind::MethodNotAllowed,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Kind::UnsupportedMediaType,
        StatusCode::PAYLOAD_TOO_LARGE => Kind::TooLarge,
        StatusCode::FORBIDDEN => Kind::Forbidden,
        status if status.is_client_error() => Kind::Malformed,
        _ => return Problem::internal(&std::io::Error::other(error.to_string())).into_response(),
    };
    let mut response = Problem::new(kind, error.to_string()).into_response();
    // Which route it was is still to be counted.
    pattern.into_iter().for_each(|pattern| response.set_data(pattern));
    response
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let kind = match denied {
            Denied::Missing
            | Denied::UnknownKey
            | Denied::UnknownTicket
            | Denied::Token(_)
            | Denied::UnknownSignature
            | Denied::StaleSignature => Kind::Unauthorized,
            Denied::Unavailable(_) => Kind::Unavailable,
            Denied::RateLimited => Kind::RateLimited,
            Denied::ServiceOnly | Denied::Scope(_) | Denied::RootOnly | Denied::AnotherUser => {
                Kind::Forbidden
            }
        };
        Self { denied: Some(denied), ..Self::new(kind, denied.to_string()) }
    }
}

impl From<InvalidContent> for Problem {
    fn from(invalid: InvalidContent) -> Self {
        Self::at(Kind::Invalid, invalid.pointer, invalid.detail)
    }
}

impl From<InvalidTemplate> for Problem {
    fn from(invalid: InvalidTemplate) -> Self {
        Self::at(Kind::Invalid, invalid.pointer, invalid.detail)
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::SettingsRefused(refusal) => refusal.into(),
            CommandError::Refused(refusal) => refusal.into(),
            CommandError::TemplateRefused(template::Error::NotFound) => {
                Self::new(Kind::NotFound, error.to_string())
            }
            CommandError::BroadcastRefused(refusal) => refusal.into(),
            CommandError::SourceRefused(refusal) => refusal.into(),
            CommandError::ScheduleRefused(refusal) => refusal.into(),
            CommandError::Conflict => Self::new(Kind::Conflict, error.to_string()),
            CommandError::KeyReused => Self::at(Kind::KeyReused, "Idempotency-Key", error.to_string()),
            CommandError::Append(append) => append.into(),
            CommandError::Past { member } => Self::at(Kind::Invalid, member, PAST),
            CommandError::Behind(_) => Self::new(Kind::ProjectionBehind, error.to_string()),
            CommandError::Unavailable(_) => Self::unavailable(&error),
            CommandError::Fault(_) => Self::internal(&error),
        }
    }
}

impl From<notification::Error> for Problem {
    fn from(refusal: notification::Error) -> Self {
        let kind = match refusal {
            notification::Error::NotFound => Kind::NotFound,
            notification::Error::AlreadyExists
            | notification::Error::NotReleased
            | notification::Error::Cancelled
            | notification::Error::Expired
            | notification::Error::ChannelNotPlanned
            | notification::Error::StaleAttempt { .. }
            | notification::Error::AttemptEnded { .. }
            | notification::Error::NotActivated
            | notification::Error::NothingToCall
            | notification::Error::NotDue
            | notification::Error::AlreadyStarted
            | notification::Error::NoAttemptLeft
            | notification::Error::NotStarted
            | notification::Error::Stopped { .. }
            | notification::Error::NothingToRetry => Kind::InvalidState,
        };
        Self::new(kind, refusal.to_string())
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict => Self::new(Kind::Conflict, error.to_string()),
            AppendError::Busy => Self::new(Kind::Busy, "too many commands are waiting; nothing was done"),
            AppendError::Expired | AppendError::DatabaseBehind => Self::unavailable(&error),
            AppendError::OutcomeUnknown => Self::new(
                Kind::OutcomeUnknown,
                "the database gave no answer, so it may be done or not; repeat the request with the same Idempotency-Key",
            ),
            AppendError::Refused(_) => Self::internal(&error),
        }
    }
}

impl From<CursorError> for Problem {
    fn from(error: CursorError) -> Self {
        let kind = match error {
            CursorError::Malformed => Kind::Malformed,
            CursorError::EpochLost => Kind::EpochLost,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        if error.is_outage() { Self::unavailable(&error) } else { Self::internal(&error) }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Invalid { pointer, detail } => Self::at(Kind::Invalid, pointer, detail),
            KeyError::TooMany => Self::new(Kind::InvalidState, error.to_string()),
            KeyError::Database(database) => database.into(),
        }
    }
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Read(read) => read.into(),
            ReplayError::Fold(_) => Self::internal(&error),
        }
    }
}

impl From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Database(database) => database.into(),
            ListError::Parked => Self::new(Kind::ProjectionBehind, error.to_string()),
        }
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Database(database) => database.into(),
            QueryError::Parked => Self::new(Kind::ProjectionBehind, error.to_string()),
        }
    }
}

impl From<RebuildError> for Problem {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::Database(database) => database.into(),
            RebuildError::Read(read) => read.into(),
            RebuildError::Running | RebuildError::Busy | RebuildError::LiveBehind => {
                Self::new(Kind::Conflict, error.to_string())
            }
            RebuildError::Disturbed => Self::internal(&error),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        if error.is_outage() { Self::unavailable(&error) } else { Self::internal(&error) }
    }
}
