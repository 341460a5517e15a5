//! Keeps account of requests: a line at `debug` and the counts of each, and what keeps the service from serving.

use std::sync::Arc;
use std::time::Duration;

use poem::http::{Method, StatusCode, Uri};
use poem::{Endpoint, PathPattern, Request, Response};
use poem_openapi::{OpenApi, OpenApiService, Webhook};
use serde_json::Value;
use tokio::time::Instant;

use super::problem::Mishap;
use super::request_id;
use crate::telemetry::metrics::{AuthMetrics, Routes};
use crate::telemetry::traces::{self, Span, TRACEPARENT};
use crate::telemetry::{Metrics, Repeated, Tracing};

/// Routes that the document does not describe, as the router spells them and as the document would.
const UNDOCUMENTED: [(&str, &str); 7] = [
    ("/v1/ws", "/v1/ws"),
    ("/v1/users/:user_id/inbox/stream", "/v1/users/{user_id}/inbox/stream"),
    ("/health/live", "/health/live"),
    ("/health/ready", "/health/ready"),
    ("/metrics", "/metrics"),
    ("/openapi.json", "/openapi.json"),
    ("/docs", "/docs"),
];

pub struct Access {
    routes: Routes,
    auth: AuthMetrics,
    tracing: Tracing,
    unserved: Repeated,
}

impl Access {
    pub fn new<T: OpenApi, W: Webhook>(
        api: &OpenApiService<T, W>,
        metrics: &Metrics,
        tracing: &Tracing,
    ) -> Self {
        let get = || vec!["GET".to_owned()];
        let others = UNDOCUMENTED.map(|(pattern, template)| (pattern.to_owned(), template.to_owned(), get()));
        let routes = metrics.http.routes(documented(&api.spec()).into_iter().chain(others));
        let (auth, tracing) = (metrics.auth.clone(), tracing.clone());
        Self { routes, auth, tracing, unserved: Repeated::default() }
    }

    fn blame(&self, mishap: &Mishap) {
        self.routes.metrics.problem(mishap.slug);
        if let Some(denied) = mishap.denied {
            self.auth.denied(denied);
        }
        let Some(error) = &mishap.cause else { return };
        if let Some(requests) = self.unserved.count() {
            tracing::warn!(%error, requests, "requests could not be served");
        }
    }
}

/// Every path of a document, as the router spells it and as the document does, with its methods.
fn documented(document: &str) -> Vec<(String, String, Vec<String>)> {
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    let paths = document["paths"].as_object().into_iter().flatten();
    let methods = |path: &Value| {
        let names = path.as_object().into_iter().flatten().map(|(name, _)| name.to_uppercase());
        names.collect()
    };
    paths.map(|(template, path)| (pattern_of(template), template.clone(), methods(path))).collect()
}

/// The router's spelling: poem-openapi numbers the parameters.
fn pattern_of(template: &str) -> String {
    let mut parts = template.split('{');
    let mut pattern = parts.next().unwrap_or_default().to_owned();
    for (number, part) in parts.enumerate() {
        let rest = part.split_once('}').map_or("", |(_, rest)| rest);
        pattern += &format!(":param{number}{rest}");
    }
    pattern
}

/// A request that is being served. Dropped before it is answered, its client has given it up: the server does so where an
/// HTTP/2 stream is reset, and serves what came over HTTP/1.1 to its end.
struct InFlight<'a> {
    routes: &'a Routes,
    method: Method,
    uri: Uri,
    answered: bool,
}

impl<'a> InFlight<'a> {
    fn new(routes: &'a Routes, request: &Request) -> Self {
        routes.metrics.in_flight.inc();
        Self { routes, method: request.method().clone(), uri: request.uri().clone(), answered: false }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.routes.metrics.in_flight.dec();
        if !self.answered {
            self.routes.aborted(self.uri.path(), self.method.as_str());
        }
    }
}

/// Serves a request and keeps account of it.
pub async fn account<E: Endpoint<Output = Response>>(
    access: Arc<Access>,
    next: Arc<E>,
    request: Request,
) -> poem::Result<Response> {
    let (mut in_flight, began) = (InFlight::new(&access.routes, &request), Instant::now());
    let traceparent = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let span = access.tracing.enter("request", traceparent);
    // Boxed: it holds all that is below, and each step here would copy it.
    let serve = Box::pin(next.call(request));
    let response = traces::scope(span.as_ref().map(Span::trace), serve).await?;
    in_flight.answered = true;
    let method = &in_flight.method;
    let (took, status) = (began.elapsed(), response.status());
    let pattern = response.data::<PathPattern>().map(|pattern| &*pattern.0);
    let route = access.routes.count(pattern, method.as_str(), status.as_u16(), took);
    let mishap = response.data::<Mishap>();
    mishap.into_iter().for_each(|mishap| access.blame(mishap));
    line(route, method.as_str(), status, took, mishap);
    if let Some(span) = span {
        describe(span, method.as_str(), route, status);
    }
    Ok(response)
}

/// By the semantic conventions of OpenTelemetry for HTTP servers. The path itself names users.
fn describe(mut span: Span, method: &str, route: &str, status: StatusCode) {
    span.rename(format!("{method} {route}"));
    span.set("http.request.method", method.to_owned());
    span.set("http.route", route.to_owned());
    span.set("http.response.status_code", i64::from(status.as_u16()));
    span.set("tidings.request_id", request_id::current());
    if status.is_server_error() {
        span.fail(status.to_string());
    }
}

/// The path itself names users: the line has its route.
fn line(route: &str, method: &str, status: StatusCode, took: Duration, mishap: Option<&Mishap>) {
    let elapsed_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let problem = mishap.map(|mishap| mishap.slug);
    let cause = mishap.and_then(|mishap| mishap.cause.as_deref());
    tracing::debug!(method, route, status = status.as_u16(), elapsed_us, problem, cause, "request");
}
