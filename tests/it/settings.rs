//! Settings that are wrong, each in every place it can come from: one line that names the place, and nothing begun.
//!
//! The settings are those that the help lists, so a new one cannot be forgotten.

use std::path::Path;
use std::process::Command;

use crate::support::{Ended, run_to_end, tidings};

/// Gives a setting to a start.
type Put<'a> = &'a dyn Fn(&mut Command);

/// What a setting cannot be; nothing where any text is good.
fn wrong(variable: &str) -> Option<&'static str> {
    match variable {
        "TIDINGS_LISTEN" => Some("everywhere"),
        "TIDINGS_DATABASE_URL" => Some("mysql://u:hunter2@localhost"),
        "TIDINGS_REDIS_URL" => Some("hunter2@localhost:6379"),
        "TIDINGS_ROOT_API_KEY" | "TIDINGS_JWT_SECRET" | "TIDINGS_MASTER_KEY" => Some("hunter2"),
        "TIDINGS_JWKS" => Some("https://u:hunter2@login.example.com/jwks.json"),
        "TIDINGS_ALLOWED_ORIGINS" => Some("example.com"),
        "TIDINGS_DATABASE_CONNECTIONS_MAX"
        | "TIDINGS_CONNECTIONS_PER_USER"
        | "TIDINGS_DISPATCH_CONCURRENCY" => Some("0"),
        "TIDINGS_OUTGOING_ALLOW_PRIVATE" => Some("10.0.0.0/33"),
        "TIDINGS_OTLP_ENDPOINT" => Some("collector:4318"),
        "TIDINGS_TRACE_SAMPLING" => Some("1.1"),
        "TIDINGS_LOG_FORMAT" => Some("xml"),
        "TIDINGS_LOG_LEVEL" => Some("inof"),
        "TIDINGS_DATA_DIR" | "TIDINGS_JWT_AUDIENCE" | "TIDINGS_JWT_ISSUER" => None,
        new => panic!("say here what {new} cannot be"),
    }
}

/// The variables that the help of `serve` names.
fn settings() -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tidings("serve", folder.path(), &[]);
    command.arg("--help");
    let help = run_to_end(command).output;
    let named = help.split("[env:").skip(1).map(|rest| rest.split(']').next().unwrap().trim().to_owned());
    let settings: Vec<String> = named.filter(|name| name != "TIDINGS_CONFIG").collect();
    assert!(settings.len() >= 15 && settings.iter().all(|name| name.starts_with("TIDINGS_")), "{settings:?}");
    settings
}

/// Starts with this value in each of the four places; gives each place as a complaint names it.
fn in_each_place(variable: &str, value: &str, check: impl Fn(&str, Command)) {
    let setting = variable.strip_prefix("TIDINGS_").unwrap().to_lowercase();
    let outside = tempfile::tempdir().unwrap();
    let at = |name: &str| outside.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("value"), format!("{value}\n")).unwrap();
    std::fs::write(at("tidings.toml"), format!("{setting} = '{value}'\n")).unwrap();
    let start = |folder: &Path| {
        let mut command = tidings("serve", folder, &[]);
        command.env_remove(variable);
        command
    };
    let places: [(String, Put); 4] = [
        (format!("--{}", setting.replace('_', "-")), &|command| {
            command.arg(format!("--{}={value}", setting.replace('_', "-")));
        }),
        (variable.to_owned(), &|command| {
            command.env(variable, value);
        }),
        (format!("{variable}_FILE"), &|command| {
            command.env(format!("{variable}_FILE"), at("value"));
        }),
        (format!("`{setting}` in the configuration file"), &|command| {
            command.args(["--config", &at("tidings.toml")]);
        }),
    ];
    for (place, put) in places {
        let folder = tempfile::tempdir().unwrap();
        let mut command = start(folder.path());
        put(&mut command);
        check(&place, command);
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 0, "{place}: a start that is refused has touched nothing");
    }
}

#[track_caller]
fn assert_refused(ended: &Ended, names: &str) {
    assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""), "{names}: {}", ended.errors);
    assert_eq!(ended.errors.lines().count(), 1, "{names}: {}", ended.errors);
    assert!(ended.errors.contains(names), "{names}: {}", ended.errors);
    assert!(!ended.errors.contains("hunter2"), "{names}: {}", ended.errors);
}

#[test]
fn a_wrong_setting_stops_the_start_with_one_line_that_names_where_it_comes_from() {
    for variable in settings() {
        for value in wrong(&variable).into_iter().chain([""]) {
            in_each_place(&variable, value, |place, command| assert_refused(&run_to_end(command), place));
        }
    }
}

#[test]
fn a_setting_that_is_there_twice_or_in_a_file_that_cannot_be_read_is_named() {
    for variable in settings() {
        let folder = tempfile::tempdir().unwrap();
        let mut twice = tidings("serve", folder.path(), &[(variable.clone(), "x".into())]);
        twice.env(format!("{variable}_FILE"), "/nowhere/value");
        assert_refused(&run_to_end(twice), &format!("both {variable} and {variable}_FILE"));
        let mut nowhere = tidings("serve", folder.path(), &[]);
        nowhere.env_remove(&variable).env(format!("{variable}_FILE"), "/nowhere/value");
        assert_refused(&run_to_end(nowhere), &format!("{variable}_FILE"));
        let setting = variable.strip_prefix("TIDINGS_").unwrap().to_lowercase();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{setting} = true\n")).unwrap();
        let mut typed = tidings("serve", folder.path(), &[]);
        typed.env_remove(&variable).arg("--config").arg(file.path());
        assert_refused(&run_to_end(typed), &format!("`{setting}` in the configuration file"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_configuration_file_that_is_none_stops_every_word() {
    let folder = tempfile::tempdir().unwrap();
    let file = |content: &[u8]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    };
    let database = "database_url = \"postgres://db/tidings\"\n";
    for (content, names) in [
        (b"listne = \"127.0.0.1:1\"".as_slice(), "`listne`"),
        (b"[server]\nlisten = \"127.0.0.1:1\"", "`server`"),
        (b"root_api_key = \"hunter2", "line 1"),
        (b"listen = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:1\"", "line 2"),
        (b"\xff\xfe", "cannot be read"),
        (database.as_bytes(), "TIDINGS_MASTER_KEY"),
    ] {
        let file = file(content);
        for word in ["serve", "migrate", "token", "replay", "rebuild"] {
            let mut command = tidings(word, folder.path(), &[]);
            match word {
                "token" => command.args(["--user", "alice"]),
                "replay" => command.args(["--user", "alice", "--at", "2026-11-22T10:00:00Z"]),
                "rebuild" => command.arg("inbox"),
                _ => &mut command,
            };
            command.arg("--config").arg(file.path());
            assert_refused(&run_to_end(command), names);
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
