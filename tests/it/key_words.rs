//! `tidings key`, for whoever has the machine: makes, lists and revokes keys beside a running service or without one.

use std::process::Command;

use serde_json::Value;

use crate::support::{ApiKey, Ended, Service, run_to_end};

const INBOX: &str = "/v1/users/alice/inbox";

fn word(service: &Service, words: &[&str]) -> Ended {
    let mut command: Command = service.command("key");
    command.args(words);
    run_to_end(command)
}

/// The key that was printed, and what was said of it.
fn create(service: &Service, words: &[&str]) -> (ApiKey, String) {
    let ended = word(service, &[&["create", "--name", "n"], words].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let secret = ended.output.strip_suffix('\n').unwrap().to_owned();
    assert!(secret.starts_with("tdg_") && !secret.contains(char::is_whitespace), "{secret}");
    let id = ended.errors.split(' ').find(|word| word.starts_with("key_")).unwrap().to_owned();
    (ApiKey { id, secret }, ended.errors)
}

async fn status(service: &Service, key: &ApiKey) -> u16 {
    service.send(service.by(key, "GET", INBOX)).await.status
}

#[tokio::test]
async fn keys_are_made_and_revoked_beside_a_running_service() {
    let service = Service::start().await;
    let (key, told) = create(&service, &["--scope", "inbox:read", "--scope", "events:read"]);
    assert!(told.contains("default (inbox:read, events:read)"), "{told}");
    assert_eq!(status(&service, &key).await, 200);
    let (acme, _) = create(
        &service,
        &[
            "--scope",
            "admin",
            "--tenant",
            "acme",
            "--requests-per-second",
            "5",
            "--burst",
            "9",
            "--expires-in",
            "90d",
        ],
    );
    let socket = service.socket_by(&key, "alice").await;
    let ended = word(&service, &["revoke", &key.id]);
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_eq!(socket.end().await, Ok(4503));
    assert_eq!(status(&service, &key).await, 401);

    let lines: Vec<String> = word(&service, &["list"]).output.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with(&acme.id) && lines[0].contains("acme") && lines[0].contains("until"),
        "{lines:?}"
    );
    assert!(lines[1].starts_with(&key.id) && lines[1].contains("revoked"), "{lines:?}");
    assert!(lines[1].contains("inbox:read,events:read"), "{lines:?}");
    // As the API shows them.
    let printed = word(&service, &["list", "--json", "--tenant", "acme"]).output;
    let shown = service.get("/v1/keys?tenant=acme").await.json();
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), shown["keys"][0]);
    assert_eq!(
        (&shown["keys"][0]["requests_per_second"], &shown["keys"][0]["burst"]),
        (&5.into(), &9.into())
    );
}

#[tokio::test]
async fn keys_are_made_while_no_service_runs_and_on_a_database_elsewhere() {
    let mut service = Service::start().await;
    let other = service.another_node().await;
    let (key, _) = create(&other, &["--scope", "inbox:read"]);
    assert_eq!(status(&service, &key).await, 200);
    drop(other);
    service.terminate();
    let (alone, _) = create(&service, &["--scope", "inbox:read"]);
    assert!(word(&service, &["list"]).output.contains(&alone.id));
    service.start_again().await;
    assert_eq!((status(&service, &key).await, status(&service, &alone).await), (200, 200));
}

#[tokio::test]
async fn a_wrong_word_is_answered_with_one_line_that_names_it() {
    let service = Service::start().await;
    let unknown = "key_01890a5d-ac96-774b-bcce-b302099a8057";
    let long = "n".repeat(101);
    for (words, named) in [
        (vec!["create", "--name", &long, "--scope", "admin"], "name"),
        (vec!["create", "--name", "", "--scope", "admin"], "name"),
        (vec!["create", "--name", "n", "--scope", "admin", "--scope", "admin"], "scopes"),
        (vec!["create", "--name", "n", "--scope", "admin", "--tenant", "No"], "tenant"),
        (vec!["create", "--name", "n", "--scope", "admin", "--burst", "1"], "requests_per_second"),
        (
            vec!["create", "--name", "n", "--scope", "admin", "--requests-per-second", "0"],
            "requests_per_second",
        ),
        (vec!["create", "--name", "n", "--scope", "admin", "--expires-in", "0s"], "expires_at"),
        (vec!["create", "--name", "n", "--scope", "admin", "--expires-in", "4294967295w"], "9999"),
        (vec!["list", "--tenant", "No"], "tenant"),
        (vec!["revoke", unknown], unknown),
        (vec!["revoke", "root"], "ID"),
        (vec!["revoke", "tdg_x"], "ID"),
    ] {
        let ended = word(&service, &words);
        assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""), "{words:?}");
        assert!(
            ended.errors.lines().count() == 1 && ended.errors.contains(named),
            "{words:?}: {}",
            ended.errors
        );
    }
    // What the parser of the command line refuses, it explains at more length.
    for (words, named) in [
        (vec!["create", "--name", "n"], "--scope"),
        (vec!["create", "--scope", "admin"], "--name"),
        (vec!["create", "--name", "n", "--scope", "root"], "notifications:write"),
        (vec!["create", "--name", "n", "--scope", "admin", "--expires-in", "soon"], "90d"),
        (vec!["create", "--name", "n", "--scope", "admin", "--requests-per-second", "-1"], "-1"),
    ] {
        let ended = word(&service, &words);
        assert_eq!((ended.code, ended.output.as_str()), (Some(2), ""), "{words:?}");
        assert!(ended.errors.contains(named), "{words:?}: {}", ended.errors);
    }
    assert_eq!(word(&service, &["list", "--json"]).output, "");
}
