//! A process of its own: what stays of a connection after its end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../link/broker.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod broker;

use std::time::Duration;

use agent_link::link::{self, PresenceDocuments};
use agent_link::{LinkConfig, LinkEvent};
use fleet_domain::SpoolId;
use fleet_wire::EventProperties;
use spool::Position;
use uuid::Uuid;

use broker::Broker;

/// Resident memory of this process, kB.
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Each connection leaves as much unfinished as it can: open publishes, waiting ones, requests for one that is gone.
#[tokio::test]
async fn memory_does_not_grow_with_the_number_of_connections() {
    let (broker, port) = Broker::start().await;
    let mut config = LinkConfig::new(
        "plant-1".parse().unwrap(),
        "bench-07".parse().unwrap(),
        "127.0.0.1".to_owned(),
        port,
        5,
    );
    config.reconnect_at_most = Duration::from_millis(1);
    let (handle, mut events) = link::spawn(config, |_| PresenceDocuments {
        online: b"online".to_vec(),
        offline: b"offline".to_vec(),
    });
    let spool = SpoolId(Uuid::nil());
    let mut settled = 0;
    for round in 1..=400 {
        let (mut peer, _) = broker.welcome(round % 2 == 0).await;
        loop {
            match events.recv().await.unwrap() {
                LinkEvent::Up { .. } => break,
                LinkEvent::Down { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        for seq in 1..=100 {
            let position = Position {
                spool,
                seq,
                predecessor: None,
            };
            let properties = EventProperties {
                spool,
                seq,
                predecessor: None,
                hole_to: None,
            };
            handle.publish_event(round, position, properties, vec![b'x'; 2_000]);
        }
        peer.publish().await;
        drop(peer);
        if round == 100 {
            settled = resident_kb();
        }
    }
    let grown = resident_kb().saturating_sub(settled);
    println!("{settled} kB after 100 connections, {grown} kB more after 400");
    assert!(grown < 2_000, "{grown} kB more after 300 further connections");
}
