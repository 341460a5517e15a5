//! Sockets that only listen.

use futures_util::future::try_join_all;
use futures_util::{SinkExt, StreamExt};
use indicatif::ProgressBar;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::BenchError;
use super::quantity::user;
use super::target::Target;

/// Handshakes under way at a time.
const AT_ONCE: u64 = 64;
/// The library reads into 128 KiB each by default, and there are thousands.
const READ_BUFFER_BYTES: usize = 2 << 10;

/// Open sockets; they end when this is dropped.
#[derive(Default)]
pub struct Listeners {
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Listeners {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Listeners {
    /// Opens a socket for each number of the range: `user` says whose, and `on` gets every frame with the number.
    pub async fn open(
        &mut self,
        target: &Target,
        numbers: std::ops::Range<u64>,
        whose: impl Fn(u64) -> u64,
        on: impl Fn(u64, &str) + Clone + Send + 'static,
        progress: &ProgressBar,
    ) -> Result<(), BenchError> {
        progress.set_length(numbers.end - numbers.start);
        progress.set_position(0);
        progress.set_message("sockets open");
        let mut next = numbers.start;
        while next < numbers.end {
            let some = next..numbers.end.min(next + AT_ONCE);
            next = some.end;
            let opening = some.map(|number| {
                let (whose, on) = (user(whose(number)), on.clone());
                async move { Ok::<_, BenchError>((number, connect(target, &whose).await?, on)) }
            });
            for (number, socket, on) in try_join_all(opening).await? {
                self.tasks.push(tokio::spawn(listen(socket, move |frame: &str| on(number, frame))));
                progress.inc(1);
            }
        }
        Ok(())
    }
}

/// A socket that was welcomed: from here on nothing is missed.
async fn connect(target: &Target, user: &str) -> Result<WebSocketStream<TcpStream>, BenchError> {
    let url = format!("ws://{}/v1/ws?user_id={user}", target.address);
    let mut request = url.into_client_request().map_err(Box::new)?;
    let key = HeaderValue::from_str(&target.key).map_err(std::io::Error::other)?;
    request.headers_mut().insert("x-api-key", key);
    let stream = TcpStream::connect(&target.address).await?;
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    let (mut socket, _) = client_async_with_config(request, stream, Some(config)).await.map_err(Box::new)?;
    match socket.next().await {
        Some(Ok(Message::Text(_))) => Ok(socket),
        Some(Ok(Message::Close(close))) => {
            let reason =
                close.map_or_else(|| "closed".into(), |close| format!("{} {}", close.code, close.reason));
            Err(BenchError::Start(format!("a socket was refused: {reason}")))
        }
        Some(Err(error)) => Err(Box::new(error).into()),
        Some(Ok(_)) | None => Err(Box::new(Error::ConnectionClosed).into()),
    }
}

async fn listen(mut socket: WebSocketStream<TcpStream>, on: impl Fn(&str)) {
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) => on(&text),
            // The pong waits in the socket.
            Message::Ping(_) if socket.flush().await.is_err() => return,
            _ => {}
        }
    }
}
