//! What the chain loses, doubles or stops when a part of it dies or Kafka hangs.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::super::Folder;
use super::chain::Chain;

const SECONDS: u64 = 45;
const BEGINS: Duration = Duration::from_secs(10);
const LASTS: Duration = Duration::from_secs(15);
const SETTLED_WITHIN: Duration = Duration::from_secs(90);

/// What happens to the chain.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Telegraf,
    Mosquitto,
    Postgres,
    Kafka,
    KafkaHangs,
}

impl Fault {
    const ALL: [Self; 5] = [
        Self::Telegraf,
        Self::Mosquitto,
        Self::Postgres,
        Self::Kafka,
        Self::KafkaHangs,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Telegraf => "Telegraf killed",
            Self::Mosquitto => "Mosquitto killed",
            Self::Postgres => "PostgreSQL killed",
            Self::Kafka => "Kafka killed",
            Self::KafkaHangs => "Kafka hangs",
        }
    }

    fn begin(self, chain: &mut Chain) -> anyhow::Result<()> {
        match self {
            Self::Telegraf => chain.telegraf.take().context("it runs")?.kill(),
            Self::Mosquitto => chain.mosquitto.kill(),
            Self::Postgres => chain.postgres.kill(),
            Self::Kafka => chain.kafka.kill(),
            Self::KafkaHangs => chain.kafka.freeze(),
        }
    }

    async fn end(self, chain: &mut Chain) -> anyhow::Result<()> {
        match self {
            Self::Telegraf => chain.start_telegraf().await,
            Self::Mosquitto => chain.mosquitto.restart().await,
            Self::Postgres => chain.postgres.restart().await,
            Self::Kafka => chain.kafka.restart().await,
            Self::KafkaHangs => chain.kafka.thaw(),
        }
    }
}

pub(super) async fn run(folder: &Folder, clients: u32, rate: u32) -> anyhow::Result<Value> {
    let mut rows = Vec::new();
    for fault in Fault::ALL {
        let below = folder.below(&fault.name().replace(' ', "-"));
        let mut chain = Chain::start(&below, clients).await?;
        let row = one(&mut chain, fault, rate).await?;
        println!("  {row}");
        rows.push(row);
    }
    println!(
        "\n| fault of {} s at {rate}/s | PostgreSQL stood still for | PostgreSQL lost / double | Kafka lost / double |",
        LASTS.as_secs()
    );
    println!("|---|---|---|---|");
    for row in &rows {
        let (postgresql, kafka) = (&row["books"]["postgresql"], &row["books"]["kafka"]);
        println!(
            "| {} | {} s | {} / {} | {} / {} |",
            row["fault"].as_str().unwrap_or_default(),
            row["stood_still_s"],
            postgresql["lost"],
            postgresql["double"],
            kafka["lost"],
            kafka["double"]
        );
    }
    Ok(Value::from(rows))
}

async fn one(chain: &mut Chain, fault: Fault, rate: u32) -> anyhow::Result<Value> {
    let mut publishing = chain.publish(rate, SECONDS)?;
    publishing.connected().await?;
    let begun = Instant::now();
    let ended = tokio::spawn(publishing.ended());
    tokio::time::sleep(BEGINS).await;
    println!("{}", fault.name());
    fault.begin(chain)?;
    let (mut before, mut still) = (chain.stored().await, 0_u64);
    while begun.elapsed() < BEGINS + LASTS {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = chain.stored().await;
        // A flush a second: two looks in a row can show the same now and then.
        still += u64::from(now.is_none() || now == before);
        before = now;
    }
    fault.end(chain).await?;
    let published = ended.await.context("the wait was cut off")??;
    let settled = chain.settled(SETTLED_WITHIN).await?;
    Ok(json!({
        "fault": fault.name(), "given": published.given, "acknowledged": published.acknowledged,
        "latest_ms": published.latest_ms, "stood_still_s": still, "settled_after_s": settled.took.as_secs_f64(),
        "books": chain.books(published.given).await?,
    }))
}
