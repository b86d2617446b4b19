//! The `fleet-server` program.

fn main() -> std::process::ExitCode {
    fleet_server::cli::main()
}
