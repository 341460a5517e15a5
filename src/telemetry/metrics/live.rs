//! Live inboxes: who is connected to this node, what was sent and received, and how old it was when it went out.

use std::sync::Arc;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, Registry};
use time::OffsetDateTime;

use super::{Each, Label, SECONDS, counter, counters, gauge, histogram};
use crate::gateway::{Close, Frame, FrameKind, InboundKind};

/// How a client listens.
#[derive(Clone, Copy)]
pub enum ConnectionKind {
    Socket,
    Sse,
}

impl Label for ConnectionKind {
    const NAME: &'static str = "kind";
    const ALL: &'static [Self] = &[Self::Socket, Self::Sse];

    fn number(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Sse => "sse",
        }
    }
}

impl Label for FrameKind {
    const NAME: &'static str = "type";
    const ALL: &'static [Self] = &[
        Self::Welcome,
        Self::Event,
        Self::Sync,
        Self::Reset,
        Self::TokenExpiring,
        Self::Reply,
        Self::Error,
        Self::Closing,
    ];

    fn number(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        self.as_str()
    }
}

impl Label for InboundKind {
    const NAME: &'static str = "type";
    const ALL: &'static [Self] = &[Self::Auth, Self::Ping, Self::Ack, Self::Command, Self::Unknown];

    fn number(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Ping => "ping",
            Self::Ack => "ack",
            Self::Command => "command",
            Self::Unknown => "unknown",
        }
    }
}

pub struct LiveMetrics {
    open: Each<ConnectionKind, IntGauge>,
    opened: Each<ConnectionKind, IntCounter>,
    closed: IntCounterVec,
    sent: Each<FrameKind, IntCounter>,
    sent_bytes: IntCounter,
    latency_seconds: Histogram,
    pub received: Each<InboundKind, IntCounter>,
    pub queued_bytes: IntGauge,
}

/// What is counted of a connection that the peer ended, or the network.
const BY_PEER: &str = "none";

impl LiveMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let closed = counters(
            registry,
            "tidings_connections_closed_total",
            "Connections that ended, by the code we gave; none where the client or the network ended it.",
            &[ConnectionKind::NAME, "code"],
        );
        for kind in ConnectionKind::ALL {
            closed.with_label_values(&[kind.value(), BY_PEER]);
        }
        Self {
            open: Each::gauges(registry, "tidings_connections", "Connections that are open on this node."),
            opened: Each::counters(
                registry,
                "tidings_connections_opened_total",
                "Connections that were opened, before their credentials are known.",
            ),
            closed,
            sent: Each::counters(registry, "tidings_frames_sent_total", "Frames handed to the network."),
            sent_bytes: counter(
                registry,
                "tidings_frames_sent_bytes_total",
                "Their JSON, without the framing of WebSocket or SSE.",
            ),
            latency_seconds: histogram(
                registry,
                "tidings_frame_latency_seconds",
                "From the commit of an event to the moment its live frame is handed to the network.",
                SECONDS,
            ),
            received: Each::counters(
                registry,
                "tidings_frames_received_total",
                "Frames of clients that were understood.",
            ),
            queued_bytes: gauge(
                registry,
                "tidings_connection_queued_bytes",
                "Frames that wait in the queues of all connections.",
            ),
        }
    }

    /// Counts a connection until it is dropped.
    pub fn connected(self: &Arc<Self>, kind: ConnectionKind) -> Open {
        self.open.of(kind).inc();
        self.opened.of(kind).inc();
        Open { metrics: self.clone(), kind, close: None }
    }

    /// Frames that were just handed to the network.
    pub fn sent(&self, frames: &[Frame], now: OffsetDateTime) {
        for frame in frames {
            self.sent.of(frame.kind).inc();
            self.sent_bytes.inc_by(frame.json.len() as u64);
            if let Some(recorded_at) = frame.recorded_at {
                // The database may have another clock.
                self.latency_seconds.observe((now - recorded_at).as_seconds_f64().max(0.0));
            }
        }
    }
}

/// A connection while it is counted.
pub struct Open {
    metrics: Arc<LiveMetrics>,
    kind: ConnectionKind,
    close: Option<Close>,
}

impl Open {
    /// It is we who end it.
    pub fn close(&mut self, why: Close) {
        self.close = Some(why);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Self { metrics, kind, close } = self;
        metrics.open.of(*kind).dec();
        let code = close.map_or_else(|| BY_PEER.to_owned(), |close| close.code().to_string());
        metrics.closed.with_label_values(&[kind.value(), &code]).inc();
    }
}
