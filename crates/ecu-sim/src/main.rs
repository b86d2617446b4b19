//! Simulated vehicles over `DoIP`.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    ecu_sim::cli::main().await
}
