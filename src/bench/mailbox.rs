//! Somebody's mail server, as far as a measurement needs one: it takes every message at once, and tells whom it saw.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::BenchError;

pub struct Mailbox {
    pub address: SocketAddr,
    _accepting: AbortOnDropHandle<()>,
}

impl Mailbox {
    /// Tells the subject of each message when it has the whole of it.
    pub async fn open(seen: impl Fn(&str) + Send + Sync + 'static) -> Result<Self, BenchError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, seen) = (listener.local_addr()?, Arc::new(seen));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = seen.clone();
                // It ends with the client.
                tokio::spawn(async move { talk(stream, seen.as_ref()).await });
            }
        });
        Ok(Self { address, _accepting: AbortOnDropHandle::new(accepting) })
    }
}

/// RFC 5321, of which it says yes to everything.
async fn talk(stream: TcpStream, seen: &impl Fn(&str)) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (reading, mut writing) = stream.into_split();
    let mut lines = BufReader::new(reading).lines();
    let (mut in_message, mut subject) = (false, String::new());
    writing.write_all(b"220 mailbox\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let answer: &[u8] = if in_message {
            if let Some(text) = line.strip_prefix("Subject: ") {
                subject = text.to_owned();
            }
            in_message = line != ".";
            if in_message {
                continue;
            }
            seen(&subject);
            b"250 2.0.0 taken\r\n"
        } else {
            in_message = line.eq_ignore_ascii_case("DATA");
            if in_message { b"354 go on\r\n" } else { b"250 ok\r\n" }
        };
        writing.write_all(answer).await?;
    }
    Ok(())
}
