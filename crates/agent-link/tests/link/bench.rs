//! A bench on a simulated disk.

use std::time::Duration;

use agent_link::{EventDraft, LinkEffect, LinkInput, SenderConfig, Uplink, UplinkConfig};
use fleet_domain::{EventId, Seq, SpoolId, StoreGeneration};
use fleet_wire::event::{AgentStarted, Equipment, EventBody};
use fleet_wire::receipt::{Receipt, SpoolAnswer, SyncAnswer};
use jiff::Timestamp;
use spool::sim::SimDisk;
use spool::{Limits, Position, Spools};
use uuid::Uuid;

pub(crate) fn spool_id(number: u128) -> SpoolId {
    SpoolId(Uuid::from_u128(number))
}

pub(crate) fn generation(number: u128) -> StoreGeneration {
    StoreGeneration(Uuid::from_u128(number))
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) struct Bench {
    pub(crate) disk: SimDisk,
    pub(crate) uplink: Uplink<SimDisk>,
    pub(crate) now: Duration,
}

impl Bench {
    /// Starts an agent on the disk with a new spool.
    pub(crate) fn start(disk: &SimDisk, spool: u128) -> Self {
        let (spools, _) = Spools::open(disk.clone(), Limits::default(), Timestamp::UNIX_EPOCH).unwrap();
        let config = UplinkConfig {
            plant: "plant-1".parse().unwrap(),
            device: "bench-07".parse().unwrap(),
            sender: SenderConfig::default(),
        };
        let mut uplink = Uplink::new(spools, config, 1);
        uplink.begin(spool_id(spool)).unwrap();
        Self {
            disk: disk.clone(),
            uplink,
            now: Duration::ZERO,
        }
    }

    /// A bench with so many durable events and a connection.
    pub(crate) fn connected(events: u64, receive_maximum: u16) -> (Self, Vec<Seq>) {
        let mut bench = Self::start(&SimDisk::new(1), 1);
        bench.write(events, 10);
        let sent = bench.connect(1, receive_maximum);
        (bench, sent)
    }

    /// Appends events of a size and syncs them.
    pub(crate) fn write(&mut self, events: u64, size: usize) {
        for _ in 0..events {
            let draft = EventDraft {
                id: EventId(Uuid::nil()),
                vin: None,
                time: Timestamp::UNIX_EPOCH,
                traceparent: None,
            };
            self.uplink.append(&draft, &body(size)).unwrap();
        }
        self.uplink.sync().unwrap();
    }

    pub(crate) fn handle(&mut self, input: LinkInput) -> Vec<LinkEffect> {
        self.uplink.handle(input, self.now, Timestamp::UNIX_EPOCH)
    }

    pub(crate) fn connect(&mut self, connection: u64, receive_maximum: u16) -> Vec<Seq> {
        positions(&self.handle(LinkInput::Connected {
            connection,
            receive_maximum,
            maximum_packet_size: None,
        }))
    }

    pub(crate) fn tick(&mut self, now: Duration) -> Vec<LinkEffect> {
        self.now = now;
        self.handle(LinkInput::Tick)
    }

    pub(crate) fn puback(&mut self, spool: u128, seq: Seq, reason: u8) -> Vec<LinkEffect> {
        let position = Position {
            spool: spool_id(spool),
            seq,
            predecessor: None,
        };
        self.handle(LinkInput::PubAck {
            connection: 1,
            position,
            reason,
        })
    }

    pub(crate) fn receipt(&mut self, spool: u128, through: Seq) -> Vec<LinkEffect> {
        self.handle(LinkInput::Receipt(receipt(spool, through)))
    }

    /// Asks and answers a sync.
    pub(crate) fn sync(&mut self, of: u128, told: &[(u128, Seq)]) -> Vec<LinkEffect> {
        self.uplink.sync_spools(9);
        self.handle(LinkInput::SyncAnswer(answer(9, of, told)))
    }
}

pub(crate) fn body(size: usize) -> EventBody {
    EventBody::AgentStarted(AgentStarted {
        run_id: fleet_domain::RunId(Uuid::nil()),
        agent_version: "x".repeat(size),
        public_key: String::new(),
        equipment: Equipment::default(),
        reason: "start".to_owned(),
    })
}

pub(crate) fn receipt(spool: u128, through: Seq) -> Receipt {
    Receipt {
        store_generation: generation(1),
        spool_id: spool_id(spool),
        through,
        rejected: Vec::new(),
        gap: false,
        unattributed: false,
    }
}

pub(crate) fn answer(number: u64, of: u128, told: &[(u128, Seq)]) -> SyncAnswer {
    let told = told.iter().map(|(spool, through)| SpoolAnswer {
        spool_id: spool_id(*spool),
        through: *through,
        rejected: Vec::new(),
    });
    SyncAnswer {
        number,
        store_generation: generation(of),
        spools: told.collect(),
        bench_restored: false,
    }
}

/// Positions published, in order.
pub(crate) fn positions(effects: &[LinkEffect]) -> Vec<Seq> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            LinkEffect::Publish { position, .. } => Some(position.seq),
            _ => None,
        })
        .collect()
}
