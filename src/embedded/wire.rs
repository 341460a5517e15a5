//! Just enough of the Postgres protocol (version 3.0, "Message Flow" in its manual) to ask "are you ready?" and to create the database.
//!
//! The invariant: it trusts nobody with memory. A message longer than a server's greeting can be is an error.

use std::io;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const PROTOCOL: u32 = 3 << 16;
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// What the server said no with.
#[derive(Debug)]
pub(super) struct Refusal {
    /// SQLSTATE.
    pub code: String,
    pub message: String,
}

pub(super) struct Session {
    stream: UnixStream,
}

impl Session {
    /// Connects without a password. The outer error is the socket's, the inner one the server's.
    pub async fn open(socket: &Path, user: &str, database: &str) -> io::Result<Result<Self, Refusal>> {
        let mut body = PROTOCOL.to_be_bytes().to_vec();
        for text in ["user", user, "database", database, ""] {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        let mut session = Self { stream: UnixStream::connect(socket).await? };
        session.stream.write_all(&with_length(&body)).await?;
        Ok(session.until_ready().await?.map(|()| session))
    }

    pub async fn execute(&mut self, sql: &str) -> io::Result<Result<(), Refusal>> {
        let mut message = vec![b'Q'];
        message.extend(with_length(&[sql.as_bytes(), &[0]].concat()));
        self.stream.write_all(&message).await?;
        self.until_ready().await
    }

    /// Reads until the server waits for us, or has refused.
    async fn until_ready(&mut self) -> io::Result<Result<(), Refusal>> {
        loop {
            let kind = self.stream.read_u8().await?;
            let length = self.stream.read_u32().await? as usize;
            if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut body = vec![0; length - 4];
            self.stream.read_exact(&mut body).await?;
            match kind {
                b'Z' => return Ok(Ok(())),
                b'E' => return Ok(Err(Refusal { code: field(&body, b'C'), message: field(&body, b'M') })),
                b'R' if body != [0; 4] => {
                    let message = "it asks for a password: pg_hba.conf was changed".into();
                    return Ok(Err(Refusal { code: "28000".into(), message }));
                }
                _ => {} // parameters, notices, results
            }
        }
    }
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let length = body.len() as u32 + 4;
    [&length.to_be_bytes(), body].concat()
}

/// A field of an ErrorResponse: each is one byte of kind and a text that ends in a zero.
fn field(body: &[u8], kind: u8) -> String {
    let found = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&kind));
    found.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).unwrap_or_default()
}
