//! Asks a running service how it is, where there is neither shell nor curl.
//!
//! The invariant: it ends within `TIMEOUT`, and with success only if the service answered 200.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Failure;

/// Less than the 5 s that the image's health check allows.
const TIMEOUT: Duration = Duration::from_secs(4);
/// The answer is a line of JSON; whatever else listens there is not listened to for long.
const ANSWER_BYTES_MAX: u64 = 16 << 10;

/// Prints what the service says of itself. `listen` is the address it listens on.
pub async fn check(listen: SocketAddr, ready: bool) -> Result<(), Failure> {
    let address = reachable(listen);
    let path = if ready { "/health/ready" } else { "/health/live" };
    let asked = tokio::time::timeout(TIMEOUT, ask(address, path)).await;
    let answer = asked.map_err(|_| format!("http://{address}{path} does not answer"))?;
    let answer = answer.map_err(|error| format!("http://{address}{path}: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    match status {
        "200" => {
            println!("{body}");
            Ok(())
        }
        _ => Err(format!("http://{address}{path} answers {status}: {body}")),
    }
}

/// Where to connect to reach a service that listens everywhere: on this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
