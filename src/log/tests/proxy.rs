//! A wire to Postgres that can be cut: it forwards until told to swallow the next answer and hang up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

#[derive(Clone, Default)]
pub struct Scissors {
    swallow_next_answer: Arc<AtomicBool>,
    cut_now: Arc<Notify>,
}

impl Scissors {
    /// The next answer of the server is read and thrown away, and the client's connection ends.
    pub fn swallow_next_answer(&self) {
        self.swallow_next_answer.store(true, Ordering::SeqCst);
    }

    /// All open connections end, towards both sides.
    pub fn cut(&self) {
        self.cut_now.notify_waiters();
    }
}

/// Listens in `folder` and forwards to the socket that `options` name.
pub fn through(folder: &Path, options: &PgConnectOptions, scissors: Scissors) -> PgConnectOptions {
    let target = options.get_socket().expect("an embedded Postgres listens on a socket");
    let target = target.join(format!(".s.PGSQL.{}", options.get_port()));
    let listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).expect("the folder is ours");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(forward(client, target.clone(), scissors.clone()));
        }
    });
    options.clone().socket(folder).port(5432)
}

async fn forward(mut client: UnixStream, target: PathBuf, scissors: Scissors) {
    let Ok(mut server) = UnixStream::connect(target).await else { return };
    let (mut to_server, mut to_client) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut to_server) => match read {
                Ok(n) if n > 0 && server.write_all(&to_server[..n]).await.is_ok() => {}
                _ => return,
            },
            read = server.read(&mut to_client) => match read {
                Ok(_) if scissors.swallow_next_answer.swap(false, Ordering::SeqCst) => return,
                Ok(n) if n > 0 && client.write_all(&to_client[..n]).await.is_ok() => {}
                _ => return,
            },
            () = scissors.cut_now.notified() => return,
        }
    }
}
