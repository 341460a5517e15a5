//! `tidings template`: templates that are kept as files are checked where they are, and published as they stand.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Ended, Service, run_to_end};

/// A folder with one sound template in two languages.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "hello/template.toml", "default_locale = \"en\"\n[arguments]\nwho = \"string\"\n");
    write(folder.path(), "hello/en.ftl", "title = Hello { $who }\n");
    write(folder.path(), "hello/de-AT.ftl", "title = Servus { $who }\n");
    write(folder.path(), "README.md", "Words.\n");
    folder
}

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn word(service: &Service, words: &[&str], folder: &Path) -> Ended {
    let mut command = service.command("template");
    command.args(words).arg(folder);
    run_to_end(command)
}

fn push(service: &Service, folder: &Path) -> Ended {
    word(service, &["push", "--url", &service.url(""), "--api-key", &service.root_key()], folder)
}

#[tokio::test]
async fn what_is_sound_is_published_once_and_again_when_it_changes() {
    let (service, folder) = (Service::start().await, folder());
    let checked = word(&service, &["check"], folder.path());
    assert_eq!(
        (checked.code, checked.output.as_str()),
        (Some(0), "1 template is sound\n"),
        "{}",
        checked.errors
    );
    for _ in 0..2 {
        let pushed = push(&service, folder.path());
        assert_eq!(
            (pushed.code, pushed.output.as_str()),
            (Some(0), "hello is at version 1\n"),
            "{}",
            pushed.errors
        );
    }
    write(folder.path(), "hello/en.ftl", "title = Hi { $who }\n");
    assert_eq!(push(&service, folder.path()).output, "hello is at version 2\n");
    write(folder.path(), "hello/de-AT.ftl", "\u{feff}title = Servus { $who }\n");
    assert_eq!(
        push(&service, folder.path()).output,
        "hello is at version 3\n",
        "a byte order mark is no word"
    );
    let asked = json!({"locale": "de-AT", "args": {"who": "Ada"}});
    let seen = service.post("/v1/templates/hello/preview", &asked).await.expect(200).json();
    assert_eq!(seen, json!({"locale": "de-AT", "parts": {"title": "Servus Ada"}}));
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_file_line_and_column_and_nothing_is_published() {
    let (service, folder) = (Service::start().await, folder());
    write(folder.path(), "hello/de-AT.ftl", "title = Servus\nbody = { $whom }\n");
    write(folder.path(), "bye/template.toml", "default_locale = \"en\"\n");
    write(folder.path(), "bye/en.ftl", "title = Bye\nbody = { broken\n");
    for words in [&["check"][..], &["push", "--api-key", "k", "--url", "http://127.0.0.1:9"]] {
        let ended = word(&service, words, folder.path());
        assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""), "{}", ended.errors);
        for line in ["/hello/de-AT.ftl:2:10: `$whom` is no argument of this template", "/bye/en.ftl:3:1: "] {
            assert!(ended.errors.contains(line), "{line} in {}", ended.errors);
        }
    }
    assert_eq!(service.events("").await.len(), 0);
}

#[tokio::test]
async fn files_that_are_none_and_a_service_that_refuses_are_told_in_a_line() {
    let (service, folder) = (Service::start().await, folder());
    let told = |ended: Ended, words: &str| {
        assert_eq!(ended.code, Some(1), "{}", ended.errors);
        assert!(ended.errors.contains(words), "{words} in {}", ended.errors);
        assert_eq!(ended.errors.trim().lines().count(), 1, "{}", ended.errors);
    };
    told(word(&service, &["check"], &folder.path().join("none")), "No such file or directory");
    told(
        word(&service, &["check"], tempfile::tempdir().unwrap().path()),
        "no folder in it has a template.toml",
    );
    let guess = ["push", "--url", &service.url(""), "--api-key", "a-guess"];
    told(word(&service, &guess, folder.path()), "hello was not published: 401");
    write(folder.path(), "hello/template.toml", "default_locale = \"en\"\nwho = 1\n");
    told(word(&service, &["check"], folder.path()), "hello/template.toml:2:1: unknown field `who`");
    write(folder.path(), "hello/template.toml", "default_locale = \"en\"\n[arguments]\nwho = \"float\"\n");
    told(word(&service, &["check"], folder.path()), "hello/template.toml:3:7: unknown variant `float`");
    write(folder.path(), "hello/template.toml", "default_locale = \"fr\"\n");
    told(word(&service, &["check"], folder.path()), "must have one of the default locale");
    fs::remove_file(folder.path().join("hello/template.toml")).unwrap();
    told(word(&service, &["check"], folder.path()), "/hello: has sources, and no template.toml");
    write(folder.path(), "Hello/template.toml", "default_locale = \"en\"\n");
    fs::remove_dir_all(folder.path().join("hello")).unwrap();
    told(word(&service, &["check"], folder.path()), "a template's key is 1 to 128 characters");
}
