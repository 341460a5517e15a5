//! The committed OpenAPI document is the one the code makes.

use std::path::Path;
use std::process::Command;

use crate::support::run_to_end;

#[test]
fn the_committed_document_is_what_the_binary_prints() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.arg("openapi");
    let printed = run_to_end(command);
    assert_eq!(printed.code, Some(0), "{}", printed.errors);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.yaml");
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(committed == printed.output, "openapi/openapi.yaml is not current: run ./dev openapi");
}

#[test]
fn no_path_stands_in_the_document_twice() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.yaml");
    let committed = std::fs::read_to_string(file).unwrap();
    let mut paths: Vec<&str> = committed.lines().filter(|line| line.starts_with("  /")).collect();
    let all = paths.len();
    paths.sort_unstable();
    paths.dedup();
    // Two sets of routes that share a path print it twice, which no reader of YAML accepts.
    assert!(all > 0 && paths.len() == all);
}
