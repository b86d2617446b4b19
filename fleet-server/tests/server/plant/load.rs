//! Benches that send events as real ones do, from a window and again where no receipt comes, until all have one;
//! and the judgement of what the database holds then.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_domain::{DeviceId, EventId, RunId, SpoolId};
use fleet_store::Store;
use fleet_wire::event::{AgentStarted, Equipment};
use fleet_wire::receipt::ReceiptMessage;
use fleet_wire::{Channel, EventBody, EventContext, EventProperties, Topic, encode_event};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Events without receipt on their way.
const WINDOW: u64 = 16;
/// No advance for so long: again from the last receipt.
const RESEND: Duration = Duration::from_secs(3);

/// What a bench sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) benches: usize,
    pub(super) events: u64,
    /// Least time between two events of a bench.
    pub(super) pause: Duration,
}

/// A running load.
pub(super) struct Load {
    plan: Plan,
    tasks: JoinSet<()>,
}

impl Load {
    pub(super) fn start(port: u16, plan: Plan) -> Self {
        let mut tasks = JoinSet::new();
        for n in 0..plan.benches {
            let device = format!("bench-{n}").parse().expect("a device");
            tasks.spawn(bench(port, device, plan));
        }
        Self { plan, tasks }
    }

    /// Waits until every event has its receipt.
    pub(super) async fn receipted(mut self, within: Duration) {
        let all = async {
            while self
                .tasks
                .join_next()
                .await
                .transpose()
                .expect("no bench fails")
                .is_some()
            {}
        };
        tokio::time::timeout(within, all)
            .await
            .expect("every event has its receipt in time");
    }

    pub(super) fn plan(&self) -> Plan {
        self.plan
    }
}

struct Sender {
    device: DeviceId,
    run: RunId,
    spool: SpoolId,
    payloads: BTreeMap<u64, Vec<u8>>,
}

impl Sender {
    /// The same position always has the same bytes.
    fn payload(&mut self, seq: u64) -> Vec<u8> {
        let (device, run, spool) = (self.device.clone(), self.run, self.spool);
        let bytes = self.payloads.entry(seq).or_insert_with(|| {
            let context = EventContext {
                id: EventId(fleet_clock::new_uuid()),
                plant: "plant-1".parse().expect("a plant"),
                device,
                vin: None,
                time: fleet_clock::wall_now(),
                spool,
                seq,
                traceparent: None,
            };
            let body = EventBody::AgentStarted(AgentStarted {
                run_id: run,
                agent_version: "0.1.0".to_owned(),
                public_key: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_owned(),
                equipment: Equipment {
                    transports: vec!["doip".to_owned()],
                    ecus: vec![],
                    station: None,
                    vin: None,
                },
                reason: "start".to_owned(),
            });
            encode_event(&context, &body).expect("an event")
        });
        bytes.clone()
    }
}

async fn bench(port: u16, device: DeviceId, plan: Plan) {
    let mut sender = Sender {
        device,
        run: RunId(fleet_clock::new_uuid()),
        spool: SpoolId(fleet_clock::new_uuid()),
        payloads: BTreeMap::new(),
    };
    let mut through = 0;
    while through < plan.events {
        connection(port, &mut sender, plan, &mut through).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// One connection; ends with it, or when every event has its receipt.
async fn connection(port: u16, sender: &mut Sender, plan: Plan, through: &mut u64) {
    let mut options = MqttOptions::new(sender.device.as_str(), "127.0.0.1", port);
    options
        .set_clean_start(false)
        .set_session_expiry_interval(Some(3600))
        .set_max_packet_size(Some(600_000));
    let (client, mut events) = AsyncClient::new(options, 100);
    let topic = |channel| {
        Topic::new(
            "plant-1".parse().expect("a plant"),
            sender.device.clone(),
            channel,
        )
        .to_string()
    };
    let (receipts, mut received) = mpsc::unbounded_channel();
    if client
        .try_subscribe(topic(Channel::Receipts), QoS::AtLeastOnce)
        .is_err()
    {
        return;
    }
    let poller = tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            if let Event::Incoming(Incoming::Publish(publish)) = event
                && let Ok(ReceiptMessage::Receipt(receipt)) = ReceiptMessage::decode(&publish.payload)
                && receipts.send(receipt).is_err()
            {
                return;
            }
        }
    });
    let to = topic(Channel::Events);
    let (mut sent, mut advanced, mut next) = (*through, Instant::now(), Instant::now());
    while *through < plan.events && !poller.is_finished() {
        if sent < plan.events && sent - *through < WINDOW && Instant::now() >= next {
            let seq = sent + 1;
            let place = EventProperties {
                spool: sender.spool,
                seq,
                predecessor: None,
                hole_to: None,
            };
            let properties = PublishProperties {
                user_properties: place.encode(),
                ..PublishProperties::default()
            };
            let payload = sender.payload(seq);
            let taken = client.try_publish_with_properties(&to, QoS::AtLeastOnce, false, payload, properties);
            if taken.is_ok() {
                sent = seq;
                next = Instant::now() + plan.pause;
            }
        }
        let wait = plan.pause.max(Duration::from_millis(2));
        match tokio::time::timeout(wait, received.recv()).await {
            Ok(Some(receipt)) if receipt.spool_id == sender.spool && receipt.through > *through => {
                *through = receipt.through;
                sent = sent.max(*through);
                advanced = Instant::now();
            }
            Ok(None) => break,
            _ => {}
        }
        if advanced.elapsed() > RESEND && sent > *through {
            sent = *through;
            advanced = Instant::now();
        }
    }
    poller.abort();
}

/// The database holds each event of each bench once, and the outbox has each bench's events in their order.
pub(super) async fn judge(store: &dyn Store, plan: Plan) {
    let mut rows: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut after = 0;
    loop {
        let page = store.outbox_read(after, 1000).await.expect("the outbox");
        let Some(last) = page.last() else { break };
        after = last.seq;
        for row in page {
            rows.entry(row.event.device.to_string())
                .or_default()
                .push(row.event.seq);
        }
    }
    assert_eq!(rows.len(), plan.benches, "every bench is there");
    for (device, seqs) in rows {
        assert!(
            seqs.iter().copied().eq(1..=plan.events),
            "{device}: not each event once and in order: {seqs:?}"
        );
        let ledger = store
            .bench_ledger(&device.parse().expect("a device"))
            .await
            .expect("a ledger");
        assert_eq!(
            (ledger[0].stored, ledger[0].through),
            (plan.events, plan.events),
            "{device}"
        );
    }
}
