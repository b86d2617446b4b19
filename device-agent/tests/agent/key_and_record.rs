//! The bench's key and the records that it signs.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use device_agent::key::{BenchKey, KEY_FILE, KeyError};
use device_agent::record::{Bench, Context, MAX_RECORD_BYTES, Records};
use device_agent::runner::{FinalReport, FinishedStep, ProcedureNote, RecordMaterial};
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use fleet_domain::{JobId, RunId};
use fleet_wire::event::{AttemptRef, Outcome, Verdict};
use procedure::EndState;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

fn records(folder: &Path) -> Records {
    let bench = Bench {
        plant: "plant-1".parse().unwrap(),
        device: "bench-07".parse().unwrap(),
        station: Some("eol-3".to_owned()),
        agent_version: "0.1.0",
        agent_sha256: std::sync::Arc::default(),
        run_id: RunId(Uuid::from_u128(6)),
        entity: "127.0.0.1:13400".to_owned(),
    };
    Records::open(folder.join("results"), bench).unwrap()
}

fn context(job: u128) -> Context {
    Context {
        of: AttemptRef {
            job_id: JobId(Uuid::from_u128(job)),
            attempt: 1,
            fence: 7,
        },
        requested_by: Some("local".to_owned()),
        result_id: Uuid::from_u128(99),
        wall: "2026-03-04T05:06:07Z".parse().unwrap(),
        boot: Duration::from_millis(1500),
    }
}

fn step(index: u32) -> FinishedStep {
    FinishedStep {
        index,
        step: "load".to_owned(),
        name: "Load the image".to_owned(),
        outcome: Outcome::Passed,
        started_at: "2026-03-04T05:06:06Z".parse().unwrap(),
        finished_at: "2026-03-04T05:06:07Z".parse().unwrap(),
        duration_ms: 1000,
        retries: 0,
        pending: 2,
        nrc: None,
        detail: None,
        measurements: Vec::new(),
    }
}

fn report(verdict: Verdict, steps: u32) -> FinalReport {
    FinalReport {
        verdict,
        reason_code: "ok".to_owned(),
        detail: None,
        software: BTreeMap::from([("ESP".to_owned(), "7.4.1".to_owned())]),
        record: RecordMaterial {
            schema: 1,
            procedure: ProcedureNote {
                id: "flash.esp.app".to_owned(),
                version: "1.0".to_owned(),
                sha256: "0".repeat(64),
            },
            vin_expected: "1M8GDM9AXKP042788".to_owned(),
            vin_read: Some("1M8GDM9AXKP042788".to_owned()),
            ecu: "ESP".to_owned(),
            logical_address: 0x1001,
            artifacts: Vec::new(),
            parameters: BTreeMap::new(),
            before: None,
            after: None,
            end_state: EndState::App,
            not_restored: Vec::new(),
            restarts: 0,
            steps: (0..steps).map(step).collect(),
        },
    }
}

/// Verifies a JWS with a public key as `AgentStarted` states it, as somebody else would.
fn verify(jws: &str, public_key: &str) -> Option<Value> {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    let parts: Vec<&str> = jws.split('.').collect();
    let [header, payload, signature] = parts.as_slice() else {
        return None;
    };
    let alg: Value = serde_json::from_slice(&decode(header)?).ok()?;
    assert_eq!(alg["alg"], "EdDSA");
    let key = VerifyingKey::from_bytes(decode(public_key)?.as_slice().try_into().ok()?).ok()?;
    let signature = Signature::from_slice(&decode(signature)?).ok()?;
    key.verify(format!("{header}.{payload}").as_bytes(), &signature)
        .ok()?;
    serde_json::from_slice(&decode(payload)?).ok()
}

#[test]
fn a_record_verifies_with_the_public_key_and_says_what_was_done() {
    let dir = tempfile::tempdir().unwrap();
    let key = BenchKey::load_or_make(dir.path()).unwrap();
    let jws = records(dir.path())
        .write(&key, &context(1), &report(Verdict::Passed, 2))
        .unwrap();
    let record = verify(&jws, &key.public()).expect("the signature is right");
    assert_eq!(record["schema"], "vds-result/1");
    assert_eq!(record["job_id"], Uuid::from_u128(1).to_string());
    assert_eq!(record["bench"]["device"], "bench-07");
    assert_eq!(record["verdict"], "passed");
    assert_eq!(record["vin_read"], "1M8GDM9AXKP042788");
    assert_eq!(record["procedure"]["id"], "flash.esp.app");
    assert_eq!(record["end_state"], "app");
    assert_eq!(record["steps"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_record_that_was_changed_does_not_verify() {
    let dir = tempfile::tempdir().unwrap();
    let key = BenchKey::load_or_make(dir.path()).unwrap();
    let jws = records(dir.path())
        .write(&key, &context(1), &report(Verdict::Failed, 1))
        .unwrap();
    let parts: Vec<&str> = jws.split('.').collect();
    let payload = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
    let lie = String::from_utf8(payload)
        .unwrap()
        .replace("\"failed\"", "\"passed\"");
    let forged = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(lie), parts[2]);
    assert_eq!(verify(&forged, &key.public()), None);
}

#[test]
fn records_form_a_chain() {
    let dir = tempfile::tempdir().unwrap();
    let key = BenchKey::load_or_make(dir.path()).unwrap();
    let records = records(dir.path());
    let first = records
        .write(&key, &context(1), &report(Verdict::Passed, 1))
        .unwrap();
    let second = records
        .write(&key, &context(2), &report(Verdict::Passed, 1))
        .unwrap();
    let previous = |jws: &str| verify(jws, &key.public()).unwrap()["trust"]["previous_sha256"].clone();
    assert_eq!(previous(&first), Value::Null);
    assert_eq!(previous(&second), hex::encode(Sha256::digest(first.as_bytes())));
}

#[test]
fn an_attempt_has_one_record_unless_its_verdict_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let key = BenchKey::load_or_make(dir.path()).unwrap();
    let records = records(dir.path());
    let first = records
        .write(&key, &context(1), &report(Verdict::Passed, 1))
        .unwrap();
    assert_eq!(
        records
            .write(&key, &context(1), &report(Verdict::Passed, 1))
            .unwrap(),
        first
    );
    let other = records
        .write(&key, &context(1), &report(Verdict::InDoubt, 1))
        .unwrap();
    assert_eq!(verify(&other, &key.public()).unwrap()["verdict"], "in_doubt");
}

#[test]
fn a_record_that_would_not_fit_into_an_event_leaves_its_steps_to_the_step_events() {
    let dir = tempfile::tempdir().unwrap();
    let key = BenchKey::load_or_make(dir.path()).unwrap();
    let jws = records(dir.path())
        .write(&key, &context(1), &report(Verdict::Passed, 1000))
        .unwrap();
    assert!(jws.len() <= MAX_RECORD_BYTES, "{}", jws.len());
    assert_eq!(verify(&jws, &key.public()).unwrap()["verdict"], "passed");
}

#[test]
fn a_key_is_made_once_for_this_user_only() {
    let dir = tempfile::tempdir().unwrap();
    let first = BenchKey::load_or_make(dir.path()).unwrap().public();
    let again = BenchKey::load_or_make(dir.path()).unwrap().public();
    assert_eq!(first, again);
    let path = dir.path().join(KEY_FILE);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let other = tempfile::tempdir().unwrap();
    assert_ne!(BenchKey::load_or_make(other.path()).unwrap().public(), first);
}

#[test]
fn a_key_that_others_can_read_or_that_was_cut_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    BenchKey::load_or_make(dir.path()).unwrap();
    let path = dir.path().join(KEY_FILE);
    let set_mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o644);
    assert!(matches!(
        BenchKey::load_or_make(dir.path()),
        Err(KeyError::Mode { mode: 0o644, .. })
    ));
    set_mode(0o600);
    std::fs::write(&path, [1; 31]).unwrap();
    assert!(matches!(
        BenchKey::load_or_make(dir.path()),
        Err(KeyError::Length { bytes: 31, .. })
    ));
}

#[test]
fn the_secret_half_is_in_no_debug_output() {
    let dir = tempfile::tempdir().unwrap();
    let key = BenchKey::load_or_make(dir.path()).unwrap();
    let secret = std::fs::read(dir.path().join(KEY_FILE)).unwrap();
    let shown = format!("{key:?}");
    assert!(!shown.contains(&hex::encode(&secret)));
    assert!(!shown.contains(&URL_SAFE_NO_PAD.encode(&secret)));
    assert!(!shown.contains(&format!("{secret:?}")));
}
