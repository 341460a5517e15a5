//! The stream's mirror, as this node drives it.

use prometheus::{IntCounter, IntGauge, Registry};

use super::{Each, Label, counter, gauge};
use crate::mirror::Health;

impl Label for Health {
    const NAME: &'static str = "state";
    const ALL: &'static [Self] = &[Self::Starting, Self::Current, Self::RedisAway, Self::DatabaseBehind];

    fn number(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Current => "current",
            Self::RedisAway => "redis_away",
            Self::DatabaseBehind => "database_behind",
        }
    }
}

#[derive(Clone)]
pub struct MirrorMetrics {
    pub position: IntGauge,
    pub pushed: IntCounter,
    pub refills: IntCounter,
    pub(super) state: Each<Health, IntGauge>,
}

impl MirrorMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            position: gauge(
                registry,
                "tidings_mirror_position",
                "Where the stream ended when this node last looked.",
            ),
            pushed: counter(
                registry,
                "tidings_mirror_entries_pushed_total",
                "Entries this node added to the stream.",
            ),
            refills: counter(
                registry,
                "tidings_mirror_refills_total",
                "Times this node filled the stream from Postgres, because it was absent or behind.",
            ),
            state: Each::gauges(
                registry,
                "tidings_mirror_state",
                "1 for the state the mirror is in, 0 for the others.",
            ),
        }
    }
}
