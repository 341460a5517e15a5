//! Requests by route, and what was wrong with them.
//!
//! A route is counted by its template. The templates are known at start; whatever fits none is counted as one.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry};

use super::{SECONDS, SOUND, counters, gauge, register};

const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const NO_ROUTE: &str = "none";
const ANY_METHOD: &str = "any";

#[derive(Clone)]
pub struct HttpMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    pub in_flight: IntGauge,
    aborted: IntCounterVec,
    problems: IntCounterVec,
}

impl HttpMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let seconds = HistogramOpts::new(
            "tidings_http_request_duration_seconds",
            "Time until the head of the answer is ready; a socket's is its handshake, a stream's its beginning.",
        );
        let seconds = HistogramVec::new(seconds.buckets(SECONDS.to_vec()), &["route", "method"]);
        let metrics = Self {
            requests: counters(
                registry,
                "tidings_http_requests_total",
                "Requests answered, by the route's template, the method and the class of the status.",
                &["route", "method", "status"],
            ),
            seconds: register(registry, seconds.expect(SOUND)),
            in_flight: gauge(registry, "tidings_http_requests_in_flight", "Requests not answered yet."),
            aborted: counters(
                registry,
                "tidings_http_requests_aborted_total",
                "Requests that their client gave up before the head of the answer was ready.",
                &["route", "method"],
            ),
            problems: counters(
                registry,
                "tidings_problems_total",
                "Problems answered over HTTP, by their type.",
                &["type"],
            ),
        };
        // A rate needs a beginning: the first failure must be seen as one.
        metrics.aborted.with_label_values(&[NO_ROUTE, ANY_METHOD]);
        for slug in ["unavailable", "internal", "unauthorized", "busy"] {
            metrics.problems.with_label_values(&[slug]);
        }
        metrics
    }

    /// Of a problem's type.
    pub fn problem(&self, slug: &'static str) {
        self.problems.with_label_values(&[slug]).inc();
    }

    /// `routes` are what the router calls them, their templates as `/v1/notifications/{id}`, and their methods.
    pub fn routes(&self, routes: impl IntoIterator<Item = (String, String, Vec<String>)>) -> Routes {
        let counted = |template: &str, method: String| {
            let counted = Counted {
                route: template.to_owned(),
                method: method.clone(),
                seconds: OnceLock::new(),
                statuses: Default::default(),
            };
            (method, counted)
        };
        let by_pattern = routes
            .into_iter()
            .map(|(pattern, template, methods)| {
                // Whatever answers GET answers HEAD (RFC 9110, section 9.3.2).
                let head = methods.iter().any(|method| method == "GET").then(|| "HEAD".to_owned());
                let methods = methods.into_iter().chain(head).map(|method| counted(&template, method));
                let methods = methods.collect();
                (pattern, methods)
            })
            .collect();
        let (_, other) = counted(NO_ROUTE, ANY_METHOD.into());
        Routes { metrics: self.clone(), by_pattern: Arc::new(by_pattern), other: Arc::new(other) }
    }
}

/// The routes there are, each with its series. They are made when they are first needed.
#[derive(Clone)]
pub struct Routes {
    pub metrics: HttpMetrics,
    /// By the template as the router spells it, then by method.
    by_pattern: Arc<HashMap<String, Vec<(String, Counted)>>>,
    other: Arc<Counted>,
}

struct Counted {
    route: String,
    method: String,
    seconds: OnceLock<Histogram>,
    statuses: [OnceLock<IntCounter>; STATUS_CLASSES.len()],
}

impl Routes {
    /// Counts an answer to whatever was routed, and says how the document spells its template.
    pub fn count(&self, pattern: Option<&str>, method: &str, status: u16, took: Duration) -> &str {
        let counted = self.find(pattern, method);
        let labels = [counted.route.as_str(), counted.method.as_str()];
        let seconds = counted.seconds.get_or_init(|| self.metrics.seconds.with_label_values(&labels));
        seconds.observe(took.as_secs_f64());
        let class = usize::from(status / 100).clamp(1, STATUS_CLASSES.len()) - 1;
        let count =
            || self.metrics.requests.with_label_values(&[labels[0], labels[1], STATUS_CLASSES[class]]);
        counted.statuses[class].get_or_init(count).inc();
        &counted.route
    }

    /// A request that nobody waits for any more; what the router made of it is not known.
    pub fn aborted(&self, path: &str, method: &str) {
        let fits = |pattern: &str| {
            let (known, given) = (pattern.split('/'), path.split('/'));
            let same = |(known, given): (&str, &str)| known == given || known.starts_with(':');
            known.clone().count() == given.clone().count() && known.zip(given).all(same)
        };
        let fitting = self.by_pattern.keys().filter(|pattern| fits(pattern));
        // The router prefers a path that says more.
        let pattern = fitting.min_by_key(|pattern| pattern.matches("/:").count());
        let counted = self.find(pattern.map(String::as_str), method);
        self.metrics.aborted.with_label_values(&[&counted.route, &counted.method]).inc();
    }

    fn find(&self, pattern: Option<&str>, method: &str) -> &Counted {
        let methods = pattern.and_then(|pattern| self.by_pattern.get(pattern));
        let counted = methods.and_then(|methods| methods.iter().find(|(known, _)| known == method));
        counted.map_or(&self.other, |(_, counted)| counted)
    }
}
