//! Requests made of the document, good and bad, one alone and one after another along its links: no fault of the service,
//! no status, header or shape of an answer that the document does not name, nothing accepted that it forbids.
//!
//! Here with few examples and always the same ones; `./dev fuzz http` tries others for as long as one likes
//! (`FUZZ_SECONDS`). What is not expected is in `tests/clients/schemathesis.toml`.

use std::path::Path;
use std::process::Command;

use crate::generated_clients::{Python, missing};
use crate::support::Service;

const EXAMPLES: &str = "10";

#[tokio::test]
async fn what_the_service_answers_is_what_the_document_says() {
    let Some(python) = Python::find() else { return missing("the Python packages") };
    let mut service = Service::start().await;
    let mut run = python.program("schemathesis");
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    run.env("SCHEMATHESIS_HOOKS", "schemathesis_hooks").env("PYTHONPATH", &settings);
    run.env("PYTHONDONTWRITEBYTECODE", "1").arg("--config-file").arg(settings.join("schemathesis.toml"));
    run.args([
        "run",
        &service.url("/openapi.json"),
        "--header",
        &format!("x-api-key: {}", service.root_key()),
    ]);
    match std::env::var("FUZZ_SECONDS") {
        Ok(seconds) => run.args(["--max-examples", "1000", "--max-time", &seconds]),
        Err(_) => run.args(["--max-examples", EXAMPLES, "--seed", "1", "--no-shrink"]),
    };
    let folder = tempfile::tempdir().unwrap();
    let output = output(run.current_dir(folder.path()));
    assert!(output.contains("Stateful") && output.contains("generated, "), "{output}");

    // Everything that was made is still an inbox: the read models followed, and nobody is parked.
    let projections = service.get("/v1/projections").await.expect(200).json();
    for projection in projections["projections"].as_array().unwrap() {
        let state = projection["state"].as_str().unwrap();
        assert!(projection["parked"] == 0 && ["following", "rebuilding"].contains(&state), "{projection}");
    }
    service.ask_to_end();
    service.ended();
}

fn output(command: &mut Command) -> String {
    let output = command.env("NO_PROXY", "127.0.0.1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    if std::env::var_os("FUZZ_SECONDS").is_some() {
        println!("{text}");
    }
    text
}
