//! The binary: parses the command line and says in one line what went wrong.

use std::process::ExitCode;

use clap::Parser;
use tidings::cli::Cli;

/// A notification is a few dozen small allocations that are freed on other threads; glibc's allocator took
/// nearly half of the service's time with them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
