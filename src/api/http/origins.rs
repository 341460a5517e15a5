//! Which web pages may talk to us: CORS for requests, the `Origin` of sockets, one list for both.

use poem::Request;
use poem::http::Method;
use poem::middleware::Cors;

/// The same origin is always allowed; others by name.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    allowed: Vec<String>,
    /// With embedded services this is a developer's machine, and pages on localhost are his own.
    localhost: bool,
}

impl Origins {
    /// `allowed` are whole origins such as `https://app.example.com`.
    pub fn new(allowed: Vec<String>, localhost: bool) -> Self {
        Self { allowed, localhost }
    }

    /// Requests without an `Origin` do not come from a web page.
    pub fn allow(&self, request: &Request) -> bool {
        let text = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
        match text("origin") {
            None => true,
            Some(origin) => self.listed(origin) || same_host(origin, text("host")),
        }
    }

    /// CORS is about other origins. A browser names its own with every POST, which the middleware would refuse.
    pub fn without_same(&self, mut request: Request) -> Request {
        let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        if text("origin").is_some_and(|origin| same_host(origin, text("host"))) {
            request.headers_mut().remove("origin");
        }
        request
    }

    fn listed(&self, origin: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed == origin) || (self.localhost && is_localhost(origin))
    }

    pub fn cors(&self) -> Cors {
        let origins = self.clone();
        Cors::new()
            .allow_origins_fn(move |origin| origins.listed(origin))
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
            .allow_headers([
                "authorization",
                "content-type",
                "idempotency-key",
                "last-event-id",
                "tidings-min-cursor",
                "x-api-key",
                "x-request-id",
            ])
            .expose_headers([
                "tidings-cursor",
                "idempotent-replayed",
                "ratelimit",
                "ratelimit-policy",
                "retry-after",
                "x-request-id",
            ])
    }
}

fn same_host(origin: &str, host: Option<&str>) -> bool {
    origin.split_once("://").map(|(_, origin_host)| origin_host) == host
}

fn is_localhost(origin: &str) -> bool {
    let host = origin.split_once("://").map_or("", |(_, host)| host);
    let name = if host.starts_with('[') { host.split(']').next() } else { host.split(':').next() };
    matches!(name, Some("localhost" | "127.0.0.1" | "[::1"))
}
