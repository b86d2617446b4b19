//! `device-agent` with the points where tests kill it.

use std::process::ExitCode;

fn main() -> ExitCode {
    device_agent::cli::main()
}
