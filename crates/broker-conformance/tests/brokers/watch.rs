//! What Mosquitto says about itself.

use std::time::Duration;

use fleet_testkit::services::MosquittoOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Login, Packet};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};

/// Mosquitto that tells its numbers every second.
pub(crate) fn talkative() -> MosquittoOptions {
    MosquittoOptions {
        settings: vec![("sys_interval".to_owned(), "1".to_owned())],
        ..MosquittoOptions::default()
    }
}

/// Waits until a number of the broker is as wanted.
pub(crate) async fn until(port: u16, login: Option<Login>, topic: &str, wanted: impl Fn(u64) -> bool) {
    let mut options = MqttOptions::new("watcher", "127.0.0.1", port);
    options.set_clean_start(true);
    if let Some(login) = login {
        options.set_credentials(login.username, login.password);
    }
    let (client, mut events) = AsyncClient::new(options, 4);
    client.subscribe(topic, QoS::AtMostOnce).await.expect("room");
    let mut last = None;
    let watching = async {
        loop {
            if let Event::Incoming(Packet::Publish(publish)) =
                events.poll().await.expect("the watcher stays connected")
            {
                let text = String::from_utf8_lossy(&publish.payload).into_owned();
                last = text.parse::<u64>().ok();
                if last.is_some_and(&wanted) {
                    return;
                }
            }
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(15), watching)
        .await
        .is_ok();
    assert!(seen, "{topic} did not become as wanted; it is {last:?}");
}
