//! E-mails whose fate nobody knows: the connection breaks when the server has all of it. Whether that is sent again is for
//! the tenant to say.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::{names, planned, put, service, story};

/// An SMTP server that takes messages, and falls silent for good once it has the first whole.
struct Forgetful {
    port: u16,
    /// Messages that it has whole.
    taken: Arc<AtomicUsize>,
    _accepting: AbortOnDropHandle<()>,
}

impl Forgetful {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::new(AtomicUsize::new(0));
        let count = taken.clone();
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(talk(stream, count.clone()));
            }
        });
        Self { port, taken, _accepting: AbortOnDropHandle::new(accepting) }
    }
}

/// Ends, and with it the connection, after the first message.
async fn talk(stream: TcpStream, taken: Arc<AtomicUsize>) -> Option<()> {
    let (reading, mut writing) = stream.into_split();
    let mut lines = BufReader::new(reading).lines();
    writing.write_all(b"220 forgetful\r\n").await.ok()?;
    let mut in_message = false;
    while let Some(line) = lines.next_line().await.ok()? {
        if in_message {
            if line == "." {
                in_message = false;
                if taken.fetch_add(1, Ordering::SeqCst) == 0 {
                    return None;
                }
                writing.write_all(b"250 2.0.0 queued\r\n").await.ok()?;
            }
            continue;
        }
        in_message = line.eq_ignore_ascii_case("DATA");
        let answer: &[u8] = if in_message { b"354 go on\r\n" } else { b"250 ok\r\n" };
        writing.write_all(answer).await.ok()?;
    }
    Some(())
}

#[tokio::test]
async fn an_e_mail_whose_answer_is_lost_is_sent_again_or_never_as_the_tenant_says() {
    let service = service().await;
    put(&service, "/v1/users/alice", &json!({"addresses": {"email": "alice@b.example"}})).await;
    for (semantics, last, messages) in
        [("at_most_once", "delivery.dead_lettered", 1), ("at_least_once", "delivery.succeeded", 2)]
    {
        let server = Forgetful::start().await;
        let smtp = json!({
            "host": "127.0.0.1", "port": server.port, "security": "none", "from": "no-reply@acme.example",
        });
        let email = json!({
            "providers": [{"name": "main", "smtp": smtp}],
            "semantics": semantics,
            "retry": {"schedule": "exponential", "attempts_max": 3, "base": "50ms", "cap": "200ms"},
        });
        put(&service, "/v1/channels/email", &email).await;
        let id = service.create_with(&planned("alice", json!([{"channel": "email"}]))).await;
        let events = story(&service, &id, last).await;
        assert_eq!(server.taken.load(Ordering::SeqCst), messages, "{semantics}: {:?}", names(&events));
        let class = if semantics == "at_most_once" { "unknown" } else { "transient" };
        assert_eq!(events[2]["data"]["error"]["class"], class);
    }
}
