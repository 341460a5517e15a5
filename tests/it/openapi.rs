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
