//! Writes the seeds of the corpus, `corpus/TARGET/seed-*`, from the golden bytes of the wire, the files of the demo and
//! the products' own encoders: `cargo run -p fuzz-targets --example seeds`.

use std::path::{Path, PathBuf};

use agent_core::Saved;
use doip::{ActivationType, HeaderNackCode, Message, VehicleAnnouncement};
use fleet_domain::SpoolId;
use fleet_settings::{Program, Settings as _};
use jiff::Timestamp;
use spool::sim::SimDisk;
use spool::{Disk as _, Limits, Spools};
use uds::{DtcRecord, Nrc, Response, Session, SessionTiming};
use uuid::Uuid;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn seed(target: &str, name: &str, bytes: impl AsRef<[u8]>) {
    let folder = root().join("fuzz/corpus").join(target);
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join(format!("seed-{name}")), bytes).expect("a seed");
}

fn read(path: impl AsRef<Path>) -> Vec<u8> {
    let path = root().join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn main() {
    wire();
    diagnostics();
    files();
    spools();
    relay();
    server();
}

fn wire() {
    let golden = "crates/fleet-wire/tests/golden/v1";
    let frame: serde_json::Value =
        serde_json::from_slice(&read(format!("{golden}/frame.json"))).expect("JSON");
    for (channel, topic) in frame["topics"].as_object().expect("topics") {
        seed("wire-topic", channel, topic.as_str().expect("a text"));
    }
    for (r#type, pairs) in frame["properties"].as_object().expect("properties") {
        let mut lines = String::new();
        for pair in pairs.as_array().expect("pairs") {
            let (name, value) = (
                pair[0].as_str().expect("a name"),
                pair[1].as_str().expect("a value"),
            );
            lines += &[name, "=", value, "\n"].concat();
        }
        let document = read([golden, "/", r#type, ".json"].concat());
        seed("wire-properties", r#type, &lines);
        seed("wire-event", r#type, &document);
        let topic = frame["topics"]["events"].as_str().expect("a topic");
        seed(
            "server-message",
            r#type,
            [format!("{topic}\n{lines}\n").as_bytes(), &document].concat(),
        );
    }
    for (target, name, channel) in [
        ("wire-sync", "vds.sync.v1", "sync"),
        ("wire-presence", "vds.presence.v1", "presence"),
        ("wire-live", "vds.live.v1", "live"),
        ("wire-receipt", "vds.receipt.v1", "receipts"),
        ("wire-receipt", "vds.sync.answer.v1", "receipts"),
        ("wire-commands", "vds.commands.v1", "commands"),
    ] {
        let document = read(format!("{golden}/{name}.json"));
        seed(target, name, &document);
        let topic = frame["topics"][channel].as_str().expect("a topic");
        seed(
            "server-message",
            name,
            [format!("{topic}\n\n").as_bytes(), &document].concat(),
        );
    }
    seed(
        "server-message",
        "foreign",
        "vds/v1/plant-1/0/bench-07/events\nspool=x\n\n{}",
    );
    for (name, text) in [
        ("device", "bench-07"),
        ("vin", "WDB1110101A000001"),
        ("slot", "f"),
        ("uuid", "01919000-0000-7000-8000-000000000001"),
    ] {
        seed("wire-ids", name, text);
    }
    seed("saved-state", "empty", Saved::default().encode());
    seed("saved-state", "open-job", saved_state());
}

/// The state of a bench that works on one job, from the job of the golden list.
fn saved_state() -> Vec<u8> {
    let golden = read("crates/fleet-wire/tests/golden/v1/vds.commands.v1.json");
    let list: serde_json::Value = serde_json::from_slice(&golden).expect("JSON");
    let entry = list["jobs"]
        .as_array()
        .and_then(|jobs| jobs.iter().find(|job| job["job"].is_object()))
        .expect("a list with a job");
    let of =
        serde_json::json!({"job_id": entry["job_id"], "attempt": entry["attempt"], "fence": entry["fence"]});
    let json = serde_json::json!({
        "boot_id": "boot-1", "generation": list["store_generation"], "desired_version": 7, "offers": [],
        "unreadable": [], "executed": [], "outbox": [],
        "open": [{"of": of, "offer_id": entry["offer_id"], "document": entry["job"], "traceparent": null,
            "start_by": {"secs": 60, "nanos": 0}, "state": "running"}],
    });
    let json = json.to_string();
    let head = Saved::default().encode();
    let head = String::from_utf8_lossy(&head);
    let format = head.split(' ').next().expect("a first word");
    let bytes = format!("{format} {:08x}\n{json}", crc32c::crc32c(json.as_bytes())).into_bytes();
    Saved::decode(&bytes).expect("the seed is one that is read");
    bytes
}

#[expect(clippy::too_many_lines, reason = "a list of seeds")]
fn diagnostics() {
    let announcement = VehicleAnnouncement {
        vin: *b"WDB1110101A000001",
        logical_address: 0x1001,
        eid: [2, 0, 0, 0, 0, 1],
        gid: [0; 6],
        further_action: 0,
        sync_status: Some(0),
    };
    let messages = [
        Message::HeaderNack(HeaderNackCode::UnknownPayloadType),
        Message::IdentificationRequest,
        Message::IdentificationRequestByVin(announcement.vin),
        Message::Announcement(announcement),
        Message::ActivationRequest {
            source: 0x0E80,
            activation: ActivationType::from(0),
            oem: None,
        },
        Message::AliveCheckRequest,
        Message::Diagnostic {
            source: 0x0E80,
            target: 0x1001,
            data: vec![0x22, 0xF1, 0x90],
        },
        Message::DiagnosticAck {
            source: 0x1001,
            target: 0x0E80,
            code: 0,
            previous: vec![0x22],
        },
    ];
    let mut stream = vec![5];
    for (number, message) in messages.iter().enumerate() {
        let bytes = message.encode();
        stream.extend_from_slice(&bytes);
        seed("doip-message", &number.to_string(), bytes);
    }
    seed("doip-stream", "all", &stream);
    // A length of 1 GiB, of a known type and of one that nobody knows.
    seed(
        "doip-stream",
        "gib",
        [&[3, 2, 0xFD, 0x80, 0x01, 0x40, 0, 0, 0][..], b"tail"].concat(),
    );
    seed(
        "doip-stream",
        "unknown",
        [&[9, 2, 0xFD, 0x12, 0x34, 0, 0, 0, 2, 1, 1][..], &stream[1..]].concat(),
    );

    let responses = [
        Response::Negative {
            service: 0x22,
            nrc: Nrc::from(0x31),
        },
        Response::SessionControl {
            session: Session::from(3),
            timing: SessionTiming {
                p2_ms: 50,
                p2_star_10ms: 500,
            },
        },
        Response::Dtcs {
            availability_mask: 0xFF,
            records: vec![DtcRecord {
                code: 0x0012_3456,
                status: 9,
            }],
        },
        Response::Data {
            did: 0xF190,
            data: b"WDB1110101A000001".to_vec(),
        },
        Response::Seed {
            level: 1,
            seed: vec![1, 2, 3, 4],
        },
        Response::DownloadAccepted {
            max_block_length: 0x0402,
        },
        Response::TransferData {
            counter: 1,
            record: vec![],
        },
        Response::TesterPresent,
    ];
    for (number, response) in responses.iter().enumerate() {
        seed("uds-response", &number.to_string(), response.encode());
    }
    for (number, request) in [
        &[0x10, 0x03][..],
        &[0x22, 0xF1, 0x90],
        &[0x27, 0x01],
        &[0x2E, 0xF1, 0x90, 1],
        &[0x2F, 0x12, 0x34, 3, 1],
        &[0x31, 1, 0xFF, 0],
        &[0x34, 0, 0x44, 0, 1, 0, 0, 0, 0, 4, 0],
        &[0x36, 1, 9, 9],
        &[0x3E, 0x80],
        &[0x85, 2],
    ]
    .into_iter()
    .enumerate()
    {
        seed("uds-request", &number.to_string(), request);
    }
}

fn files() {
    for name in ["calibrate.camera", "eol.test", "flash.esp.app"] {
        seed("procedure", name, read(format!("demo/procedures/{name}.yaml")));
    }
    seed("ecu-vehicles", "demo", read("demo/vehicles.yaml"));
    seed("ecu-fault", "power", "WDB1110101A000001/ESP=power_loss,block=12");
    seed(
        "ecu-fault",
        "nrc",
        "WDB1110101A000001/ESP=nrc,service=0x31,bytes=01ff00,code=0x72,times=1",
    );
    let image = ecu_sim::build_image("1K0907115", "0042", 96, 1).expect("an image");
    seed("ecu-image", "small", image);
    for (name, text) in [
        ("host", "broker:1883"),
        ("six", "[::1]:1883"),
        ("url", "mqtt://user@broker:1883/path"),
        ("password", "kafka://user:secret@a:9092,b:9092"),
    ] {
        seed("host-port", name, text);
    }
    for name in [
        "shift",
        "peak",
        "reconnect-storm",
        "broker-outage",
        "kafka-outage",
    ] {
        seed(
            "loadtest-scenario",
            name,
            read(format!("loadtest/scenarios/{name}.toml")),
        );
    }
    settings("agent-settings", device_agent::config::Config::PROGRAM);
    settings("server-settings", fleet_server::config::Config::PROGRAM);
    let header = r#"{"job_id":"01919000-0000-7000-8000-000000000011","attempt":1,"fence":3,"vin":"WDB1110101A000001","procedure":"id: x","artifacts":[{"input":"app","name":"esp","version":"1","sha256":"00","size":4}],"parameters":{"a":"b"}}"#;
    let intent = r#""step_index":2,"step":"erase","point_of_no_return":true"#;
    let journal = format!(
        "{{\"entry\":\"begun\",\"schema\":1,\"header\":{header}}}\n{{\"entry\":\"intent\",{intent}}}\n\
         {{\"entry\":\"confirmed\",{intent}}}\n"
    );
    device_agent::journal::parse(journal.as_bytes()).expect("the seed is one that is read");
    seed("agent-journal", "begun", &journal);
    seed(
        "agent-journal",
        "cut",
        format!("{journal}{{\"entry\":\"intent\",\"st"),
    );
}

fn settings(target: &str, program: Program) {
    let defaults = program.defaults_toml();
    seed(target, "defaults", &defaults);
    seed(target, "device", format!("device = \"bench-07\"\n{defaults}"));
    seed(
        target,
        "wrong",
        "plant = 7\n[broker]\nurl = \"mqtt://u:secret@x\"\nnone = 1\n",
    );
}

/// A folder as one input, as the target unpacks it.
fn pack(disk: &mut SimDisk, mend: u8) -> Vec<u8> {
    let mut bytes = vec![mend];
    for name in disk.list().expect("the disk reads") {
        let content = disk.content(&name).expect("it is there");
        bytes.push(u8::try_from(name.len()).expect("a short name"));
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&u16::try_from(content.len()).expect("a small file").to_le_bytes());
        bytes.extend_from_slice(&content);
    }
    bytes
}

fn spools() {
    let mut disk = SimDisk::new(1);
    let limits = Limits {
        segment_bytes: 512,
        ..Limits::default()
    };
    let now = Timestamp::UNIX_EPOCH;
    for run in 1..=2_u128 {
        let (mut spools, _) = Spools::open(disk.clone(), limits, now).expect("the disk is sound");
        spools.begin(SpoolId(Uuid::from_u128(run))).expect("it begins");
        for event in 0..6_u8 {
            let position = spools.next_position().expect("begun");
            spools.append(position, &[event; 90]).expect("the disk is sound");
            spools.sync().expect("the disk is sound");
        }
        spools.settle(SpoolId(Uuid::from_u128(run)), 2, now);
        spools.compact(now).expect("the disk is sound");
        seed("spool-folder", &format!("run-{run}"), pack(&mut disk, 0));
        seed("spool-folder", &format!("run-{run}-mended"), pack(&mut disk, 1));
    }
    for (name, steps) in [
        ("one-spool", &[0, 0, 60, 1, 8, 9, 4, 16, 4, 24, 5][..]),
        (
            "restarts",
            &[1, 0, 200, 4, 8, 8, 4, 7, 16, 16, 4, 7, 240, 4, 14, 8, 4],
        ),
        ("marks", &[9, 0, 12, 2, 8, 4, 8, 4, 8, 4, 8, 4]),
    ] {
        seed("spool-damage", name, steps);
    }
}

fn relay() {
    seed(
        "relay-cursor",
        "plain",
        r#"{"seq":12,"token":"01919000-0000-7000-8000-000000000001","store_generation":"01919000-0000-7000-8000-000000000002","relay_term":3,"at":"2026-01-02T03:04:05Z","highs":"00112233aabbccdd"}"#,
    );
    seed(
        "relay-headers",
        "plain",
        "plant=plant-1\ndevice=bench-07\nspool=01919000-0000-7000-8000-000000000001\nseq=12\nevent_id=x\n",
    );
    seed(
        "relay-headers",
        "restored",
        "plant=plant-1\ntype=vds.store.restored.v1\n",
    );
}

fn server() {
    seed("server-cursor", "plain", "00000000000000000000000000000007-42");
    // RFC 8037, appendix A.4.
    seed(
        "server-record",
        "rfc8037",
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg\n11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    );
    seed(
        "server-job",
        "plain",
        r#"{"kind":"flash","vin":"WDB1110101A000001","ecu":"ESP","procedure":{"id":"flash.esp.app","version":"1"},"artifacts":[{"input":"app","name":"esp","version":"1"}],"parameters":{"a":"b"},"start_within_s":60,"deadline":"2026-01-02T03:04:05Z","priority":1}"#,
    );
}
