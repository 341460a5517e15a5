//! What is left of the caller's limit, as headers of every answer to a key that has one: `RateLimit` and `RateLimit-Policy`
//! of draft-ietf-httpapi-ratelimit-headers-10, and `Retry-After` (RFC 9110, section 10.2.3) with a refusal.

use std::cell::Cell;
use std::sync::Arc;

use poem::http::{HeaderName, HeaderValue, header};
use poem::{Endpoint, Request, Response};
use serde_json::{Value, json};

use crate::rate_limit::Standing;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

tokio::task_local! {
    static STANDING: Cell<Option<Standing>>;
}

/// Has the answer to the request that this task serves say so.
pub fn tell(standing: Standing) {
    // Outside of a request there is nobody to tell.
    let _ = STANDING.try_with(|told| told.set(Some(standing)));
}

/// Serves a request, and shows what was told meanwhile.
pub async fn show<E: Endpoint<Output = Response>>(next: Arc<E>, request: Request) -> poem::Result<Response> {
    let serve = async {
        // Boxed: it holds all that is below, and each step here would copy it.
        let mut response = Box::pin(next.call(request)).await?;
        if let Some(standing) = STANDING.with(Cell::take) {
            put(&mut response, &standing);
        }
        Ok(response)
    };
    STANDING.scope(Cell::new(None), serve).await
}

fn put(response: &mut Response, standing: &Standing) {
    let headers = response.headers_mut();
    let text = |text: String| HeaderValue::from_str(&text).expect("names and numbers are visible ASCII");
    headers.insert(RATE_LIMIT, text(standing.to_string()));
    headers.insert(RATE_LIMIT_POLICY, text(standing.policy()));
    if !standing.admitted {
        headers.insert(header::RETRY_AFTER, standing.retry_after_seconds().into());
    }
}

const LEFT: &str = "What is left of the key's limit: `r` requests now, and in `t` seconds all of them again \
     (draft-ietf-httpapi-ratelimit-headers-10). Only for keys that have a limit.";
const POLICY: &str = "The key's limit: `q` requests at once, and as many again within `w` seconds \
     (draft-ietf-httpapi-ratelimit-headers-10). Only for keys that have a limit.";
const RETRY_AFTER: &str = "In how many seconds the key may make a request again: at least 1.";

/// Says in the document that every operation takes a key, and so may have these headers.
pub fn name(operation: &mut Value) {
    let responses = operation["responses"].as_object_mut().into_iter().flatten();
    for (status, response) in responses.filter(|(status, _)| status.starts_with('2') || *status == "429") {
        for name in ["RateLimit", "RateLimit-Policy"] {
            response["headers"][name] = json!({"$ref": format!("#/components/headers/{name}")});
        }
        if status == "429" {
            response["headers"]["Retry-After"] = header(RETRY_AFTER, "integer");
        }
    }
}

/// What those names stand for.
pub fn headers() -> Value {
    json!({"RateLimit": header(LEFT, "string"), "RateLimit-Policy": header(POLICY, "string")})
}

fn header(text: &str, kind: &str) -> Value {
    json!({"description": text, "schema": {"type": kind}})
}
