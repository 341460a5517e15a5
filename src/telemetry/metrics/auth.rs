//! Credentials that were refused.

use prometheus::{IntCounterVec, Registry};

use super::counters;
use crate::auth::Denied;

#[derive(Clone)]
pub struct AuthMetrics {
    failures: IntCounterVec,
}

impl AuthMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let failures = counters(
            registry,
            "tidings_auth_failures_total",
            "Requests, handshakes and tokens on sockets that were refused, by reason.",
            &["reason"],
        );
        // A rate needs a beginning: the first failure must be seen as one.
        for denied in [Denied::Missing, Denied::UnknownKey, Denied::Token("")] {
            failures.with_label_values(&[denied.reason()]);
        }
        Self { failures }
    }

    pub fn denied(&self, denied: Denied) {
        self.failures.with_label_values(&[denied.reason()]).inc();
    }
}
