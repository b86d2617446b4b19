//! Mosquitto.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use fleet_testkit::services::{Credentials, Mosquitto, MosquittoOptions};

use super::mqtt::{publish, receive, session_present, subscribe};
use super::{folder, took};

#[tokio::test]
async fn sessions_and_messages_outlive_an_orderly_end_and_the_port_stays() {
    let folder = folder();
    let begin = Instant::now();
    let mut broker = Mosquitto::start(folder.path(), MosquittoOptions::default())
        .await
        .expect("Mosquitto starts");
    took("Mosquitto start", begin);
    let url = broker.url();
    subscribe(&url, "keeper", "a/b").await.expect("subscribed");
    publish(&url, "a/b", "kept").await.expect("published");
    let begin = Instant::now();
    broker.stop().await.expect("it ends in order");
    took("Mosquitto orderly stop", begin);
    assert!(TcpStream::connect(broker.address()).is_err(), "nobody listens");
    broker.restart().await.expect("it starts");
    assert_eq!(broker.url(), url);
    assert_eq!(receive(&url, "keeper").await.expect("a message"), "kept");
}

#[tokio::test]
async fn a_kill_loses_the_memory_that_was_not_saved() {
    let folder = folder();
    let mut broker = Mosquitto::start(folder.path(), MosquittoOptions::default())
        .await
        .expect("Mosquitto starts");
    subscribe(&broker.url(), "keeper", "a/b")
        .await
        .expect("subscribed");
    let begin = Instant::now();
    broker.kill().expect("killed");
    took("Mosquitto kill -9", begin);
    let begin = Instant::now();
    broker.restart().await.expect("it starts");
    took("Mosquitto restart after kill -9", begin);
    let known = session_present(&broker.url(), "keeper", None)
        .await
        .expect("connected");
    assert!(!known, "this is what the settings of a plant have to reckon with");
}

#[tokio::test]
async fn a_frozen_broker_is_silent_and_a_thawed_one_answers() {
    let folder = folder();
    let mut broker = Mosquitto::start(folder.path(), MosquittoOptions::default())
        .await
        .expect("Mosquitto starts");
    let url = broker.url();
    broker.freeze().expect("frozen");
    let asked = tokio::time::timeout(Duration::from_millis(500), session_present(&url, "x", None)).await;
    assert!(asked.is_err(), "no answer, no error: {asked:?}");
    broker.thaw().expect("thawed");
    session_present(&url, "y", None).await.expect("an answer");
}

#[tokio::test]
async fn users_are_let_in_with_their_password_alone_and_may_change_with_a_restart() {
    let folder = folder();
    let options = MosquittoOptions {
        users: vec![Credentials::new("fleet", "right")],
        message_size_limit: Some(1_000),
        ..MosquittoOptions::default()
    };
    let mut broker = Mosquitto::start(folder.path(), options)
        .await
        .expect("Mosquitto starts");
    let url = broker.url();
    for (user, let_in) in [
        (Some(("fleet", "right")), true),
        (Some(("fleet", "wrong")), false),
        (Some(("other", "right")), false),
        (None, false),
    ] {
        let connected = session_present(&url, "someone", user).await;
        assert_eq!(connected.is_ok(), let_in, "{user:?}: {connected:?}");
    }
    broker.options.users = vec![Credentials::new("fleet", "changed")];
    broker.restart().await.expect("it starts");
    session_present(&url, "someone", Some(("fleet", "changed")))
        .await
        .expect("let in");
}

#[tokio::test]
async fn a_setting_that_it_does_not_know_is_shown_with_its_log() {
    let folder = folder();
    let options = MosquittoOptions {
        settings: vec![("no_such_setting".to_owned(), "1".to_owned())],
        ..MosquittoOptions::default()
    };
    let error = Mosquitto::start(folder.path(), options)
        .await
        .expect_err("it refuses");
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn two_brokers_run_beside_each_other() {
    let (one, other) = (folder(), folder());
    let options = MosquittoOptions::default;
    let (first, second) = tokio::join!(
        Mosquitto::start(one.path(), options()),
        Mosquitto::start(other.path(), options())
    );
    let (first, second) = (first.expect("one starts"), second.expect("the other starts"));
    subscribe(&first.url(), "keeper", "a").await.expect("subscribed");
    let known = session_present(&second.url(), "keeper", None)
        .await
        .expect("connected");
    assert!(!known, "they share nothing");
}
