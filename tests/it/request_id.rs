//! Request ids: on every answer, whatever it says, and in the events that the request caused.

use crate::support::{Service, note};

#[tokio::test]
async fn every_answer_carries_the_id_of_its_request() {
    let service = Service::start().await;
    let key = service.root_key();
    for (method, path, status) in [
        ("GET", "/v1/users/alice/inbox", 200),
        ("GET", "/v1/events?limit=0", 400),
        ("GET", "/v1/nothing", 404),
        ("PUT", "/v1/events", 405),
        ("POST", "/v1/notifications", 415),
        ("GET", "/health/ready", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/v1/ws", 400),
    ] {
        let request = || service.request(method, path).header("x-api-key", &key);
        let given = service.send(request().header("x-request-id", "order-7/b")).await.expect(status);
        assert_eq!(given.header("x-request-id"), Some("order-7/b"), "{method} {path}");
        let fresh = service.send(request()).await.expect(status);
        assert_eq!(fresh.header("x-request-id").map(str::len), Some(36), "{method} {path}");
    }
    let stranger = service.send(service.request("GET", "/v1/events")).await.expect(401);
    assert_eq!(stranger.header("x-request-id").map(str::len), Some(36));
}

#[tokio::test]
async fn an_id_that_is_no_good_is_replaced_by_one_that_the_events_have_too() {
    let service = Service::start().await;
    let long = "x".repeat(129);
    let mut answered = Vec::new();
    for id in [&b""[..], b"a b", long.as_bytes(), b"\xff", b"good-1"] {
        let request = service.posting("/v1/notifications", &note("alice")).header("x-request-id", id);
        let answer = service.send(request).await.expect(201);
        answered.push(answer.header("x-request-id").unwrap().to_owned());
    }
    let events = service.events("").await;
    let recorded: Vec<&str> =
        events.iter().map(|event| event["metadata"]["request_id"].as_str().unwrap()).collect();
    assert_eq!(recorded, answered);
    assert_eq!(recorded[4], "good-1");
    assert!(recorded[..4].iter().all(|id| id.len() == 36), "{recorded:?}");
}

#[tokio::test]
async fn a_fault_of_the_service_has_an_id_to_report_it_with() {
    let service = Service::start().await;
    let mut sql = service.sql().await;
    sqlx::query("ALTER TABLE inbox_v1.counters RENAME TO mislaid").execute(&mut sql).await.unwrap();
    let read = service.request("GET", "/v1/users/alice/inbox/counts").header("x-api-key", service.root_key());
    let answer = service.send(read.header("x-request-id", "order-7")).await;
    assert_eq!(answer.problem(500), "internal");
    assert_eq!(answer.header("x-request-id"), Some("order-7"));
    assert!(!answer.body.contains("counters"), "internals stay inside: {answer:?}");
}
