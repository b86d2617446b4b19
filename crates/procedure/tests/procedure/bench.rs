//! Procedures to break, and a control unit that is a table.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use procedure::{Artifact, Inputs, Plan, compile};

pub(crate) const VIN: &str = "WDB1110101A000001";

/// A small procedure with everything that a flash needs.
pub(crate) const FLASH: &str = r#"schema: proc/1
id: flash.test
version: "1"
title: Test
kind: flash
target: {ecu: ESP, la: 0x1001, part: [P1]}
budget: {total_s: 60}
inputs: {image: {type: artifact}}
preconditions:
  - {id: ubat, read: 0x2110, decode: u16, scale: 0.01, unit: V, limits: {ge: 12, le: 15}, on_fail: abort}
steps:
  - {id: ext, session: 3}
  - {id: quiet, dtc_setting: off, comm: disable_tx}
  - {id: prog, session: 2}
  - {id: unlock, security: {level: 0x11, signer: backend}}
  - {id: erase, routine: 0xFF00, writes: true, point_of_no_return: true}
  - {id: load, download: {artifact: image}, on_link_loss: {restart_from: ext, max_restarts: 1}}
  - {id: check, routine: 0x0202, option: "${image.crc32}", expect: {byte0: 0}, writes: true}
  - {id: reset, reset: hard}
verify:
  - {id: sw, read: 0xF189, equals: "${image.version}"}
cleanup: [restore_comm, restore_dtc, session_default]
"#;

static GOOD: LazyLock<Arc<Plan>> = LazyLock::new(|| Arc::new(compile(FLASH).unwrap()));

pub(crate) fn plan(yaml: &str) -> Arc<Plan> {
    if yaml == FLASH {
        return Arc::clone(&GOOD);
    }
    Arc::new(compile(yaml).unwrap_or_else(|errors| panic!("{}", errors[0])))
}

pub(crate) fn inputs() -> Inputs {
    let image = Artifact {
        name: "app".to_owned(),
        version: "2".to_owned(),
        sha256: String::new(),
        bytes: Arc::from(vec![7; 40]),
    };
    Inputs {
        vin: VIN.to_owned(),
        job_id: "job".to_owned(),
        artifacts: BTreeMap::from([("image".to_owned(), image)]),
        parameters: BTreeMap::new(),
    }
}

pub(crate) const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}
