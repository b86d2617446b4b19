//! HiveMQ CE.

use std::net::TcpStream;
use std::time::Instant;

use fleet_testkit::services::{Hivemq, HivemqOptions};

use super::mqtt::{publish, receive, session_present, subscribe};
use super::{folder, took};

#[tokio::test]
async fn sessions_and_messages_outlive_sigkill_and_an_orderly_end_and_the_port_stays() {
    let folder = folder();
    let begin = Instant::now();
    let mut broker = Hivemq::start(folder.path(), HivemqOptions::default())
        .await
        .expect("HiveMQ starts");
    took("HiveMQ start", begin);
    let url = broker.url();
    subscribe(&url, "keeper", "a/b").await.expect("subscribed");
    publish(&url, "a/b", "kept").await.expect("published");

    let begin = Instant::now();
    broker.kill().expect("killed");
    took("HiveMQ kill -9", begin);
    assert!(TcpStream::connect(broker.address()).is_err(), "nobody listens");
    let begin = Instant::now();
    broker.restart().await.expect("it starts");
    took("HiveMQ restart after kill -9", begin);
    assert_eq!(broker.url(), url);
    assert_eq!(receive(&url, "keeper").await.expect("a message"), "kept");

    let begin = Instant::now();
    broker.stop().await.expect("it ends in order");
    took("HiveMQ orderly stop", begin);
    broker.restart().await.expect("it starts");
    assert!(session_present(&url, "keeper", None).await.expect("connected"));
}
