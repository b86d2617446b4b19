//! Brokers of others.

use fleet_testkit::services::{Hivemq, HivemqOptions, Mosquitto, MosquittoOptions};

use crate::expected::{Broker, assert_as_expected};
use crate::{Controlled, check};

/// What Mosquitto does when nobody sets anything but the listener.
fn as_installed() -> MosquittoOptions {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    MosquittoOptions {
        max_inflight: 20,
        max_queued: 1000,
        settings: vec![pair("persistence", "false"), pair("set_tcp_nodelay", "false")],
        ..MosquittoOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_with_our_settings_and_as_installed_is_as_the_table_says() {
    tokio::join!(with_our_settings(), without_settings());
}

async fn with_our_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Mosquitto::start(folder.path(), MosquittoOptions::default())
        .await
        .expect("Mosquitto starts");
    let report = check(&broker.url(), Controlled::new(broker), &[]).await;
    assert_as_expected(&report, Broker::Mosquitto);
    assert!(report.is_met());
}

async fn without_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Mosquitto::start(folder.path(), as_installed())
        .await
        .expect("Mosquitto starts");
    let report = check(&broker.url(), Controlled::new(broker), &[]).await;
    assert_as_expected(&report, Broker::MosquittoAsInstalled);
    assert!(!report.is_met());
    let queue = report
        .checks
        .iter()
        .find(|check| check.id == "queue.offline")
        .expect("a row");
    assert!(
        queue.measured.contains("acknowledged and dropped"),
        "{}",
        queue.measured
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hivemq_with_our_settings_is_as_the_table_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Hivemq::start(folder.path(), HivemqOptions::default())
        .await
        .expect("HiveMQ starts");
    let report = check(&broker.url(), Controlled::new(broker), &[]).await;
    assert_as_expected(&report, Broker::Hivemq);
    assert!(report.is_met());
}
