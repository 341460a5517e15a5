//! The measurements: each gives one line.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::USERS;
use super::client::{Http, field, listen, notification, now_ns};
use super::service::Service;

/// Scatters numbers over users, the same way everywhere.
pub fn scattered(number: u64, over: u64) -> u64 {
    number.wrapping_mul(2_654_435_761) % over
}

/// Median and tails of a list of microseconds.
pub fn quantiles(mut micros: Vec<u64>) -> String {
    micros.sort_unstable();
    let at = |q: f64| micros.get(((micros.len() as f64) * q) as usize).copied().unwrap_or(0) as f64 / 1e3;
    let max = micros.last().copied().unwrap_or(0) as f64 / 1e3;
    format!("p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, max {max:.2} ms", at(0.5), at(0.9), at(0.99))
}

/// Durable single creates, `at_once` requests in flight.
pub async fn post(service: &Service, at_once: usize, seconds: u64) -> String {
    let (stop, numbers) = (AtomicBool::new(false), AtomicU64::new(0));
    let started = Instant::now();
    let client = async || {
        let (mut http, mut micros) = (Http::connect(service).await, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            let (body, sent) = (notification(scattered(number, USERS), number), Instant::now());
            assert_eq!(http.post("/v1/notifications", &body).await, 201);
            micros.push(sent.elapsed().as_micros() as u64);
        }
        micros
    };
    let end = async {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (micros, ()) = tokio::join!(join_all((0..at_once).map(|_| client())), end);
    let micros: Vec<u64> = micros.into_iter().flatten().collect();
    let rate = micros.len() as f64 / started.elapsed().as_secs_f64();
    format!("{rate:.0}/s, {}", quantiles(micros))
}

/// From sending a POST to receiving its frame: each at the right socket, once.
pub async fn end_to_end(service: &Service, sockets: u64, rate: u64, seconds: u64) -> String {
    let micros = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let wrong = Arc::new(AtomicU64::new(0));
    for user in 0..sockets {
        let (micros, seen, wrong) = (micros.clone(), seen.clone(), wrong.clone());
        let on = move |frame: &str| {
            let (Some(sent), Some(number)) = (field(frame, "t="), field(frame, ";i=")) else { return };
            micros.lock().unwrap().push(now_ns().saturating_sub(sent) / 1_000);
            if scattered(number, sockets) != user || !seen.lock().unwrap().insert(number) {
                wrong.fetch_add(1, Ordering::Relaxed);
            }
        };
        listen(service, user, on).await;
    }
    let (total, numbers, started) = (rate * seconds, AtomicU64::new(0), Instant::now());
    let sender = async || {
        let mut http = Http::connect(service).await;
        loop {
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            if number >= total {
                return;
            }
            let due = Duration::from_secs_f64(number as f64 / rate as f64);
            tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
            let body = notification(scattered(number, sockets), number);
            assert_eq!(http.post("/v1/notifications", &body).await, 201);
        }
    };
    join_all((0..32).map(|_| sender())).await;
    let took = started.elapsed();
    let deadline = Instant::now() + Duration::from_secs(20);
    while (seen.lock().unwrap().len() as u64) < total && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let missing = total - seen.lock().unwrap().len() as u64;
    let (wrong, rate) = (wrong.load(Ordering::Relaxed), total as f64 / took.as_secs_f64());
    let micros = std::mem::take(&mut *micros.lock().unwrap());
    format!("{rate:.0}/s, missing {missing}, twice or misrouted {wrong}, {}", quantiles(micros))
}

/// Batches of 1,000, with an urgent single notification now and then.
pub async fn batch(service: &Service, batches: u64, at_once: usize) -> String {
    let (next, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let urgent = Arc::new(Mutex::new(Vec::new()));
    let arrived = Arc::new(tokio::sync::Notify::new());
    let (micros, arrival) = (urgent.clone(), arrived.clone());
    listen(service, USERS, move |frame| {
        if let Some(sent) = field(frame, "t=") {
            micros.lock().unwrap().push(now_ns().saturating_sub(sent) / 1_000);
            arrival.notify_one();
        }
    })
    .await;
    let started = Instant::now();
    let sender = async || {
        let mut http = Http::connect(service).await;
        loop {
            let batch = next.fetch_add(1, Ordering::Relaxed);
            if batch >= batches {
                return;
            }
            let numbers = batch * 1_000..(batch + 1) * 1_000;
            let notifications: Vec<String> =
                numbers.map(|number| notification(scattered(number, USERS), number)).collect();
            let body = format!(r#"{{"notifications":[{}]}}"#, notifications.join(","));
            assert_eq!(http.post("/v1/notifications/batch", &body).await, 200);
        }
    };
    let senders = async {
        join_all((0..at_once).map(|_| sender())).await;
        done.store(true, Ordering::Relaxed);
        started.elapsed()
    };
    let singles = async {
        let mut http = Http::connect(service).await;
        while !done.load(Ordering::Relaxed) {
            assert_eq!(http.post("/v1/notifications", &notification(USERS, 0)).await, 201);
            arrived.notified().await;
        }
    };
    let (took, ()) = tokio::join!(senders, singles);
    let rate = (batches * 1_000) as f64 / took.as_secs_f64();
    let urgent = std::mem::take(&mut *urgent.lock().unwrap());
    format!("{rate:.0} notifications/s; urgent singles meanwhile ({}): {}", urgent.len(), quantiles(urgent))
}
