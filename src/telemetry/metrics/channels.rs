//! How endpoints outside of the service fare.

use prometheus::{Histogram, IntGauge, Registry};
use tidings_domain::notification::Channel;

use super::{Each, Label, SECONDS};

impl Label for Channel {
    const NAME: &'static str = "channel";
    const ALL: &'static [Self] = &Self::ALL;

    fn number(self) -> usize {
        Self::ALL.iter().position(|channel| *channel == self).expect("every channel is listed")
    }

    fn value(self) -> &'static str {
        self.as_str()
    }
}

#[derive(Clone)]
pub struct ChannelMetrics {
    pub breaker_open: Each<Channel, IntGauge>,
    pub call_seconds: Each<Channel, Histogram>,
}

impl ChannelMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let help = "Endpoints that this node leaves alone for a while, or has not tried again since.";
        Self {
            breaker_open: Each::gauges(registry, "tidings_breaker_open", help),
            call_seconds: Each::histograms(
                registry,
                "tidings_channel_call_duration_seconds",
                "Time of one call of one endpoint, however it went.",
                SECONDS,
            ),
        }
    }
}
