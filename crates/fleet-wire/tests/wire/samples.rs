//! One sample of every document, fixed for ever: the golden files hold their bytes.

use std::collections::BTreeMap;

use fleet_domain::{DeviceId, EventId, JobId, OfferId, PlantId, RunId, SpoolId, StoreGeneration};
use fleet_wire::command::{
    ArtifactRef, Commands, DesiredJob, DesiredState, JobDocument, JobKind, ProcedureRef,
};
use fleet_wire::event::{
    AgentStarted, AttemptRef, Equipment, JobAccepted, JobFinished, JobRejected, JobStarted, Limits,
    Measurement, Outcome, SpoolHole, StepFinished, Value, Verdict,
};
use fleet_wire::live::Live;
use fleet_wire::presence::Presence;
use fleet_wire::receipt::{Receipt, ReceiptMessage, RejectCode, Rejection, SpoolAnswer, SyncAnswer};
use fleet_wire::sync::{BenchJob, BenchJobState, FormerSpool, HeldSpool, Sync};
use fleet_wire::{Channel, EventBody, EventContext, EventProperties, Predecessor, Topic};
use jiff::Timestamp;
use uuid::Uuid;

pub(crate) fn uuid(n: u8) -> Uuid {
    format!("01919000-0000-7000-8000-0000000000{n:02x}")
        .parse()
        .unwrap()
}

pub(crate) fn plant() -> PlantId {
    "plant-1".parse().unwrap()
}

pub(crate) fn device() -> DeviceId {
    "bench-07".parse().unwrap()
}

pub(crate) fn topic() -> Topic {
    Topic::new(plant(), device(), Channel::Events)
}

pub(crate) fn time() -> Timestamp {
    "2026-11-23T06:00:00.25Z".parse().unwrap()
}

pub(crate) const VIN: &str = "1M8GDM9AXKP042788";
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

pub(crate) fn properties(seq: u64) -> EventProperties {
    EventProperties {
        spool: SpoolId(uuid(1)),
        seq,
        predecessor: None,
        hole_to: None,
    }
}

pub(crate) fn context(seq: u64) -> EventContext {
    EventContext {
        id: EventId(uuid(2)),
        plant: plant(),
        device: device(),
        vin: Some(VIN.to_owned()),
        time: time(),
        spool: SpoolId(uuid(1)),
        seq,
        traceparent: Some(TRACE.to_owned()),
    }
}

fn attempt() -> AttemptRef {
    AttemptRef {
        job_id: JobId(uuid(3)),
        attempt: 1,
        fence: 7,
    }
}

/// Every event, with the properties that it travels with.
pub(crate) fn events() -> Vec<(EventProperties, EventBody)> {
    let first = EventProperties {
        predecessor: Some(Predecessor {
            spool: SpoolId(uuid(9)),
            last_seq: 41,
        }),
        ..properties(1)
    };
    let bodies = [
        EventBody::JobAccepted(JobAccepted {
            of: attempt(),
            offer_id: OfferId(uuid(4)),
            store_generation: StoreGeneration(uuid(5)),
            desired_version: 12,
        }),
        EventBody::JobRejected(JobRejected {
            of: attempt(),
            offer_id: OfferId(uuid(4)),
            code: "spool_full".to_owned(),
            detail: Some("92 % of 4 GiB are waiting for a receipt".to_owned()),
        }),
        EventBody::JobStarted(JobStarted {
            of: attempt(),
            steps_total: 14,
        }),
        EventBody::StepFinished(step()),
        EventBody::JobFinished(JobFinished {
            of: attempt(),
            verdict: Verdict::Passed,
            reason_code: "ok".to_owned(),
            detail: None,
            software: BTreeMap::from([("ESP".to_owned(), "7.4.1".to_owned())]),
            record: Some("e30.e30.AA".to_owned()),
        }),
    ];
    let started = EventBody::AgentStarted(AgentStarted {
        run_id: RunId(uuid(6)),
        agent_version: "0.1.0".to_owned(),
        public_key: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_owned(),
        equipment: Equipment {
            transports: vec!["doip".to_owned()],
            ecus: vec!["ESP".to_owned()],
            station: Some("eol-3".to_owned()),
            vin: Some(VIN.to_owned()),
        },
        reason: "start".to_owned(),
    });
    let hole = EventBody::SpoolHole(SpoolHole {
        to: 9,
        reason: "unreadable".to_owned(),
    });
    let mut all = vec![(first, started)];
    all.extend((2..).zip(bodies).map(|(seq, body)| (properties(seq), body)));
    all.push((
        EventProperties {
            hole_to: Some(9),
            ..properties(7)
        },
        hole,
    ));
    all
}

fn step() -> StepFinished {
    StepFinished {
        of: attempt(),
        index: 3,
        step: "ubat".to_owned(),
        name: "Supply voltage".to_owned(),
        outcome: Outcome::Passed,
        started_at: time(),
        finished_at: "2026-11-23T06:00:02.25Z".parse().unwrap(),
        duration_ms: 2000,
        retries: 1,
        nrc: Some(0x21),
        detail: None,
        measurements: vec![
            Measurement {
                name: "ubat".to_owned(),
                raw: "0564".to_owned(),
                value: Value::Number(13.8),
                unit: Some("V".to_owned()),
                limits: Limits {
                    ge: Some(12.5),
                    le: Some(14.8),
                    ..Limits::default()
                },
                outcome: Outcome::Passed,
                marginal: false,
            },
            Measurement {
                name: "part".to_owned(),
                raw: "41".to_owned(),
                value: Value::Text("A".to_owned()),
                unit: None,
                limits: Limits {
                    equals: Some("A".to_owned()),
                    ..Limits::default()
                },
                outcome: Outcome::Passed,
                marginal: false,
            },
        ],
    }
}

pub(crate) fn sync() -> Sync {
    Sync {
        number: 3,
        answered: 2,
        run_id: RunId(uuid(6)),
        connect_counter: 2,
        store_generation: Some(StoreGeneration(uuid(5))),
        desired_version: 12,
        spools: vec![HeldSpool {
            spool_id: SpoolId(uuid(1)),
            predecessor: Some(Predecessor {
                spool: SpoolId(uuid(9)),
                last_seq: 41,
            }),
            first_kept: 1,
            next_seq: 8,
            receipted: 6,
            rejections_known: 0,
        }],
        former: vec![FormerSpool {
            spool_id: SpoolId(uuid(9)),
            last_seq: 41,
        }],
        jobs: vec![BenchJob {
            job_id: JobId(uuid(3)),
            attempt: 1,
            state: BenchJobState::Running,
        }],
        time: time(),
        refusing_jobs: None,
    }
}

pub(crate) fn receipt() -> ReceiptMessage {
    ReceiptMessage::Receipt(Receipt {
        store_generation: StoreGeneration(uuid(5)),
        spool_id: SpoolId(uuid(1)),
        through: 6,
        rejected: vec![Rejection {
            seq: 4,
            code: RejectCode::Malformed,
        }],
        gap: true,
        unattributed: true,
    })
}

pub(crate) fn answer() -> ReceiptMessage {
    ReceiptMessage::SyncAnswer(SyncAnswer {
        number: 3,
        store_generation: StoreGeneration(uuid(5)),
        spools: vec![
            SpoolAnswer {
                spool_id: SpoolId(uuid(1)),
                through: 6,
                rejected: vec![Rejection {
                    seq: 4,
                    code: RejectCode::Conflict,
                }],
            },
            SpoolAnswer {
                spool_id: SpoolId(uuid(9)),
                through: 41,
                rejected: vec![],
            },
        ],
        bench_restored: true,
    })
}

pub(crate) fn commands() -> Commands {
    Commands {
        store_generation: StoreGeneration(uuid(5)),
        desired_version: 12,
        jobs: vec![
            DesiredJob {
                job_id: JobId(uuid(3)),
                attempt: 1,
                fence: 7,
                offer_id: Some(OfferId(uuid(4))),
                state: DesiredState::Offered,
                traceparent: Some(TRACE.to_owned()),
                job: Some(job()),
            },
            DesiredJob {
                job_id: JobId(uuid(8)),
                attempt: 2,
                fence: 6,
                offer_id: None,
                state: DesiredState::InDoubt,
                traceparent: None,
                job: None,
            },
        ],
        time: time(),
    }
}

fn job() -> JobDocument {
    let sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned();
    JobDocument {
        kind: JobKind::Flash,
        vin: VIN.parse().unwrap(),
        ecu: "ESP".to_owned(),
        procedure: ProcedureRef {
            id: "flash.esp.app".to_owned(),
            version: "1.0".to_owned(),
            sha256: sha256.clone(),
            path: "/api/v1/procedures/flash.esp.app/1.0".to_owned(),
        },
        artifacts: vec![ArtifactRef {
            input: "image".to_owned(),
            name: "esp-app".to_owned(),
            version: "7.4.1".to_owned(),
            sha256,
            size: 65536,
            path: "/api/v1/artifacts/esp-app/7.4.1".to_owned(),
        }],
        parameters: BTreeMap::from([("country".to_owned(), "DE".to_owned())]),
        start_within_s: 600,
        priority: 5,
        requested_by: "operator".to_owned(),
    }
}

pub(crate) fn presence() -> Presence {
    Presence {
        run_id: RunId(uuid(6)),
        connect_counter: 2,
        online: false,
        will: true,
        time: time(),
    }
}

pub(crate) fn live() -> Live {
    Live {
        job_id: JobId(uuid(3)),
        attempt: 1,
        step: "load".to_owned(),
        step_index: 8,
        steps_total: 14,
        bytes_done: 32768,
        bytes_total: 65536,
        time: time(),
    }
}
