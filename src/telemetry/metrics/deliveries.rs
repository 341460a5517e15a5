//! What becomes of deliveries, told by the events that this node appends: each is counted once, whoever brought it about.

use prometheus::{Histogram, IntCounter, Registry};
use tidings_domain::broadcast;
use tidings_domain::notification::{Channel, Event, FailureClass, SkipReason};
use tidings_projections::log::{Fact, Recorded};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Each, Label, counter, counters};

/// From what an idle service needs to a day of quiet hours and fallbacks.
const WAIT_SECONDS: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];

impl Label for FailureClass {
    const NAME: &'static str = "class";
    const ALL: &'static [Self] = &Self::ALL;

    fn number(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        self.as_str()
    }
}

impl Label for SkipReason {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &Self::ALL;

    fn number(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        self.as_str()
    }
}

/// How a delivery ended; what is skipped has a counter of its own.
#[derive(Clone, Copy)]
enum End {
    Delivered,
    Exhausted,
    DeadLettered,
}

impl Label for End {
    const NAME: &'static str = "outcome";
    const ALL: &'static [Self] = &[Self::Delivered, Self::Exhausted, Self::DeadLettered];

    fn number(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Exhausted => "exhausted",
            Self::DeadLettered => "dead_lettered",
        }
    }
}

#[derive(Clone)]
pub struct DeliveryMetrics {
    attempts: Each<Channel, IntCounter>,
    failures: Each<Channel, Each<FailureClass, IntCounter>>,
    ended: Each<Channel, Each<End, IntCounter>>,
    skipped: Each<Channel, Each<SkipReason, IntCounter>>,
    first_attempt_seconds: Each<Channel, Histogram>,
    delivered_seconds: Each<Channel, Histogram>,
    fanned_out: IntCounter,
}

impl DeliveryMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            attempts: Each::counters(
                registry,
                "tidings_delivery_attempts_total",
                "Attempts that began; there are none in the app.",
            ),
            failures: by_channel(registry, "tidings_delivery_failures_total", "Attempts that failed."),
            ended: by_channel(registry, "tidings_deliveries_total", "Deliveries by how they ended."),
            skipped: by_channel(
                registry,
                "tidings_deliveries_skipped_total",
                "Deliveries that were not made, and why.",
            ),
            first_attempt_seconds: Each::histograms(
                registry,
                "tidings_delivery_first_attempt_seconds",
                "From the creation of a notification to the first attempt on the channel.",
                WAIT_SECONDS,
            ),
            delivered_seconds: Each::histograms(
                registry,
                "tidings_delivery_delivered_seconds",
                "From the creation of a notification to its delivery on the channel.",
                WAIT_SECONDS,
            ),
            fanned_out: counter(
                registry,
                "tidings_broadcast_notifications_total",
                "Notifications that were made for broadcasts.",
            ),
        }
    }

    pub(super) fn count(&self, appended: &Recorded) {
        match &appended.fact {
            Fact::Notification(id, event) => self.count_delivery(id.uuid(), event, appended.recorded_at),
            Fact::Broadcast(_, broadcast::Event::Progressed { count, .. }) => {
                self.fanned_out.inc_by(u64::from(*count));
            }
            _ => {}
        }
    }

    fn count_delivery(&self, id: Uuid, event: &Event, now: OffsetDateTime) {
        match event {
            Event::Created(created) => {
                let skipped =
                    created.plan.steps().iter().filter_map(|step| Some((step.channel, step.skipped?)));
                skipped.for_each(|(channel, reason)| self.skipped.of(channel).of(reason).inc());
            }
            Event::DeliveryStarted { channel, attempt, .. } => {
                self.attempts.of(*channel).inc();
                if *attempt == 1 {
                    observe(self.first_attempt_seconds.of(*channel), id, now);
                }
            }
            Event::DeliverySucceeded { channel, .. } => {
                self.ended.of(*channel).of(End::Delivered).inc();
                observe(self.delivered_seconds.of(*channel), id, now);
            }
            Event::DeliveryFailed { channel, error, .. } => {
                self.failures.of(*channel).of(error.class).inc();
            }
            Event::DeliverySkipped { channel, reason } => self.skipped.of(*channel).of(*reason).inc(),
            Event::DeliveryExhausted { channel, .. } => self.ended.of(*channel).of(End::Exhausted).inc(),
            Event::DeliveryDeadLettered { channel } => self.ended.of(*channel).of(End::DeadLettered).inc(),
            _ => {}
        }
    }
}

/// How old the notification is: its id tells when it was made (RFC 9562, 5.7), in milliseconds.
fn observe(seconds: &Histogram, id: Uuid, now: OffsetDateTime) {
    let Some((made_s, made_ns)) = id.get_timestamp().map(|made| made.to_unix()) else { return };
    let made = made_s as f64 + f64::from(made_ns) / 1e9;
    seconds.observe((now.unix_timestamp_nanos() as f64 / 1e9 - made).max(0.0));
}

fn by_channel<L: Label>(registry: &Registry, name: &str, help: &str) -> Each<Channel, Each<L, IntCounter>> {
    let all = counters(registry, name, help, &[Channel::NAME, L::NAME]);
    Each::make(|channel| Each::make(|value| all.with_label_values(&[channel, value])))
}
