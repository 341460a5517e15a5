//! Whoever uses a method that a path does not have is told those that it has (`Allow`, RFC 9110 section 15.5.6).

use std::sync::Arc;

use poem::http::{HeaderValue, StatusCode, header};
use poem::{Endpoint, Request, Response};

use super::closed;

/// Of the paths that are no operations: the sockets, health, metrics.
const OTHERWISE: HeaderValue = HeaderValue::from_static("GET, HEAD");

pub async fn allow<E: Endpoint<Output = Response>>(next: Arc<E>, request: Request) -> poem::Result<Response> {
    let uri = request.uri().clone();
    let mut response = next.call(request).await?;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let methods = closed::methods(uri.path()).join(", ");
        let methods = HeaderValue::from_str(&methods).ok().filter(|methods| !methods.is_empty());
        response.headers_mut().insert(header::ALLOW, methods.unwrap_or(OTHERWISE));
    }
    Ok(response)
}
