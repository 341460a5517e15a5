//! Traces: one notification followed from its request to the frames on sockets, over nodes; and a collector that is away
//! keeps nobody waiting.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Collector, Service, Socket, note};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

async fn create_traced(service: &Service, traceparent: &str) {
    let request = service.posting("/v1/notifications", &note("alice")).header("traceparent", traceparent);
    service.send(request).await.expect(201);
}

#[tokio::test]
async fn one_trace_leads_from_the_request_to_every_frame_on_every_node() {
    let mut collector = Collector::start().await;
    let url = collector.url();
    let settings = [("TIDINGS_OTLP_ENDPOINT", url.as_str())];
    let first = Service::start_with(&settings).await;
    let second = first.another_node_with(&settings).await;
    let (mut here, _) = Socket::of(&first, "alice").await;
    let (mut there, _) = Socket::of(&second, "alice").await;
    create_traced(&first, &format!("00-{TRACE}-{CALLER}-01")).await;
    here.event("notification.created").await;
    there.event("notification.created").await;
    collector.until(TRACE, "POST /v1/notifications", 1).await;
    collector.until(TRACE, "frame", 2).await;
    collector.until(TRACE, "project", 1).await;
    collector.until(TRACE, "mirror", 1).await;
    collector.until(TRACE, "append", 1).await;

    let request = collector.named(TRACE, "POST /v1/notifications").remove(0);
    assert_eq!(request.parent, CALLER);
    for attribute in ["http.route=/v1/notifications", "http.response.status_code=201"] {
        assert!(request.attributes.contains(&attribute.to_owned()), "{request:?}");
    }
    let append = collector.named(TRACE, "append").remove(0);
    assert_eq!(append.parent, request.id);
    assert!(request.began <= append.began && append.ended <= request.ended, "{request:?} {append:?}");
    let event = first.events("").await.remove(0);
    assert_eq!(event["metadata"]["traceparent"], format!("00-{TRACE}-{}-01", append.id));
    for name in ["project", "mirror", "frame"] {
        for span in collector.named(TRACE, name) {
            assert_eq!(span.parent, append.id, "{span:?}");
            assert!(append.began <= span.ended && span.began <= span.ended, "{append:?} {span:?}");
            assert!(span.attributes.contains(&"tidings.position=1".to_owned()), "{span:?}");
        }
    }
    let frames = collector.named(TRACE, "frame");
    assert_ne!(frames[0].node, frames[1].node, "each node sends its own");
    let told = format!("{:?}", collector.seen);
    assert!(!told.contains("alice") && !told.contains("Hello"), "{told}");
    drop((here, there));
    drop(second);
    drop(first);
}

#[tokio::test]
async fn a_command_of_a_socket_is_a_trace_of_its_own() {
    let mut collector = Collector::start().await;
    let service = Service::start_with(&[("TIDINGS_OTLP_ENDPOINT", &collector.url())]).await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let id = service.create("alice").await;
    socket.event("notification.created").await;
    socket.send(json!({"type": "read", "id": id}).to_string()).await;
    socket.event("notification.read").await;
    let read = service.events("type=notification.read").await.remove(0);
    let traceparent = read["metadata"]["traceparent"].as_str().unwrap().to_owned();
    let trace_id = traceparent.split('-').nth(1).unwrap();
    collector.until(trace_id, "socket command", 1).await;
    collector.until(trace_id, "append", 1).await;
    collector.until(trace_id, "frame", 1).await;
    let command = collector.named(trace_id, "socket command").remove(0);
    let append = collector.named(trace_id, "append").remove(0);
    assert_eq!((command.parent.as_str(), append.parent), ("", command.id));
    assert_eq!(collector.named(trace_id, "frame")[0].parent, append.id);
}

#[tokio::test]
async fn what_is_not_sampled_leaves_nothing_behind() {
    let mut collector = Collector::start().await;
    let settings = [("TIDINGS_OTLP_ENDPOINT", collector.url()), ("TIDINGS_TRACE_SAMPLING", "0".into())];
    let service =
        Service::start_with(&settings.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    service.create("alice").await;
    create_traced(&service, &format!("00-{}-{CALLER}-00", "1".repeat(32))).await;
    create_traced(&service, "nonsense").await;
    create_traced(&service, &format!("00-{TRACE}-{CALLER}-01")).await;
    collector.until(TRACE, "POST /v1/notifications", 1).await;
    collector.until(TRACE, "mirror", 1).await;
    assert!(collector.seen.iter().all(|span| span.trace_id == TRACE), "{:#?}", collector.seen);
    let events = service.events("").await;
    let traced: Vec<bool> = events.iter().map(|it| it["metadata"]["traceparent"].is_string()).collect();
    assert_eq!(traced, [false, false, false, true]);
    // The stream says the same.
    let entries = service.mirrored_after("0", 4).await;
    let mirrored: Vec<bool> =
        entries.iter().map(|entry| entry.get::<String>("traceparent").is_some()).collect();
    assert_eq!(mirrored, traced);
}

#[tokio::test]
async fn callers_have_so_many_traced_per_second_and_no_more() {
    const CALLS: u32 = 80;
    let collector = Collector::start().await;
    let settings = [("TIDINGS_OTLP_ENDPOINT", collector.url()), ("TIDINGS_TRACE_SAMPLING", "0".into())];
    let service =
        Service::start_with(&settings.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    let headers: Vec<String> = (1..=CALLS).map(|n| format!("00-{n:032x}-{CALLER}-01")).collect();
    let began = Instant::now();
    join_all(headers.iter().map(|header| create_traced(&service, header))).await;
    let seconds = began.elapsed().as_secs_f64();
    let events = service.events("type=notification.created").await;
    let traced = events.iter().filter(|it| it["metadata"]["traceparent"].is_string()).count();
    assert_eq!(events.len(), CALLS as usize);
    assert!(traced >= 10 && traced as f64 <= 11.0 + 10.0 * seconds, "{traced} in {seconds} s");
}

#[tokio::test]
async fn without_a_collector_in_the_settings_nobody_looks_at_a_traceparent() {
    let service = Service::start().await;
    create_traced(&service, &format!("00-{TRACE}-{CALLER}-01")).await;
    assert!(service.events("").await[0]["metadata"].get("traceparent").is_none());
}

#[tokio::test]
async fn a_collector_that_is_away_or_never_answers_keeps_nobody_waiting() {
    // Accepts, and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [silent.local_addr().unwrap(), nobody] {
        let endpoint = format!("http://{address}");
        let service = Service::start_with(&[("TIDINGS_OTLP_ENDPOINT", &endpoint)]).await;
        let (mut socket, _) = Socket::of(&service, "alice").await;
        let began = Instant::now();
        for _ in 0..20 {
            service.create("alice").await;
            socket.event("notification.created").await;
        }
        assert_eq!(service.counts("alice").await, (20, 20));
        // One that waited for the collector would wait for five seconds.
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        drop(socket);
        // Ends with success, and as soon as ever: the last spans are given up.
        drop(service);
    }
}
