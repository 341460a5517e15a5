//! The binary: parses the command line and says in one line what went wrong.

use std::process::ExitCode;

use clap::Parser;
use tidings::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("tidings: {failure}");
            ExitCode::FAILURE
        }
    }
}
