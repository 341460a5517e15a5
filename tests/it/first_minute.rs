//! The first minute with Tidings: what the service prints works as it is printed.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use serde_json::Value;

use crate::support::{PATIENCE, Service, lines_of, run_to_end};

/// The shell commands in what was printed: a line that begins with `curl`, and the lines that continue it.
fn commands_in(printed: &[String]) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut continues = false;
    for line in printed {
        match commands.last_mut() {
            Some(command) if continues => *command += &format!("\n{line}"),
            _ if line.trim_start().starts_with("curl") => commands.push(line.clone()),
            _ => {}
        }
        continues = line.ends_with('\\');
    }
    commands
}

fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null());
    shell
}

/// A shell command that goes on until the service ends.
fn watch(command: &str) -> (Child, Receiver<String>) {
    let mut child = shell(command).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = lines_of(child.stdout.take().unwrap());
    (child, lines)
}

fn line_with(lines: &Receiver<String>, text: &str) -> String {
    loop {
        let line =
            lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("a line with {text:?} should come"));
        if line.contains(text) {
            return line;
        }
    }
}

fn output(command: &str) -> Value {
    let ended = run_to_end(shell(command));
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    serde_json::from_str(&ended.output).unwrap_or_else(|error| panic!("{error}: {}", ended.output))
}

#[tokio::test]
async fn the_printed_commands_work_word_for_word() {
    let mut service = Service::start().await;
    let commands = commands_in(&service.lines_to("/docs"));
    let [create, stream, look] = commands.as_slice() else {
        panic!("three commands are printed: {commands:?}")
    };

    let (mut curl, lines) = watch(stream);
    line_with(&lines, "event: welcome");
    let created = output(create);
    assert!(created["id"].as_str().unwrap().starts_with("ntf_"), "{created}");
    line_with(&lines, "event: event");
    let data = line_with(&lines, "data: ");
    let frame: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(frame["notification"]["title"], "Hello Alice");
    assert_eq!((&frame["notification"]["id"], &frame["unread"]), (&created["id"], &1.into()));

    // The stream has shown it, so the inbox has it.
    let inbox = output(look);
    assert_eq!(inbox["items"][0]["id"], created["id"]);
    assert_eq!((&inbox["unread"], &inbox["unseen"]), (&1.into(), &1.into()));

    service.terminate();
    assert!(curl.wait().unwrap().code().is_some(), "the stream ends with the service");
}

#[tokio::test]
async fn health_docs_and_the_document_answer_without_credentials() {
    let service = Service::start().await;
    for (path, kind, text) in [
        ("/health/live", "application/json", "alive"),
        ("/health/ready", "application/json", "ready"),
        ("/docs", "text/html", "<html"),
        ("/openapi.json", "application/json", "/v1/notifications/batch"),
    ] {
        let answer = service.send(service.request("GET", path)).await.expect(200);
        assert!(
            answer.header("content-type").is_some_and(|found| found.starts_with(kind)),
            "{path}: {answer:?}"
        );
        assert!(answer.body.contains(text), "{path}");
    }
}

#[tokio::test]
async fn a_printed_token_is_one_that_the_token_command_prints_too() {
    let service = Service::start().await;
    let mut command = service.command("token");
    command.args(["--user", "alice"]);
    let ended = run_to_end(command);
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
    let request = service.as_user(ended.output.trim(), "GET", "/v1/users/alice/inbox");
    assert_eq!(service.send(request).await.expect(200).json()["unread"], 0);
}
