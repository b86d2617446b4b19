//! The agent of a test bench.

use std::process::ExitCode;

fn main() -> ExitCode {
    device_agent::cli::main()
}
