//! `ecu-sim` as the tests start it.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    ecu_sim::cli::main().await
}
