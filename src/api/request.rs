//! What a command's request says about itself: who, under which request id, with which idempotency key.

use poem::Request;
use poem_openapi::param::Header;

use super::problem::{Kind, Problem};
use crate::auth::Principal;
use crate::clock;
use crate::commands::{Context, Idempotency};

/// Characters of an `Idempotency-Key`.
const KEY_CHARS_MAX: usize = 255;
const REQUEST_ID: &str = "x-request-id";

/// The context of one command; `body` are the bytes that make the request what it is.
pub fn context(
    principal: Principal,
    request: &Request,
    key: &Header<Option<String>>,
    body: &[u8],
) -> Result<Context, Problem> {
    let idempotency = match &key.0 {
        None => None,
        Some(key)
            if (1..=KEY_CHARS_MAX).contains(&key.len()) && key.bytes().all(|b| (0x20..0x7f).contains(&b)) =>
        {
            let method = request.method().as_str();
            Some(Idempotency::new(key.clone(), method, request.original_uri().path(), body))
        }
        Some(_) => {
            let expected = "must have 1 to 255 printable ASCII characters";
            return Err(Problem::at(Kind::Malformed, "Idempotency-Key", expected));
        }
    };
    Ok(Context { principal, request_id: request_id(request), idempotency })
}

/// The caller's own id where it is sane, else a fresh one.
fn request_id(request: &Request) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    match given.filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())) {
        Some(id) => id.to_owned(),
        None => clock::new_uuid().to_string(),
    }
}
