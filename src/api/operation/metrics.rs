//! `GET /metrics`: how this node does, for Prometheus. It needs no credentials, so it names no tenant and no user.

use poem::web::Data;
use poem::{IntoResponse, Response, handler};

use crate::api::http::problem::Problem;
use crate::telemetry::metrics::{CONTENT_TYPE, Vitals};

/// Waits for nothing: a node that cannot reach Postgres or Redis says so.
#[handler]
pub fn print(vitals: Data<&Vitals>) -> Response {
    match vitals.text() {
        Ok(text) => Response::builder().content_type(CONTENT_TYPE).body(text),
        Err(error) => Problem::internal(&error).into_response(),
    }
}
