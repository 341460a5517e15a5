//! E-mails whose fate nobody knows, or only later: the connection breaks when the server has all of it, or its answer is late.
//! Whether that is sent again is for the tenant to say; no other message is ever judged by it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{names, planned, put, service, story};
use crate::channel_calls;

/// What a server says of a message that it has whole.
#[derive(Clone, Copy)]
enum Verdict {
    /// It falls silent for good, and the connection ends.
    Silence,
    Says(&'static str),
    After(Duration, &'static str),
}

/// An SMTP server that says of each message what it is told to, of those after the last the same as of that.
struct Server {
    port: u16,
    /// Messages of which it has said what it has to say.
    judged: watch::Sender<usize>,
    _accepting: AbortOnDropHandle<()>,
}

impl Server {
    async fn saying(verdicts: &[Verdict]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let judged = watch::Sender::new(0);
        let (verdicts, count): (Arc<[Verdict]>, _) = (verdicts.into(), judged.clone());
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(talk(stream, verdicts.clone(), count.clone()));
            }
        });
        Self { port, judged, _accepting: AbortOnDropHandle::new(accepting) }
    }

    fn provider(&self) -> Value {
        let smtp = json!({
            "host": "127.0.0.1", "port": self.port, "security": "none", "from": "no-reply@acme.example",
        });
        json!([{"name": "main", "smtp": smtp}])
    }
}

async fn talk(stream: TcpStream, verdicts: Arc<[Verdict]>, judged: watch::Sender<usize>) -> Option<()> {
    let (reading, mut writing) = stream.into_split();
    let mut lines = BufReader::new(reading).lines();
    writing.write_all(b"220 here\r\n").await.ok()?;
    let mut in_message = false;
    while let Some(line) = lines.next_line().await.ok()? {
        if in_message {
            if line == "." {
                in_message = false;
                let number = *judged.borrow();
                let verdict = verdicts.get(number).or(verdicts.last())?;
                let said = match verdict {
                    Verdict::Silence => None,
                    Verdict::Says(said) => Some(said),
                    Verdict::After(pause, said) => {
                        tokio::time::sleep(*pause).await;
                        Some(said)
                    }
                };
                if let Some(said) = said {
                    // Nobody may be there any more.
                    let _ = writing.write_all(format!("{said}\r\n").as_bytes()).await;
                }
                judged.send_modify(|count| *count += 1);
                said?;
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
        let server = Server::saying(&[Verdict::Silence, Verdict::Says("250 2.0.0 queued")]).await;
        let email = json!({
            "providers": server.provider(),
            "semantics": semantics,
            "retry": {"schedule": "exponential", "attempts_max": 3, "base": "50ms", "cap": "200ms"},
        });
        put(&service, "/v1/channels/email", &email).await;
        let id = service.create_with(&planned("alice", json!([{"channel": "email"}]))).await;
        let events = story(&service, &id, last).await;
        assert_eq!(*server.judged.borrow(), messages, "{semantics}: {:?}", names(&events));
        let class = if semantics == "at_most_once" { "unknown" } else { "transient" };
        assert_eq!(events[2]["data"]["error"]["class"], class);
    }
}

#[tokio::test]
async fn an_answer_that_is_late_is_nobody_else_s_and_a_message_that_is_refused_says_nothing_of_the_server() {
    let service = service().await;
    let (spam, grey, queued) = ("554 5.7.1 this is spam", "451 4.7.1 greylisted", "250 2.0.0 queued");
    let late = Verdict::After(Duration::from_secs(1), "250 2.0.0 late");
    // Five failures in a row would have the server left alone.
    let grey_ones = [Verdict::Says(grey); 6];
    let verdicts = [&[late, Verdict::Says(spam)], &grey_ones[..], &[Verdict::Says(queued)]].concat();
    let server = Server::saying(&verdicts).await;
    put(&service, "/v1/channels/email", &json!({"providers": server.provider(), "timeout": "500ms"})).await;
    let to = json!({"address": "alice@b.example"});
    let failed = async |class: &str, words: &str| {
        let told = channel_calls::test(&service, "email", &to).await;
        assert_eq!((&told["outcome"], &told["error"]["class"]), (&json!("failed"), &json!(class)), "{told}");
        assert!(told["error"]["detail"].as_str().unwrap().contains(words), "{told}");
    };
    failed("transient", "no answer within 500 ms").await;
    server.judged.subscribe().wait_for(|count| *count == 1).await.unwrap();
    failed("permanent", "spam").await;
    for _ in grey_ones {
        failed("transient", "greylisted").await;
    }
    let told = channel_calls::test(&service, "email", &to).await;
    assert_eq!(told, json!({"outcome": "delivered", "provider_ref": "2.0.0 queued"}));
}
