//! Simulated vehicles over `DoIP`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match ecu_sim::cli::main().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ecu-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}
