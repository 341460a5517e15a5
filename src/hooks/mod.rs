//! Webhooks that come in: whether a request is its source's own, and what the source's mapping makes of it.
//!
//! Nothing of a request is parsed, remembered or told before its signature was found right over the bytes as they came.

mod mapping;
mod signature;

pub use mapping::{Flaw, Input, Made, Mapping};
pub use signature::{DELIVERY_ID_CHARS_MAX, Refused, check_secret, delivery_id, verify};
