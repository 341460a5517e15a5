//! A TCP connection that is closed the way a peer can follow: our end first, then what it is still sending is read
//! and dropped for a moment. Closing with bytes unread makes the kernel answer with a reset, and a reset destroys
//! what the peer has not read yet: the reason in a close frame, the problem about a body that is too large.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// How long, and how much, a peer may go on sending to an end that does not listen any more.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 16 << 20;
const DROPPED_AT_ONCE_BYTES: usize = 16 << 10;

pub struct Connection {
    /// There until the connection is dropped.
    stream: Option<TcpStream>,
    /// The peer has sent its last byte, or the network failed: nobody is left to read a last word.
    ended: bool,
}

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream: Some(stream), ended: false }
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.stream.as_mut().expect("only the drop of a connection takes its stream"))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take().filter(|_| !self.ended) else { return };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(linger(stream));
        }
    }
}

async fn linger(mut stream: TcpStream) {
    let drain = async {
        stream.shutdown().await?;
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            stream.readable().await?;
            match stream.try_read(&mut [0; DROPPED_AT_ONCE_BYTES]) {
                Ok(0) => break,
                Ok(bytes) => left = left.saturating_sub(bytes),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    // However it ends, the connection is over.
    let _ = tokio::time::timeout(LINGER_TIMEOUT, drain).await;
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buf.remaining();
        let read = self.stream().poll_read(cx, buf);
        if let Poll::Ready(result) = &read {
            self.ended |= result.is_err() || (before > 0 && buf.remaining() == before);
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        self.stream().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.stream().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.stream().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(TcpStream::is_write_vectored)
    }
}
