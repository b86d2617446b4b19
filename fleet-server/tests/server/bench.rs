//! A bench that speaks MQTT by hand, with every mistake that a test wants.

use std::time::Duration;

use fleet_domain::{DeviceId, EventId, RunId, SpoolId};
use fleet_wire::command::Commands;
use fleet_wire::event::{AgentStarted, Equipment};
use fleet_wire::presence::Presence;
use fleet_wire::receipt::{Receipt, ReceiptMessage, SyncAnswer};
use fleet_wire::sync::{HeldSpool, Sync};
use fleet_wire::{Channel, EventBody, EventContext, EventProperties, Topic, encode_event};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};
use tokio::sync::mpsc;

use super::support::{SOON, Server, VIN};

pub(crate) struct Bench {
    pub(crate) device: DeviceId,
    pub(crate) run: RunId,
    pub(crate) spool: SpoolId,
    pub(crate) next: u64,
    pub(crate) public_key: String,
    client: AsyncClient,
    receipts: mpsc::UnboundedReceiver<ReceiptMessage>,
    lists: mpsc::UnboundedReceiver<Commands>,
    syncs: u64,
    poller: tokio::task::JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

fn options(server: &Server, id: &str) -> MqttOptions {
    let mut options = MqttOptions::new(id, "127.0.0.1", server.mqtt_port);
    options
        .set_clean_start(false)
        .set_session_expiry_interval(Some(3600))
        .set_max_packet_size(Some(600_000));
    options
}

impl Bench {
    /// Connects and subscribes; returns when the subscription stands.
    pub(crate) async fn connect(server: &Server, device: &str) -> Self {
        let (client, mut events) = AsyncClient::new(options(server, device), 100);
        let device: DeviceId = device.parse().expect("a device");
        let (receipts_tx, receipts) = mpsc::unbounded_channel();
        let (lists_tx, lists) = mpsc::unbounded_channel();
        let (up_tx, mut up) = mpsc::unbounded_channel();
        let topic =
            |channel| Topic::new("plant-1".parse().expect("a plant"), device.clone(), channel).to_string();
        client
            .subscribe(topic(Channel::Receipts), QoS::AtLeastOnce)
            .await
            .expect("room");
        client
            .subscribe(topic(Channel::Commands), QoS::AtLeastOnce)
            .await
            .expect("room");
        let poller = tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Incoming::SubAck(_)) => drop(up_tx.send(())),
                    Event::Incoming(Incoming::Publish(publish)) => {
                        let expiry = publish
                            .properties
                            .as_ref()
                            .and_then(|p| p.message_expiry_interval);
                        assert!(
                            expiry.is_some_and(|seconds| seconds <= 60),
                            "it expires within a minute"
                        );
                        assert!(!publish.retain, "it is not retained");
                        if publish.topic.ends_with(b"/receipts") {
                            let message = ReceiptMessage::decode(&publish.payload).expect("a receipt");
                            drop(receipts_tx.send(message));
                        } else {
                            drop(lists_tx.send(Commands::decode(&publish.payload).expect("a list")));
                        }
                    }
                    _ => {}
                }
            }
        });
        for _ in 0..2 {
            tokio::time::timeout(SOON, up.recv())
                .await
                .expect("in time")
                .expect("subscribed");
        }
        Self {
            device,
            run: RunId(fleet_clock::new_uuid()),
            spool: SpoolId(fleet_clock::new_uuid()),
            next: 1,
            public_key: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_owned(),
            client,
            receipts,
            lists,
            syncs: 0,
            poller,
        }
    }

    pub(crate) fn topic(&self, channel: Channel) -> Topic {
        Topic::new("plant-1".parse().expect("a plant"), self.device.clone(), channel)
    }

    /// Publishes anything anywhere.
    pub(crate) async fn publish(
        &self,
        topic: &str,
        properties: Vec<(String, String)>,
        payload: impl Into<Vec<u8>>,
    ) {
        let properties = PublishProperties {
            user_properties: properties,
            ..PublishProperties::default()
        };
        let (payload, retain) = (payload.into(), topic.ends_with("/presence"));
        self.client
            .publish_with_properties(topic, QoS::AtLeastOnce, retain, payload, properties)
            .await
            .expect("the connection is up");
    }

    pub(crate) fn properties(&self, seq: u64) -> EventProperties {
        EventProperties {
            spool: self.spool,
            seq,
            predecessor: None,
            hole_to: None,
        }
    }

    /// The bytes of an event at a position.
    pub(crate) fn encode(&self, seq: u64, body: &EventBody) -> Vec<u8> {
        let context = EventContext {
            id: EventId(fleet_clock::new_uuid()),
            plant: "plant-1".parse().expect("a plant"),
            device: self.device.clone(),
            vin: Some(VIN.to_owned()),
            time: fleet_clock::wall_now(),
            spool: self.spool,
            seq,
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        };
        encode_event(&context, body).expect("an event")
    }

    /// Publishes bytes as the event at a position.
    pub(crate) async fn send_at(&self, seq: u64, payload: impl Into<Vec<u8>>) {
        let topic = self.topic(Channel::Events).to_string();
        self.publish(&topic, self.properties(seq).encode(), payload).await;
    }

    /// Publishes the next event of the spool.
    pub(crate) async fn send(&mut self, body: &EventBody) -> Vec<u8> {
        let bytes = self.encode(self.next, body);
        self.send_at(self.next, bytes.clone()).await;
        self.next += 1;
        bytes
    }

    pub(crate) fn started(&self) -> EventBody {
        EventBody::AgentStarted(AgentStarted {
            run_id: self.run,
            agent_version: "0.1.0".to_owned(),
            public_key: self.public_key.clone(),
            equipment: Equipment {
                transports: vec!["doip".to_owned()],
                ecus: vec![],
                station: Some("EOL-1".to_owned()),
                vin: Some(VIN.to_owned()),
            },
            reason: "start".to_owned(),
        })
    }

    /// Sends the first event of its spool, its presence and a sync, and waits for what they bring.
    pub(crate) async fn begin(&mut self) -> SyncAnswer {
        let started = self.started();
        self.send(&started).await;
        self.receipt(|receipt| receipt.through == 1).await;
        self.presence(true).await;
        self.sync().await
    }

    pub(crate) async fn presence(&self, online: bool) {
        let presence = Presence {
            run_id: self.run,
            connect_counter: 1,
            online,
            will: false,
            time: fleet_clock::wall_now(),
        };
        let topic = self.topic(Channel::Presence).to_string();
        self.publish(&topic, Vec::new(), presence.encode()).await;
    }

    /// Sends a sync and waits for its answer.
    pub(crate) async fn sync(&mut self) -> SyncAnswer {
        self.sync_with(|_| {}).await
    }

    pub(crate) async fn sync_with(&mut self, change: impl FnOnce(&mut Sync)) -> SyncAnswer {
        self.syncs += 1;
        let mut sync = Sync {
            number: self.syncs,
            answered: 0,
            run_id: self.run,
            connect_counter: 1,
            store_generation: None,
            desired_version: 0,
            spools: vec![HeldSpool {
                spool_id: self.spool,
                predecessor: None,
                first_kept: 1,
                next_seq: self.next,
                receipted: 0,
                rejections_known: 0,
            }],
            former: Vec::new(),
            jobs: Vec::new(),
            time: fleet_clock::wall_now(),
            refusing_jobs: None,
        };
        change(&mut sync);
        let number = sync.number;
        let topic = self.topic(Channel::Sync).to_string();
        self.publish(&topic, Vec::new(), sync.encode()).await;
        let end = tokio::time::Instant::now() + SOON;
        loop {
            let message = tokio::time::timeout_at(end, self.receipts.recv())
                .await
                .expect("an answer in time");
            if let Some(ReceiptMessage::SyncAnswer(answer)) = message
                && answer.number == number
            {
                return answer;
            }
        }
    }

    /// Waits for a receipt that is as wanted.
    pub(crate) async fn receipt(&mut self, wanted: impl Fn(&Receipt) -> bool) -> Receipt {
        let end = tokio::time::Instant::now() + SOON;
        loop {
            let message = tokio::time::timeout_at(end, self.receipts.recv())
                .await
                .expect("a receipt in time");
            if let Some(ReceiptMessage::Receipt(receipt)) = message
                && wanted(&receipt)
            {
                return receipt;
            }
        }
    }

    /// Receipts that are there or come within a time.
    pub(crate) async fn receipts_within(&mut self, time: Duration) -> Vec<Receipt> {
        let end = tokio::time::Instant::now() + time;
        let mut found = Vec::new();
        while let Ok(Some(message)) = tokio::time::timeout_at(end, self.receipts.recv()).await {
            if let ReceiptMessage::Receipt(receipt) = message {
                found.push(receipt);
            }
        }
        found
    }

    /// Waits for a list that is as wanted.
    pub(crate) async fn list(&mut self, wanted: impl Fn(&Commands) -> bool) -> Commands {
        let end = tokio::time::Instant::now() + SOON;
        loop {
            let list = tokio::time::timeout_at(end, self.lists.recv())
                .await
                .expect("a list in time");
            let list = list.expect("connected");
            if wanted(&list) {
                return list;
            }
        }
    }
}

/// What the broker holds for a slot's session: its messages without acknowledgement, in order. Takes the
/// session over for a moment.
pub(crate) async fn unacknowledged(server: &Server, slot: fleet_domain::Slot, wanted: usize) -> Vec<Vec<u8>> {
    let mut options = options(server, &format!("fleet-plant-1-{slot}"));
    options.set_manual_acks(true);
    let (_client, mut events) = AsyncClient::new(options, 10);
    let mut found = Vec::new();
    let end = tokio::time::Instant::now() + SOON;
    while found.len() < wanted {
        match tokio::time::timeout_at(end, events.poll())
            .await
            .expect("in time")
        {
            Ok(Event::Incoming(Incoming::Publish(publish))) => found.push(publish.payload.to_vec()),
            Ok(_) => {}
            // The server took its session back: begin anew, the messages come again.
            Err(_) => found.clear(),
        }
    }
    found
}
