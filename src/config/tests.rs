//! Every rule and every complaint, by what an operator would type.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use clap::{Args, Command, FromArgMatches};

use super::*;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn load(arguments: &[&str], env: &[(&str, &str)], file: &str) -> Result<Config, ConfigError> {
    let command = Flags::augment_args(Command::new("tidings").no_binary_name(true));
    let flags = Flags::from_arg_matches(&command.get_matches_from(arguments)).unwrap();
    let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Config::load(flags, &env, Some(file))
}

#[track_caller]
fn refused(arguments: &[&str], env: &[(&str, &str)], file: &str) -> String {
    let message = load(arguments, env, file).unwrap_err().to_string();
    assert!(!message.contains('\n'), "one line: {message}");
    message
}

fn file_with(content: impl AsRef<[u8]>) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("value");
    std::fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn nothing_set_gives_the_defaults() {
    let config = load(&[], &[], "").unwrap();
    assert_eq!(config.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.data_dir, Path::new("./data"));
    assert_eq!((config.database_connections_max, config.log_format), (10, LogFormat::Text));
    assert_eq!((config.connections_per_user, config.dispatch_concurrency), (5, 64));
    assert_eq!(config.log_level, "info,poem=warn,sqlx=error,rustls_platform_verifier=off");
    assert!(config.allowed_origins.is_empty() && config.outgoing_allow_private.is_empty());
    assert!(config.database_url.is_none() && config.redis_url.is_none());
    assert!(config.root_api_key.is_none() && config.jwt_secret.is_none() && config.master_key.is_none());
    assert!(config.jwks.is_none() && config.jwt_audience.is_none() && config.jwt_issuer.is_none());
}

#[test]
fn every_setting_can_be_set_in_the_file() {
    let secret = "s".repeat(32);
    let config = load(
        &[],
        &[],
        &format!(
            r#"
            listen = "[::1]:0"
            database_url = "postgres://u:p@db/tidings"
            redis_url = "rediss://cache"
            data_dir = "/var/lib/tidings"
            root_api_key = "{secret}"
            jwt_secret = "{secret}"
            jwks = "/etc/tidings/jwks.json"
            jwt_audience = "app"
            jwt_issuer = "https://login.example.com"
            master_key = "{KEY}"
            allowed_origins = ["https://App.example.com", "http://localhost:3000"]
            database_connections_max = 500
            connections_per_user = 1000
            outgoing_allow_private = ["10.0.0.0/8", "::1/128"]
            dispatch_concurrency = 1000
            log_format = "json"
            log_level = "warn,tidings=debug"
            "#
        ),
    )
    .unwrap();
    assert_eq!(config.listen, "[::1]:0".parse().unwrap());
    assert_eq!(config.database_url.unwrap().expose(), "postgres://u:p@db/tidings");
    assert_eq!(config.redis_url.unwrap().expose(), "rediss://cache");
    assert_eq!(config.data_dir, Path::new("/var/lib/tidings"));
    assert_eq!(config.root_api_key.unwrap().expose(), secret);
    assert_eq!(config.jwt_secret.unwrap().expose(), secret);
    assert_eq!(config.jwks.unwrap(), Location::File("/etc/tidings/jwks.json".into()));
    assert_eq!(config.jwt_audience.unwrap(), "app");
    assert_eq!(config.jwt_issuer.unwrap(), "https://login.example.com");
    assert_eq!(config.master_key.unwrap().expose()[31], 0x1f);
    assert_eq!(config.allowed_origins, ["https://app.example.com", "http://localhost:3000"]);
    assert_eq!((config.database_connections_max, config.log_format), (500, LogFormat::Json));
    let networks = ["10.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap());
    assert_eq!(config.outgoing_allow_private, networks);
    assert_eq!((config.connections_per_user, config.dispatch_concurrency), (1_000, 1_000));
    assert_eq!(config.log_level, "warn,tidings=debug");
}

#[test]
fn a_flag_wins_over_the_variable_over_the_named_file_over_the_configuration_file() {
    let (_guard, path) = file_with("0.0.0.0:3\r\n");
    let file = r#"listen = "0.0.0.0:4""#;
    let port = |arguments: &[&str], env: &[(&str, &str)]| load(arguments, env, file).unwrap().listen.port();
    assert_eq!(port(&["--listen", "0.0.0.0:1"], &[("TIDINGS_LISTEN", "0.0.0.0:2")]), 1);
    assert_eq!(port(&[], &[("TIDINGS_LISTEN", "0.0.0.0:2")]), 2);
    assert_eq!(port(&[], &[("TIDINGS_LISTEN_FILE", &path)]), 3);
    assert_eq!(port(&[], &[]), 4);
}

#[test]
fn every_setting_has_a_flag_and_its_help_names_the_variable() {
    let command = Flags::augment_args(Command::new("tidings"));
    let mut flags: Vec<String> =
        command.get_arguments().map(|flag| format!("--{}", flag.get_long().unwrap())).collect();
    for argument in command.get_arguments() {
        let help = argument.get_help().unwrap().to_string();
        let setting = argument.get_id().as_str();
        assert!(help.contains(&format!("[env: {}]", source::variable(setting))), "{help}");
        assert!(help.contains("[default: "), "{help}");
    }
    assert_eq!(flags.remove(0), "--config");
    assert_eq!(flags, source::SETTINGS.map(source::flag));
}

#[test]
fn a_wrong_value_names_the_setting_its_source_and_what_is_expected() {
    assert_eq!(
        refused(&["--listen", "8080"], &[], ""),
        r#"--listen is "8080": expected an IP address and a port, as 127.0.0.1:8080 or [::]:8080"#
    );
    assert_eq!(
        refused(&[], &[("TIDINGS_DATABASE_CONNECTIONS_MAX", "501")], ""),
        r#"TIDINGS_DATABASE_CONNECTIONS_MAX is "501": expected a number from 1 to 500"#
    );
    assert_eq!(
        refused(&[], &[], "database_connections_max = 0"),
        r#"`database_connections_max` in the configuration file is "0": expected a number from 1 to 500"#
    );
    let (_guard, path) = file_with("xml\n");
    assert_eq!(
        refused(&[], &[("TIDINGS_LOG_FORMAT_FILE", &path)], ""),
        format!(r#"TIDINGS_LOG_FORMAT_FILE ({path}) is "xml": expected text or json"#)
    );
    assert_eq!(
        refused(&[], &[], "listen = true"),
        "`listen` in the configuration file is neither a string nor a number"
    );
    assert_eq!(
        refused(&[], &[], r#"log_level = ["info"]"#),
        "`log_level` in the configuration file is neither a string nor a number"
    );
}

#[test]
fn a_wrong_secret_is_not_shown() {
    let wrong = [
        ("TIDINGS_ROOT_API_KEY", "hunter2hunter2", "32 or more characters"),
        ("TIDINGS_JWT_SECRET", "hunter2hunter2", "32 or more bytes"),
        ("TIDINGS_MASTER_KEY", "hunter2hunter2", "64 hex digits"),
        (
            "TIDINGS_DATABASE_URL",
            "mysql://u:hunter2@db/x",
            "a URL as postgres://user:password@host:5432/database",
        ),
        (
            "TIDINGS_REDIS_URL",
            "http://u:hunter2@cache",
            "a URL as redis://host:6379, rediss://host:6379 or redis+unix:///path",
        ),
    ];
    for (variable, value, expected) in wrong {
        let message = refused(&[], &[(variable, value)], "");
        assert_eq!(message, format!("{variable} has a wrong value (not shown here): expected {expected}"));
        let error = load(&[], &[(variable, value)], "").unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    let message = refused(&[], &[], "root_api_key = \"hunter2");
    assert!(message.starts_with("the configuration file is not TOML, line 1: "), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn a_configuration_prints_without_its_secrets() {
    let hidden = "hunter2-hunter2-hunter2-hunter2-hunter2";
    let url = format!("postgres://u:{hidden}@db/x");
    let flags =
        ["--root-api-key", hidden, "--jwt-secret", hidden, "--master-key", KEY, "--database-url", &url];
    let config = load(&flags, &[], "").unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(!format!("{config:?}").contains("30, 31"), "the master key's last bytes");
}

#[test]
fn secrets_are_measured_in_characters_and_bytes() {
    let load_key = |key: &str| load(&[], &[("TIDINGS_ROOT_API_KEY", key)], "");
    assert!(load_key(&"k".repeat(31)).is_err());
    assert!(load_key(&"k".repeat(32)).is_ok());
    assert!(load_key(&"é".repeat(16)).is_err(), "32 bytes, 16 characters");
    let load_secret = |secret: &str| load(&[], &[("TIDINGS_JWT_SECRET", secret)], "");
    assert!(load_secret(&"s".repeat(31)).is_err());
    assert!(load_secret(&"é".repeat(16)).is_ok(), "32 bytes");
}

#[test]
fn a_database_url_needs_a_master_key() {
    let url = ("TIDINGS_DATABASE_URL", "postgres://db/tidings");
    let message = refused(&[], &[url], "");
    assert!(message.starts_with("TIDINGS_DATABASE_URL is set and TIDINGS_MASTER_KEY is not"), "{message}");
    load(&[], &[url, ("TIDINGS_MASTER_KEY", KEY)], "").unwrap();
    load(&[], &[("TIDINGS_REDIS_URL", "redis://cache")], "").unwrap();
}

#[test]
fn a_variable_and_its_file_together_are_refused() {
    let (_guard, path) = file_with(KEY);
    assert_eq!(
        refused(&[], &[("TIDINGS_MASTER_KEY", KEY), ("TIDINGS_MASTER_KEY_FILE", &path)], ""),
        "both TIDINGS_MASTER_KEY and TIDINGS_MASTER_KEY_FILE are set: keep one"
    );
}

#[test]
fn an_empty_value_is_refused_and_does_not_mean_the_default() {
    assert_eq!(
        refused(&[], &[("TIDINGS_DATABASE_URL", "")], ""),
        "TIDINGS_DATABASE_URL is empty: give it a value, or remove it"
    );
    let (_guard, path) = file_with("\n");
    assert_eq!(
        refused(&[], &[("TIDINGS_MASTER_KEY_FILE", &path)], ""),
        format!("TIDINGS_MASTER_KEY_FILE ({path}) is empty: give it a value, or remove it")
    );
}

#[test]
fn a_named_file_that_cannot_be_read_is_named() {
    let message = refused(&[], &[("TIDINGS_JWT_SECRET_FILE", "/nowhere/secret")], "");
    assert!(
        message.starts_with("the file that TIDINGS_JWT_SECRET_FILE names cannot be read: /nowhere/secret: "),
        "{message}"
    );
    let (_guard, path) = file_with([0xff, 0xfe]);
    assert!(refused(&[], &[("TIDINGS_JWT_SECRET_FILE", &path)], "").contains(&path));
}

#[test]
fn unknown_keys_and_broken_toml_are_refused() {
    let message = refused(&[], &[], "listne = \"127.0.0.1:1\"");
    assert!(
        message.starts_with("the configuration file has an unknown key `listne`: known are listen, "),
        "{message}"
    );
    let message = refused(&[], &[], "[server]\nlisten = \"127.0.0.1:1\"");
    assert!(message.contains("unknown key `server`"), "{message}");
    let message = refused(&[], &[], "log_level = \"info\"\nlisten = = 1");
    assert!(message.starts_with("the configuration file is not TOML, line 2: "), "{message}");
}

#[test]
fn origins_are_what_browsers_send() {
    let origins = |value: &str| {
        load(&[], &[("TIDINGS_ALLOWED_ORIGINS", value)], "").map(|config| config.allowed_origins)
    };
    assert_eq!(
        origins("https://a.example, http://localhost:3000").unwrap(),
        ["https://a.example", "http://localhost:3000"]
    );
    for wrong in [
        "*",
        "https://*.example",
        "a.example",
        "https://a.example/",
        "https://u@a.example",
        "ftp://a",
        "https://",
        "https://a,",
    ] {
        assert!(origins(wrong).is_err(), "{wrong}");
    }
    assert!(load(&[], &[], "allowed_origins = [1]").is_err());
}

#[test]
fn a_jwks_is_a_path_or_a_url_that_shows_no_credentials() {
    let jwks = |value: &str| load(&["--jwks", value], &[], "").map(|config| config.jwks.unwrap());
    assert_eq!(jwks("keys.json").unwrap(), Location::File("keys.json".into()));
    for url in ["https://login.example.com/.well-known/jwks.json", "http://localhost:8000/keys?tenant=a"] {
        assert_eq!(jwks(url).unwrap(), Location::Url(Url::parse(url).unwrap()));
    }
    for wrong in [
        "https://",
        "ftp://login.example.com/jwks.json",
        "file:///etc/jwks.json",
        "https://user:hunter2@login.example.com/jwks.json",
        r#"{"keys":[]}"#,
    ] {
        let message = refused(&["--jwks", wrong], &[], "");
        assert!(
            message.starts_with("--jwks has a wrong value (not shown here): expected a path, "),
            "{message}"
        );
    }
}

#[test]
fn a_log_level_with_a_typing_error_is_refused() {
    let level = |value: &str| load(&["--log-level", value], &[], "");
    for right in ["debug", "off", "info,tidings=debug", "warn,tidings::log=trace"] {
        assert_eq!(level(right).unwrap().log_level, right);
    }
    for wrong in ["inof", "info,", "info,tidings=lots", "warn,debgu"] {
        assert!(level(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn variables_that_are_no_setting_are_found() {
    let names = [
        "TIDINGS_LISTNE",
        "TIDINGS_LISTEN",
        "TIDINGS_MASTER_KEY_FILE",
        "TIDINGS_CONFIG",
        "PATH",
        "TIDINGS_A_FILE",
    ];
    assert_eq!(unknown_variables(names.map(String::from)), ["TIDINGS_A_FILE", "TIDINGS_LISTNE"]);
}

#[test]
fn a_named_configuration_file_must_exist() {
    let (_guard, path) = file_with("listen = \"127.0.0.1:1\"");
    let flags = Flags { config: Some(path.clone().into()), ..Flags::default() };
    let nowhere = |name: &str| (name == CONFIG_VARIABLE).then(|| "/nowhere.toml".to_owned());
    assert_eq!(
        read_config_file(&flags, &nowhere).unwrap().unwrap(),
        "listen = \"127.0.0.1:1\"",
        "the flag wins"
    );
    let error = read_config_file(&Flags::default(), &nowhere).unwrap_err().to_string();
    assert!(error.starts_with("the configuration file cannot be read: /nowhere.toml: "), "{error}");
    assert!(read_config_file(&Flags::default(), &|_| None).unwrap().is_none(), "the default may be absent");
}
