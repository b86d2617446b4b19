//! The result record: one signed JSON document per attempt, kept on the bench and sent with the final event.
//!
//! Records of a bench form a chain: each names the SHA-256 of the one before, so a missing one shows.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use fleet_domain::{DeviceId, PlantId, RunId};
use fleet_wire::event::{AttemptRef, Verdict};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::crashsafe;
use crate::key::BenchKey;
use crate::runner::FinalReport;

/// Largest record that travels in the final event, bytes; a larger one stays on the bench and leaves its steps out
/// of the event's copy, which are in the step events anyway.
pub const MAX_RECORD_BYTES: usize = 160 * 1024;

/// Why a record could not be written down.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file can't be written or read.
    #[error("result record {path} can't be written or read")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A value has no JSON form.
    #[error("result record has no JSON form")]
    Encode(#[from] serde_json::Error),
}

/// Who the bench is, as each record says it.
#[derive(Debug, Clone, Serialize)]
pub struct Bench {
    /// The plant.
    pub plant: PlantId,
    /// The bench.
    pub device: DeviceId,
    /// Station of the line.
    pub station: Option<String>,
    /// Version of the agent.
    pub agent_version: &'static str,
    /// SHA-256 of the agent's executable, once it is known: it is computed beside the start.
    #[serde(serialize_with = "known")]
    pub agent_sha256: Arc<OnceLock<String>>,
    /// The process.
    pub run_id: RunId,
    /// Address of the vehicle's entity.
    pub entity: String,
}

fn known<S: serde::Serializer>(value: &Arc<OnceLock<String>>, serializer: S) -> Result<S::Ok, S::Error> {
    value.get().serialize(serializer)
}

#[derive(Serialize)]
struct Record<'a> {
    schema: &'static str,
    result_id: Uuid,
    #[serde(flatten)]
    of: AttemptRef,
    bench: &'a Bench,
    requested_by: Option<&'a str>,
    /// UTC by the bench's clock, and seconds since its boot.
    time: Timestamp,
    boot_time_s: f64,
    verdict: Verdict,
    reason_code: &'a str,
    detail: Option<&'a str>,
    software: &'a std::collections::BTreeMap<String, String>,
    #[serde(flatten)]
    material: serde_json::Value,
    trust: Trust<'a>,
}

#[derive(Serialize)]
struct Trust<'a> {
    /// Nobody has compared the bench's clock with another one.
    clock: &'static str,
    public_key: &'a str,
    /// SHA-256 of the bench's record before this one, as its JWS.
    previous_sha256: Option<String>,
}

/// What a record needs beside the report.
#[derive(Debug, Clone)]
pub struct Context {
    /// The attempt.
    pub of: AttemptRef,
    /// Who asked for the job, where known.
    pub requested_by: Option<String>,
    /// Id of the result.
    pub result_id: Uuid,
    /// The wall clock.
    pub wall: Timestamp,
    /// Time since boot.
    pub boot: std::time::Duration,
}

/// The folder of a bench's records.
#[derive(Debug, Clone)]
pub struct Records {
    folder: PathBuf,
    bench: Bench,
}

#[derive(Deserialize)]
struct Stated {
    verdict: Verdict,
    reason_code: String,
}

impl Records {
    /// Records of `bench` in `folder`, which is made when it is not there.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn open(folder: PathBuf, bench: Bench) -> Result<Self, RecordError> {
        std::fs::create_dir_all(&folder).map_err(|source| RecordError::Io {
            path: folder.clone(),
            source,
        })?;
        Ok(Self { folder, bench })
    }

    /// The record of an attempt, signed and durable. An attempt has one: when an earlier process wrote it already
    /// with the same verdict, it is that one. Blocks for two fsyncs.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(
        &self,
        key: &BenchKey,
        context: &Context,
        report: &FinalReport,
    ) -> Result<String, RecordError> {
        if let Some(jws) = self.read(context.of)?
            && stated(&jws)
                .is_some_and(|said| said.verdict == report.verdict && said.reason_code == report.reason_code)
        {
            return Ok(jws);
        }
        let chain = self.folder.join("chain");
        let previous = read_text(&chain)?;
        let mut jws = self.sign(key, context, report, previous.clone())?;
        if jws.len() > MAX_RECORD_BYTES {
            let mut short = report.clone();
            short.record.steps.clear();
            jws = self.sign(key, context, &short, previous)?;
        }
        let path = self.path(context.of);
        write(&path, jws.as_bytes())?;
        write(&chain, hex::encode(Sha256::digest(jws.as_bytes())).as_bytes())?;
        Ok(jws)
    }

    fn sign(
        &self,
        key: &BenchKey,
        context: &Context,
        report: &FinalReport,
        previous_sha256: Option<String>,
    ) -> Result<String, RecordError> {
        let mut material = serde_json::to_value(&report.record)?;
        if let Some(fields) = material.as_object_mut() {
            fields.remove("schema");
        }
        let public_key = key.public();
        let record = Record {
            schema: "vds-result/1",
            result_id: context.result_id,
            of: context.of,
            bench: &self.bench,
            requested_by: context.requested_by.as_deref(),
            time: context.wall,
            boot_time_s: context.boot.as_secs_f64(),
            verdict: report.verdict,
            reason_code: &report.reason_code,
            detail: report.detail.as_deref(),
            software: &report.software,
            material,
            trust: Trust {
                clock: "not_compared",
                public_key: &public_key,
                previous_sha256,
            },
        };
        Ok(key.sign_jws(&serde_json::to_vec(&record)?))
    }

    /// The record of an attempt, if there is one.
    ///
    /// # Errors
    /// When the disk does not give it.
    pub fn read(&self, of: AttemptRef) -> Result<Option<String>, RecordError> {
        read_text(&self.path(of))
    }

    fn path(&self, of: AttemptRef) -> PathBuf {
        self.folder.join(format!("{}-{}.jws", of.job_id, of.attempt))
    }
}

fn stated(jws: &str) -> Option<Stated> {
    use base64::Engine as _;
    let payload = jws.split('.').nth(1)?;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .ok()?;
    serde_json::from_slice(&payload).ok()
}

fn read_text(path: &Path) -> Result<Option<String>, RecordError> {
    let bytes = crashsafe::read(path).map_err(|source| RecordError::Io {
        path: path.to_owned(),
        source,
    })?;
    // A file that is no text is no record: it is written anew.
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    crashsafe::replace(path, bytes).map_err(|source| RecordError::Io {
        path: path.to_owned(),
        source,
    })
}

/// SHA-256 of the running executable, where it can be read. Filled in by a thread of its own: the file has some ten
/// megabytes.
pub fn agent_sha256() -> Arc<OnceLock<String>> {
    let known = Arc::new(OnceLock::new());
    let fill = known.clone();
    std::thread::spawn(move || {
        match std::env::current_exe().and_then(std::fs::read) {
            // Nobody else fills it.
            Ok(bytes) => drop(fill.set(hex::encode(Sha256::digest(bytes)))),
            Err(error) => tracing::warn!(%error, "the agent's own file can't be read"),
        }
    });
    known
}
