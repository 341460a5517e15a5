//! Instants in bodies.

use time::OffsetDateTime;

use crate::api::http::problem::{Kind, Problem};
use crate::instant;

/// An instant in a body, at this pointer.
pub fn parse_instant(pointer: &str, text: &str) -> Result<OffsetDateTime, Problem> {
    instant::parse(text).map_err(|error| Problem::at(Kind::Invalid, pointer, error.to_string()))
}
