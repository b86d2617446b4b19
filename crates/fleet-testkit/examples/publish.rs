//! Plain publishers for the benchmark's peer: so many MQTT clients, QoS 1, at most 16 messages in flight each, on an
//! open-loop schedule. No spool and no receipts: what the client library loses is lost.
//!
//! `publish BROKER_URL CLIENTS EVENTS_PER_SECOND SECONDS`; ends with one line of JSON.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, EventLoop, Incoming, MqttOptions};
use tokio::time::Instant;

const IN_FLIGHT: u16 = 16;
const BYTES: usize = 600;
/// After the schedule the last acknowledgements are waited for.
const DRAINED_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Counts {
    connected: AtomicU64,
    given: AtomicU64,
    acknowledged: AtomicU64,
    /// Not given to the client because it had 16 in flight for too long.
    late_ms: AtomicU64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, clients, rate, seconds] = &arguments[..] else {
        anyhow::bail!("usage: publish mqtt://HOST:PORT CLIENTS EVENTS_PER_SECOND SECONDS");
    };
    let (clients, rate): (u32, u32) = (clients.parse()?, rate.parse()?);
    let seconds: u64 = seconds.parse()?;
    let address: std::net::SocketAddr = url
        .strip_prefix("mqtt://")
        .context("the URL begins with mqtt://")?
        .parse()
        .context("the URL names host and port")?;
    let counts = Arc::new(Counts::default());
    let mut publishers = Vec::new();
    for n in 0..clients {
        let (client, events) = connect(n, address);
        tokio::spawn(poll(events, Arc::clone(&counts)));
        publishers.push(client);
        // A burst of connects is not what is measured.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while counts.connected.load(Ordering::Relaxed) < u64::from(clients) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eprintln!("connected");
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    let gap = Duration::from_secs_f64(f64::from(clients) / f64::from(rate));
    let running: Vec<_> = publishers
        .into_iter()
        .zip(0..clients)
        .map(|(client, n)| {
            let first = begin + gap * n / clients;
            tokio::spawn(publish(client, n, (first, gap, end), Arc::clone(&counts)))
        })
        .collect();
    for task in running {
        task.await?;
    }
    let given = counts.given.load(Ordering::Relaxed);
    let drained = Instant::now() + DRAINED_WITHIN;
    while counts.acknowledged.load(Ordering::Relaxed) < given && Instant::now() < drained {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let report = serde_json::json!({
        "given": given,
        "acknowledged": counts.acknowledged.load(Ordering::Relaxed),
        "latest_ms": counts.late_ms.load(Ordering::Relaxed),
        "seconds": begin.elapsed().as_secs_f64(),
    });
    println!("{report}");
    Ok(())
}

fn connect(n: u32, address: std::net::SocketAddr) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(format!("publisher-{n}"), address.ip().to_string(), address.port());
    options
        .set_keep_alive(Duration::from_secs(30))
        .set_clean_start(false)
        .set_session_expiry_interval(Some(3600))
        .set_outgoing_inflight_upper_limit(IN_FLIGHT);
    AsyncClient::new(options, 1)
}

async fn poll(mut events: EventLoop, counts: Arc<Counts>) {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                counts.connected.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Event::Incoming(Incoming::PubAck(_))) => {
                counts.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {}
            // The library keeps what was not acknowledged and sends it again.
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

async fn publish(
    client: AsyncClient,
    n: u32,
    (first, gap, end): (Instant, Duration, Instant),
    counts: Arc<Counts>,
) {
    let (mut at, mut sent) = (first, 0_u64);
    while at < end {
        tokio::time::sleep_until(at).await;
        let payload = payload(n, sent);
        if client
            .publish(format!("peer/{n}/events"), QoS::AtLeastOnce, false, payload)
            .await
            .is_err()
        {
            return;
        }
        counts.given.fetch_add(1, Ordering::Relaxed);
        let late = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        counts.late_ms.fetch_max(late, Ordering::Relaxed);
        sent += 1;
        at += gap;
    }
}

/// An event of the size of a finished step; its first word is its identity.
fn payload(n: u32, sent: u64) -> String {
    let mut text =
        format!("{n}-{sent} {{\"specversion\":\"1.0\",\"type\":\"vds.step.finished.v1\",\"data\":\"");
    while text.len() < BYTES - 2 {
        text.push_str("0123456789abcdef");
    }
    text.truncate(BYTES - 2);
    text.push_str("\"}");
    text
}
