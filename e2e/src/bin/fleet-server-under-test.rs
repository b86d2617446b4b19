//! `fleet-server` with the points where tests kill it.

use std::process::ExitCode;

fn main() -> ExitCode {
    fleet_server::cli::main()
}
