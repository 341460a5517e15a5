//! What must cost the same when there is much of it: sockets that are silent, inboxes that are long, logs to fold anew.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::client::{Http, listen, notification};
use super::measure::{quantiles, scattered};
use super::service::Service;

const AT_ONCE: u64 = 4;

/// Creates notifications, scattered over users, in batches of 1,000.
pub async fn fill(service: &Service, notifications: u64, users: u64) {
    let sender = async |first: u64| {
        let mut http = Http::connect(service).await;
        let mut from = first * 1_000;
        while from < notifications {
            let numbers = from..notifications.min(from + 1_000);
            let bodies: Vec<String> = numbers.map(|n| notification(scattered(n, users), n)).collect();
            let body = format!(r#"{{"notifications":[{}]}}"#, bodies.join(","));
            assert_eq!(http.post("/v1/notifications/batch", &body).await, 200);
            from += AT_ONCE * 1_000;
        }
    };
    join_all((0..AT_ONCE).map(sender)).await;
}

/// Memory per socket that does nothing but listen.
pub async fn idle(service: &Service, sockets: u64) -> String {
    let warm_up = 100;
    for user in 0..warm_up {
        listen(service, user, |_| {}).await;
    }
    let before = service.resident_kib();
    for user in warm_up..warm_up + sockets {
        listen(service, user, |_| {}).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = service.resident_kib();
    format!("{:.1} KiB resident each", (after - before) as f64 / sockets as f64)
}

/// What the command says of its speed, model by model.
pub fn rebuild(service: &Service, names: &[&str]) -> String {
    let started = Instant::now();
    let said = service.run(&[&["rebuild"], names].concat());
    format!(
        "{} ({:.1} s with comparison and swap)",
        said.replace('\n', "; "),
        started.elapsed().as_secs_f64()
    )
}

/// Reading the first page, a page far back, and the counts, of the one user there is.
pub async fn pages(service: &Service) -> String {
    let mut http = Http::connect(service).await;
    let mut lines = Vec::new();
    for (what, path) in [
        ("first page", "/v1/users/user-0/inbox?limit=20"),
        ("unread", "/v1/users/user-0/inbox?limit=20&state=unread"),
        ("archived (none)", "/v1/users/user-0/inbox?limit=20&state=archived"),
        ("far back", "/v1/users/user-0/inbox?limit=20&before=20"),
        ("counts", "/v1/users/user-0/inbox/counts"),
    ] {
        let mut micros = Vec::new();
        for _ in 0..500 {
            let sent = Instant::now();
            assert_eq!(http.get(path).await, 200);
            micros.push(sent.elapsed().as_micros() as u64);
        }
        lines.push(format!("{what} {}", quantiles(micros)));
    }
    lines.join("; ")
}
