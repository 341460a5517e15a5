//! Paths and methods that are not there, and pages of other origins.

use super::{NOT_FOUND, Refusal, Refusing};
use crate::support::Service;

#[tokio::test]
async fn what_is_not_there_is_a_problem_like_any_other() {
    let mut refusing = Refusing::start().await;
    let below = format!("/v1/notifications/{}/shred", refusing.id);
    for path in ["/", "/nothing", "/v1", "/v1/nothing", "/v2/notifications", "/v1/users", "/health", &below] {
        let get = refusing.get(path);
        refusing.refuse(&format!("GET {path}"), get, NOT_FOUND).await;
        let post = refusing.post(path).json(&serde_json::json!({}));
        refusing.refuse(&format!("POST {path}"), post, NOT_FOUND).await;
        let bare = refusing.service.request("GET", path);
        refusing.refuse(&format!("{path} without credentials"), bare, NOT_FOUND).await;
    }
    refusing.finish().await;
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_a_problem_like_any_other() {
    let mut refusing = Refusing::start().await;
    let key = refusing.service.root_key();
    let (one, read) =
        (format!("/v1/notifications/{}", refusing.id), format!("/v1/notifications/{}/read", refusing.id));
    for (method, path) in [
        ("PUT", "/v1/notifications"),
        ("DELETE", &one),
        ("PATCH", &one),
        ("GET", &read),
        ("POST", "/v1/users/alice/inbox"),
        ("POST", "/v1/users/alice/inbox/stream"),
        ("POST", "/v1/ws"),
        ("DELETE", "/v1/events"),
        ("POST", "/health/ready"),
        ("TRACE", "/v1/events"),
        ("BREW", "/v1/events"),
    ] {
        let request = refusing.service.request(method, path).header("x-api-key", &key);
        let expected = Refusal(405, "method-not-allowed", &[]);
        refusing.refuse(&format!("{method} {path}"), request, expected).await;
    }
    for (path, methods) in [
        ("/v1/notifications", "POST, GET"),
        ("/v1/notifications/batch", "POST"),
        (&one, "GET"),
        (&read, "POST"),
        ("/v1/ws", "GET, HEAD"),
        ("/health/live", "GET, HEAD"),
    ] {
        let request = refusing.service.request("PATCH", path).header("x-api-key", &key);
        let answer = refusing.service.send(request).await.expect(405);
        assert_eq!(answer.header("allow"), Some(methods), "{path}");
    }
    refusing.finish().await;
}

#[tokio::test]
async fn pages_of_listed_origins_may_call_and_see_the_headers_of_the_answer() {
    let settings = [("TIDINGS_ALLOWED_ORIGINS", "https://app.example.com")];
    let service = Service::start_with(&settings).await;
    let ask = async |origin: &str| {
        let preflight = service
            .request("OPTIONS", "/v1/notifications")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "x-api-key,content-type,idempotency-key");
        service.send(preflight).await
    };
    for allowed in ["https://app.example.com", "http://localhost:5173"] {
        let preflight = ask(allowed).await;
        assert!((200..300).contains(&preflight.status), "{preflight:?}");
        assert_eq!(preflight.header("access-control-allow-origin"), Some(allowed));
        let request =
            service.posting("/v1/notifications", &crate::support::note("alice")).header("origin", allowed);
        let answer = service.send(request).await.expect(201);
        assert_eq!(answer.header("access-control-allow-origin"), Some(allowed));
        let exposed = answer.header("access-control-expose-headers").unwrap().to_lowercase();
        for name in ["tidings-cursor", "idempotent-replayed", "retry-after", "x-request-id"] {
            assert!(exposed.contains(name), "{name} in {exposed}");
        }
        // A problem is readable, too.
        let refused = service.request("GET", "/v1/events").header("origin", allowed);
        let refused = service.send(refused).await.expect(401);
        assert_eq!(refused.header("access-control-allow-origin"), Some(allowed));
    }
    for foreign in ["https://evil.example", "https://app.example.com.evil.example", "null"] {
        assert_eq!(ask(foreign).await.header("access-control-allow-origin"), None, "{foreign}");
    }

    // A page of the service itself, such as its documentation, sends its origin with every POST.
    let own = service.url("");
    let request = service.posting("/v1/notifications", &crate::support::note("alice")).header("origin", own);
    service.send(request).await.expect(201);
}
