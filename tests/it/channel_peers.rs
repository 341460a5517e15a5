//! Channels against what others made: a real SMTP server, and the official verifier of Standard Webhooks.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::channel_calls::{LOOPBACK, NEXT_SECRET, OK, SECRET, Server, body, header, test, webhook};
use crate::generated_clients::{Python, missing};
use crate::support::Service;

/// A program that answers by lines.
pub struct Script {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Script {
    pub fn start(mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub fn ask(&mut self, line: &Value) -> String {
        writeln!(self.process.stdin.as_mut().unwrap(), "{line}").unwrap();
        self.line()
    }
}

impl Drop for Script {
    /// It ends with what it reads.
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

pub fn python(script: &str) -> Option<Command> {
    let mut command = Python::find()?.program("python");
    command.arg(file(&format!("tests/channels/{script}")));
    Some(command)
}

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[tokio::test]
async fn a_real_smtp_server_takes_e_mail_after_starttls_and_a_login() {
    let Some(mut command) = python("smtp_server.py") else { return missing("the Python packages") };
    command.arg(file("tests/keys/mail.pem"));
    let mut server = Script::start(command);
    let port = serde_json::from_str::<Value>(&server.line()).unwrap()["port"].clone();
    let service = Service::start_with(&[LOOPBACK]).await;
    let smtp = json!({
        "host": "localhost",
        "port": port,
        "security": "starttls",
        "username": "tidings",
        "password": "hush",
        "from": "Acme <no-reply@acme.example>",
        "tls_ca": std::fs::read_to_string(file("tests/keys/mail_ca.pem")).unwrap(),
    });
    let configure = async |smtp: Value| {
        let body = json!({"providers": [{"name": "main", "smtp": smtp}], "timeout": "10s"});
        let put = service.request("PUT", "/v1/channels/email").json(&body);
        service.send(put.header("x-api-key", service.root_key())).await.expect(200);
    };
    configure(smtp.clone()).await;
    let no_address = json!({"outcome": "skipped", "reason": "no_address"});
    assert_eq!(test(&service, "email", &Value::Null).await, no_address);

    let asked = json!({"address": "alice@b.example", "title": "Größe & Co.", "body": ".\nWie geht es?"});
    let told = test(&service, "email", &asked).await;
    assert_eq!(told, json!({"outcome": "delivered", "provider_ref": "2.0.0 queued as 7"}));
    let email: Value = serde_json::from_str(&server.line()).unwrap();
    assert_eq!(
        (&email["from"], &email["to"]),
        (&json!("no-reply@acme.example"), &json!(["alice@b.example"]))
    );
    let headers = &email["headers"];
    assert_eq!(headers["Subject"], "Größe & Co.");
    assert_eq!(
        (&headers["From"], &headers["To"]),
        (&json!("Acme <no-reply@acme.example>"), &json!("alice@b.example"))
    );
    let id = headers["Message-ID"].as_str().unwrap();
    assert!(id.starts_with("<ntf_") && id.ends_with(".email@acme.example>"), "{id}");
    let text = email["parts"]["text/plain"].as_str().unwrap().replace("\r\n", "\n");
    assert_eq!(text.trim_end(), ".\nWie geht es?");

    for (address, class, words) in [
        ("nobody@b.example", "permanent", "no such user"),
        ("busy@b.example", "transient", "try again later"),
    ] {
        let told = test(&service, "email", &json!({"address": address})).await;
        let detail = told["error"]["detail"].as_str().unwrap();
        assert!(told["error"]["class"] == class && detail.contains(words), "{told}");
    }
    let refused = async |member: &str, value: Value| {
        let mut smtp = smtp.clone();
        smtp[member] = value;
        configure(smtp).await;
        test(&service, "email", &asked).await["error"].clone()
    };
    assert_eq!(refused("password", json!("wrong")).await["class"], "transient", "no fault of the message");
    assert_eq!(refused("tls_ca", Value::Null).await["class"], "transient", "nobody vouches for it");
}

#[tokio::test]
async fn the_official_verifier_takes_our_webhooks_by_either_secret_while_they_overlap() {
    let Some(command) = python("verify_webhook.py") else { return missing("the Python packages") };
    let mut verifier = Script::start(command);
    let service = Service::start_with(&[LOOPBACK]).await;
    let mut server = Server::saying(OK).await;
    let mut verdicts = |request: &str| {
        let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
        let headers: serde_json::Map<String, Value> =
            names.iter().map(|name| ((*name).to_owned(), header(request, name).into())).collect();
        let body = request.split_once("\r\n\r\n").unwrap().1;
        [SECRET, NEXT_SECRET].map(|secret| {
            verifier.ask(&json!({"secret": secret, "headers": headers, "body": body})) == "good"
        })
    };
    webhook(&service, &server.url, json!({"secret": SECRET})).await;
    test(&service, "webhook", &json!({"title": "Grüße"})).await;
    let request = server.request().await;
    assert_eq!(body(&request)["data"]["title"], "Grüße");
    assert_eq!(verdicts(&request), [true, false]);
    webhook(&service, &server.url, json!({"secret": NEXT_SECRET})).await;
    test(&service, "webhook", &Value::Null).await;
    assert_eq!(verdicts(&server.request().await), [true, true]);
    webhook(&service, &server.url, json!({"secret": SECRET, "overlap": "0s"})).await;
    test(&service, "webhook", &Value::Null).await;
    assert_eq!(verdicts(&server.request().await), [true, false]);
}
