//! Traces: one notification followed from the request through its append, the read model and the stream to the frame on
//! a socket, on whichever node each of them happens. Sent to a collector by OTLP over HTTP, if one is configured.
//!
//! The context travels as W3C `traceparent` in the metadata of the events that a sampled request causes, and with them in
//! the stream. Everything that follows the log is a child of the append. Nobody waits for the collector: what it does
//! not take in time is dropped.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_otlp::{ExporterBuildError, Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter,
};
use time::OffsetDateTime;

use super::Trouble;
use super::obedience::Obedience;
use crate::clock;

/// Spans that may wait for the collector; more are dropped.
const QUEUE_SPANS_MAX: usize = 8_192;
const SEND_EVERY: Duration = Duration::from_secs(1);
/// A collector that needs longer for a batch does not get it.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end waits for the last batch.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// A span that others are children of, in a trace that is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    trace_id: TraceId,
    span_id: SpanId,
}

const MEMBER: &str = r#""traceparent":""#;
/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const TRACEPARENT_CHARS: usize = 55;
/// The metadata's member that carries a [`Trace`].
pub const TRACEPARENT: &str = "traceparent";

impl fmt::Display for Trace {
    /// W3C Trace Context, `traceparent`, version 00, sampled.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-01", self.trace_id, self.span_id)
    }
}

impl Trace {
    /// `None` for what is no `traceparent`, or is not sampled.
    pub fn parse(text: &str) -> Option<Self> {
        let parent = parse_traceparent(text)?;
        let (trace_id, span_id) = (parent.trace_id(), parent.span_id());
        parent.is_sampled().then_some(Self { trace_id, span_id })
    }

    /// The one that an event's metadata carry. They are our own JSON, written without spaces; inside of a text a
    /// quotation mark has a backslash before it.
    pub fn of_metadata(json: &str) -> Option<Self> {
        let (_, rest) = json.split_once(MEMBER)?;
        Self::parse(rest.get(..TRACEPARENT_CHARS)?)
    }

    fn context(self) -> Context {
        let Self { trace_id, span_id } = self;
        let remote = SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, true, TraceState::NONE);
        Context::new().with_remote_span_context(remote)
    }
}

/// W3C Trace Context, section 3.2: a later version may say more behind what 00 says.
fn parse_traceparent(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, digits| {
        part.len() == digits && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let sane = hex(version, 2) && hex(trace_id, 32) && hex(span_id, 16) && hex(flags, 2);
    if !sane || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let trace_id = TraceId::from_hex(trace_id).ok()?;
    let span_id = SpanId::from_hex(span_id).ok()?;
    let context = SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

tokio::task_local! {
    static CURRENT: Trace;
}

/// That of the request which this task serves.
pub fn current() -> Option<Trace> {
    CURRENT.try_with(|trace| *trace).ok()
}

/// Runs a future as part of a trace, if there is one.
pub async fn scope<F: Future>(trace: Option<Trace>, future: F) -> F::Output {
    match trace {
        Some(trace) => CURRENT.scope(trace, future).await,
        None => future.await,
    }
}

/// A span that has not ended; dropping it ends it.
pub struct Span {
    span: opentelemetry_sdk::trace::Span,
}

impl Span {
    pub fn trace(&self) -> Trace {
        let context = self.span.span_context();
        Trace { trace_id: context.trace_id(), span_id: context.span_id() }
    }

    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.span.set_attribute(KeyValue::new(key, value));
    }

    pub fn rename(&mut self, name: String) {
        self.span.update_name(name);
    }

    pub fn fail(&mut self, why: String) {
        self.span.set_status(Status::error(why));
    }
}

/// Makes spans, or none where no collector is configured. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tracing {
    on: Option<On>,
}

#[derive(Clone)]
struct On {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    callers: Obedience,
}

impl Tracing {
    /// Sends to `endpoint`, as `http://collector:4318`; `sampling` of the requests that bring no decision of their own, 0 to 1.
    pub fn start(endpoint: &str, sampling: f64) -> Result<Self, ExporterBuildError> {
        let endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        // The client has a runtime of its own, which must not be made inside of ours.
        let made = std::thread::spawn(move || exporter(endpoint)).join();
        let made = made.map_err(|_| ExporterBuildError::InternalFailure("its thread broke off".into()))??;
        let exporter = Exporter { inner: made, trouble: Mutex::default() };
        let batch = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_SPANS_MAX)
            .with_scheduled_delay(SEND_EVERY)
            .build();
        let resource = Resource::builder()
            .with_service_name("tidings")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", clock::new_uuid().to_string()))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batch).build())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sampling))))
            .with_resource(resource)
            .build();
        let callers = Obedience::new(sampling);
        Ok(Self { on: Some(On { tracer: provider.tracer("tidings"), provider, callers }) })
    }

    pub fn is_on(&self) -> bool {
        self.on.is_some()
    }

    /// Where a trace enters: with what the caller sent, if he sent a sane `traceparent`. `None` if it is not sampled, or if
    /// more are than this node obeys.
    pub fn enter(&self, name: &'static str, traceparent: Option<&str>) -> Option<Span> {
        let On { tracer, callers, .. } = self.on.as_ref()?;
        let parent = match traceparent.and_then(parse_traceparent) {
            Some(parent) if parent.is_sampled() && !callers.traces() => return None,
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Server);
        let span = tracer.build_with_context(builder, &parent);
        span.span_context().is_sampled().then_some(Span { span })
    }

    /// A child that goes on.
    pub fn child(&self, parent: Option<Trace>, name: &'static str) -> Option<Span> {
        let (On { tracer, .. }, parent) = (self.on.as_ref()?, parent?);
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Producer);
        Some(Span { span: tracer.build_with_context(builder, &parent.context()) })
    }

    /// A child that is over: what was done with an event of the log, at this position.
    pub fn followed(&self, parent: Trace, name: &'static str, since: OffsetDateTime, position: i64) {
        let Some(On { tracer, .. }) = &self.on else { return };
        let ended = SystemTime::from(clock::instant());
        let builder = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Consumer)
            .with_start_time(SystemTime::from(since).min(ended))
            .with_attributes([KeyValue::new("tidings.position", position)]);
        tracer.build_with_context(builder, &parent.context()).end_with_timestamp(ended);
    }

    /// Sends what waits, for as long as a moment.
    pub async fn stop(self) {
        let Some(On { provider, .. }) = self.on else { return };
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT));
        let flushed = tokio::time::timeout(FLUSH_TIMEOUT * 2, flushed).await;
        if !matches!(flushed, Ok(Ok(Ok(())))) {
            tracing::warn!("the last spans did not reach the collector");
        }
    }
}

fn exporter(endpoint: String) -> Result<opentelemetry_otlp::SpanExporter, ExporterBuildError> {
    let client = crate::outgoing::blocking_client(SEND_TIMEOUT)
        .build()
        .map_err(|error| ExporterBuildError::InternalFailure(error.to_string()))?;
    opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(SEND_TIMEOUT)
        .build()
}

/// Says once that the collector is away, and once that it is back.
#[derive(Debug)]
struct Exporter {
    inner: opentelemetry_otlp::SpanExporter,
    trouble: Mutex<Trouble>,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exported = self.inner.export(batch).await;
        let mut trouble = self.trouble.lock().expect("no code panics while it holds the trouble");
        match &exported {
            Err(error) if trouble.begins() => {
                tracing::warn!(%error, "the collector does not take spans; they are dropped");
            }
            Ok(()) if trouble.ends() => tracing::info!("the collector takes spans again"),
            _ => {}
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    //! What is taken for a `traceparent`.
    use super::*;

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_as_the_w3c_says_and_written_the_same() {
        assert_eq!(Trace::parse(SAMPLED).map(|trace| trace.to_string()), Some(SAMPLED.into()));
        let later = SAMPLED.replacen("00", "cc", 1) + "-what-a-later-version-adds";
        assert_eq!(Trace::parse(&later), Trace::parse(SAMPLED));
        let other_flags = SAMPLED.replace("-01", "-03");
        assert_eq!(Trace::parse(&other_flags), Trace::parse(SAMPLED));
    }

    #[test]
    fn what_is_no_sampled_traceparent_is_none() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
        ] {
            assert_eq!(Trace::parse(text), None, "{text}");
        }
    }

    #[test]
    fn metadata_carry_it_as_a_member_and_not_inside_of_a_text() {
        let metadata = serde_json::json!({"request_id": "r", "traceparent": SAMPLED}).to_string();
        assert_eq!(Trace::of_metadata(&metadata), Trace::parse(SAMPLED));
        let forged = serde_json::json!({"request_id": format!("{MEMBER}{SAMPLED}\"")}).to_string();
        assert_eq!(Trace::of_metadata(&forged), None, "{forged}");
    }
}
