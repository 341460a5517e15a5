//! E-mail by SMTP: the words as text and HTML, under one `Message-ID` however often it is sent.
//!
//! Nothing of a message can become a header: subjects are one line, addresses were parsed, and the library encodes the rest.

use std::time::{Duration, SystemTime};

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp;
use reqwest::Url;
use tidings_domain::notification::{Failure, FailureClass};
use tidings_domain::settings::{Security, Semantics, Smtp};

use super::guard::{LookupError, OutgoingPolicy, Resolver};
use super::post::excerpt;
use super::smtp::{Connection, Connections, Server};
use super::{Message, Sent, failed};

/// Characters of a line.
const LINE_MAX: usize = 998;
/// Of HTML: arguments may stand in it a hundred times over, and servers refuse what is long.
const HTML_BYTES_MAX: usize = 1 << 20;

/// Some server that closes the connection: it is not there for any message (RFC 5321, 3.8).
const CLOSING: u16 = 421;
/// Bytes of a subject, so that its line is none too long (RFC 5322, 2.1.1) even where it cannot be broken.
const SUBJECT_BYTES_MAX: usize = 900;

pub struct Mail {
    policy: OutgoingPolicy,
    connections: Connections,
}

/// How a message leaves.
pub struct Exit<'a> {
    pub smtp: &'a Smtp,
    pub password: Option<&'a str>,
    pub semantics: Semantics,
    pub time_limit: Duration,
}

impl Mail {
    pub fn new(policy: &OutgoingPolicy) -> Self {
        Self { policy: policy.clone(), connections: Connections::new() }
    }

    pub async fn send(&self, exit: &Exit<'_>, to: &str, message: &Message) -> Sent {
        let email = match compose(exit.smtp, to, message) {
            Ok(email) => email,
            Err(why) => return failed(FailureClass::Permanent, why),
        };
        let late = format!("no answer within {} ms", exit.time_limit.as_millis());
        let begun = tokio::time::timeout(exit.time_limit, self.connected(exit, message.attempt)).await;
        let mut connection = match begun {
            Ok(Ok(connection)) => connection,
            Ok(Err(sent)) => return sent,
            Err(_) => return failed(FailureClass::Transient, late),
        };
        // From here on the server may have taken it when the answer is lost.
        let unclear = match exit.semantics {
            Semantics::AtLeastOnce => FailureClass::Transient,
            Semantics::AtMostOnce => FailureClass::Unknown,
        };
        // One that is late is closed with the message: its answer may still come.
        let answer = tokio::time::timeout(exit.time_limit, connection.send(&email)).await;
        match answer {
            Ok(Ok(response)) => {
                self.connections.bring_back(connection);
                let told: Vec<&str> = response.message().collect();
                Sent::Delivered { provider_ref: Some(excerpt(told.join(" ").as_bytes())) }
            }
            Ok(Err(error)) => judge(&error, unclear),
            Err(_) => failed(unclear, late),
        }
    }

    /// A way to the server that stands.
    async fn connected(&self, exit: &Exit<'_>, attempt: u32) -> Result<Connection, Sent> {
        let Smtp { host, port, security, .. } = exit.smtp;
        let resolver = Resolver { policy: self.policy.clone(), plain: *security == Security::None };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = resolver.addresses(bare, *port).await.map_err(|error| {
            let class = match error {
                LookupError::Refused(_) => FailureClass::Permanent,
                LookupError::Lookup(_) => FailureClass::Transient,
            };
            failed(class, error.to_string())
        })?;
        // Each attempt asks the next of a server's machines.
        let address = addresses[(attempt.saturating_sub(1) as usize) % addresses.len()].ip().to_string();
        let server = Server { smtp: exit.smtp, password: exit.password, host: bare, address };
        // The message was not named to it yet, so whatever it refuses (a password, a greeting) is no fault of the message:
        // another server may take it, or this one later.
        let connected = self.connections.connect(&server).await;
        connected.map_err(|error| failed(FailureClass::Transient, told(&error)))
    }
}

/// Whether a refusal speaks of the server rather than of the message or its recipient: by its code (RFC 5321, 4.2.3; RFC 4954,
/// 6), or by the subject of its enhanced code (RFC 3463: the mail system, the network).
fn is_of_the_server(code: u16, told: &str) -> bool {
    let is_enhanced = |word: &str| word.starts_with("4.3.") || word.starts_with("4.4.");
    matches!(code, CLOSING | 452 | 454) || told.split_whitespace().any(is_enhanced)
}

/// RFC 5321, 4.2.1: 4xx may pass, 5xx will not. Without a code nobody knows what the server did.
fn judge(error: &smtp::Error, without_code: FailureClass) -> Sent {
    let class = if error.is_permanent() || error.is_client() {
        FailureClass::Permanent
    } else if error.is_transient() {
        FailureClass::Transient
    } else {
        without_code
    };
    match error.status() {
        Some(code) if !is_of_the_server(code.into(), &told(error)) => {
            Sent::Refused { failure: Failure { class, detail: told(error) } }
        }
        _ => failed(class, told(error)),
    }
}

/// What went wrong, down to its cause.
fn told(error: &smtp::Error) -> String {
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if !told.contains(&error.to_string()) {
            told = format!("{told}: {error}");
        }
        cause = error.source();
    }
    excerpt(told.as_bytes())
}

/// The error says what cannot be sent.
fn compose(smtp: &Smtp, to: &str, message: &Message) -> Result<lettre::Message, String> {
    let from: Mailbox = smtp.from.parse().map_err(|error| format!("the sender is none: {error}"))?;
    let to = to.parse().map_err(|error| format!("the address is none: {error}"))?;
    let id = format!("<{}.{}@{}>", message.notification, message.channel.as_str(), from.email.domain());
    let mut builder = lettre::Message::builder()
        .from(from)
        .to(Mailbox::new(None, to))
        .subject(one_line(message.part("email-subject").unwrap_or(&message.words.title)))
        .date(SystemTime::from(message.created_at))
        .message_id(Some(id))
        // RFC 3834: nobody's vacation answers it.
        .raw_header(header("Auto-Submitted", "auto-generated".into()));
    if let Some(reply_to) = smtp.reply_to.as_ref().and_then(|text| text.parse().ok()) {
        builder = builder.reply_to(reply_to);
    }
    if let Some(url) = unsubscribe_url(smtp, message) {
        builder = builder.raw_header(header("List-Unsubscribe", format!("<{url}>")));
        if smtp.unsubscribe_one_click {
            let post = "List-Unsubscribe=One-Click";
            builder = builder.raw_header(header("List-Unsubscribe-Post", post.into()));
        }
    }
    let text = match message.part("email-text") {
        Some(text) => text.to_owned(),
        None => {
            let words = [Some(message.words.body.as_str()), message.words.action_url.as_deref()];
            let words: Vec<&str> = words.into_iter().flatten().filter(|text| !text.is_empty()).collect();
            words.join("\n\n")
        }
    };
    let email = match message.part("email-html").filter(|html| html.len() <= HTML_BYTES_MAX) {
        Some(html) => builder.multipart(MultiPart::alternative_plain_html(text, html.to_owned())),
        None => builder.singlepart(SinglePart::plain(text)),
    };
    email.map_err(|error| format!("it cannot be written: {error}"))
}

/// `value` is ASCII without controls.
fn header(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), value.clone(), value)
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_control() || c.is_whitespace()).collect();
    let mut line = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if line.len() > SUBJECT_BYTES_MAX {
        let end = (0..=SUBJECT_BYTES_MAX).rev().find(|end| line.is_char_boundary(*end));
        line.truncate(end.unwrap_or_default());
        line.push('…');
    }
    line
}

/// Of messages with a category that can be switched off: from anything else nobody can unsubscribe.
fn unsubscribe_url(smtp: &Smtp, message: &Message) -> Option<Url> {
    if message.critical {
        return None;
    }
    let category = percent_encoded(message.category.as_ref()?.as_str());
    let filled = smtp.unsubscribe_url.as_ref()?.replace("{category}", &category);
    let url = Url::parse(&filled.replace("{user_id}", &percent_encoded(message.user.as_str()))).ok()?;
    // No line of a message is longer (RFC 5322, 2.1.1), and a URL cannot be broken into two.
    (url.as_str().len() + "List-Unsubscribe: <>".len() <= LINE_MAX).then_some(url)
}

/// RFC 3986, 2.3: whatever is not unreserved.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    //! What an e-mail looks like, and that nothing in it becomes a header.
    #![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

    use tidings_domain::notification::Category;

    use super::super::message::sample;
    use super::*;

    fn smtp() -> Smtp {
        Smtp {
            host: "mail.acme.example".into(),
            port: 587,
            security: Security::Starttls,
            username: None,
            from: r#""Acme, Inc." <no-reply@acme.example>"#.into(),
            reply_to: Some("help@acme.example".into()),
            tls_ca: None,
            unsubscribe_url: Some("https://acme.example/u/{user_id}?c={category}".into()),
            unsubscribe_one_click: true,
        }
    }

    fn written(message: &Message) -> String {
        String::from_utf8(compose(&smtp(), "alice@b.example", message).unwrap().formatted()).unwrap()
    }

    #[test]
    fn no_subject_makes_a_line_that_is_too_long() {
        let mut message = sample();
        for unit in ["x", "ä", "x ", "😀 "] {
            message.words.title = unit.repeat(1_000);
            let email = written(&message);
            let longest = email.split("\r\n").map(str::len).max();
            assert!(longest <= Some(LINE_MAX), "{unit}: {longest:?}");
        }
    }

    #[test]
    fn a_refusal_speaks_of_the_server_by_its_code_or_its_enhanced_one() {
        for (code, told, is) in [
            (421, "transient error (421): closing", true),
            (452, "transient error (452): insufficient system storage", true),
            (454, "transient error (454): temporary authentication failure", true),
            (451, "transient error (451): 4.3.0 temporary lookup failure", true),
            (451, "transient error (451): 4.4.2 bad connection", true),
            (451, "transient error (451): 4.7.1 greylisted", false),
            (450, "transient error (450): mailbox is busy", false),
            (550, "permanent error (550): 5.1.1 no such user", false),
        ] {
            assert_eq!(is_of_the_server(code, told), is, "{told}");
        }
    }

    #[test]
    fn it_has_one_id_a_sender_an_answer_and_a_way_out() {
        let mut message = sample();
        message.category = Some(Category::new("billing".into()).unwrap());
        message.user = "al ice/ö".to_owned().try_into().unwrap();
        let email = written(&message);
        let id = format!("Message-ID: <{}.email@acme.example>\r\n", message.notification);
        for header in [
            id.as_str(),
            "Reply-To: help@acme.example\r\n",
            "To: alice@b.example\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "List-Unsubscribe: <https://acme.example/u/al%20ice%2F%C3%B6?c=billing>\r\n",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
            "Date: Sun, 22 Nov 2026 12:00:00 +0000\r\n",
        ] {
            assert!(email.contains(header), "{header} in {email}");
        }
        message.attempt = 7;
        assert_eq!(written(&message), email, "the same in each attempt");
        let ways = |message: &Message| written(message).contains("List-Unsubscribe");
        message.critical = true;
        assert!(!ways(&message), "it cannot be switched off");
        (message.critical, message.category) = (false, None);
        assert!(!ways(&message));
    }

    #[test]
    fn parts_of_a_template_take_the_place_of_the_words() {
        let mut message = sample();
        assert!(written(&message).contains("Subject: Your invoice is ready\r\n"));
        let parts =
            [("email-subject", "Invoice 7"), ("email-text", "It is due."), ("email-html", "<p>Due</p>")];
        message.parts = parts.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        let email = written(&message);
        for text in ["Subject: Invoice 7\r\n", "multipart/alternative", "It is due.", "<p>Due</p>"] {
            assert!(email.contains(text), "{text} in {email}");
        }
        message.parts.insert("email-html".into(), "x".repeat(HTML_BYTES_MAX + 1));
        let email = written(&message);
        assert!(email.contains("It is due.") && !email.contains("multipart"), "the text goes alone");
    }

    #[test]
    fn nothing_breaks_out_of_its_line() {
        let mut message = sample();
        message.words.title = "Hi\r\nBcc: eve@b.example\n\nbody".into();
        message.words.body = "one\r\n.\r\nRCPT TO:<eve@b.example>".into();
        let email = written(&message);
        let head = email.split("\r\n\r\n").next().unwrap();
        assert!(head.contains("Subject: Hi Bcc: eve@b.example body"), "{head}");
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
        assert!(compose(&smtp(), "alice@b.example\r\nBcc: eve@b.example", &message).is_err());
    }
}
