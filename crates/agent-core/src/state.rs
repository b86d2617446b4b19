//! What the core keeps over a crash.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use fleet_domain::{EventId, JobId, OfferId, StoreGeneration, Vin};
use fleet_wire::EventBody;
use fleet_wire::command::JobDocument;
use fleet_wire::event::{AttemptRef, JobAccepted, JobFinished, JobRejected, Verdict};
use fleet_wire::sync::BenchJobState;
use serde::{Deserialize, Serialize};

use crate::event::{Append, AttemptKey};

/// Executed attempts that are remembered. A count and not an age: a clock that jumped must not make the bench
/// forget what it did. At a hundred jobs a day it is forty days.
pub const MAX_EXECUTED: usize = 4096;

const FORMAT: &str = "agent-core/1";

/// Why a saved state can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The first line is not `agent-core/1` and a checksum.
    #[error("the saved state does not begin with \"{FORMAT}\" and a checksum")]
    Header,
    /// The bytes are not those that were written.
    #[error("the saved state's checksum is {found:08x}, its first line says {expected:08x}")]
    Checksum {
        /// As computed.
        found: u32,
        /// As stated.
        expected: u32,
    },
    /// The checksum is right, the document is not ours.
    #[error("the saved state can't be read")]
    Malformed(#[from] serde_json::Error),
}

/// The state as saved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The boot that the limits below count in.
    pub(crate) boot_id: String,
    pub(crate) generation: Option<StoreGeneration>,
    pub(crate) desired_version: u64,
    /// Offers that were not accepted, in order of arrival.
    pub(crate) offers: Vec<Offer>,
    /// Refused offers whose job could not be read, until they are gone from the list.
    pub(crate) unreadable: Vec<OfferId>,
    /// Accepted jobs, in order of acceptance, until they are over and gone from the list.
    pub(crate) open: Vec<OpenJob>,
    /// Newest last.
    pub(crate) executed: VecDeque<Executed>,
    /// Events that must be in a spool once, until they are known to be there.
    pub(crate) outbox: Vec<Pending>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(crate) id: OfferId,
    pub(crate) of: AttemptRef,
    pub(crate) document: JobDocument,
    pub(crate) traceparent: Option<String>,
    /// Boot time by which the first step has to begin.
    pub(crate) start_by: Duration,
    pub(crate) generation: StoreGeneration,
    pub(crate) desired_version: u64,
    /// Refused or answered with an earlier result; kept until it is gone from the list.
    pub(crate) answered: bool,
}

impl Offer {
    pub(crate) fn key(&self) -> AttemptKey {
        self.of.into()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OpenJob {
    pub(crate) of: AttemptRef,
    /// The offer that was accepted; none where the bench knows of no acceptance.
    pub(crate) offer_id: Option<OfferId>,
    pub(crate) document: Option<JobDocument>,
    pub(crate) traceparent: Option<String>,
    pub(crate) start_by: Duration,
    pub(crate) state: BenchJobState,
}

impl OpenJob {
    pub(crate) fn key(&self) -> AttemptKey {
        self.of.into()
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, BenchJobState::Finished | BenchJobState::InDoubt)
    }

    pub(crate) fn vin(&self) -> Option<Vin> {
        self.document.as_ref().map(|document| document.vin.clone())
    }
}

/// The result of an attempt, without its record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Executed {
    pub(crate) job_id: JobId,
    pub(crate) attempt: u32,
    pub(crate) verdict: Verdict,
    pub(crate) reason_code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) software: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) id: EventId,
    pub(crate) vin: Option<Vin>,
    pub(crate) traceparent: Option<String>,
    pub(crate) event: PendingEvent,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PendingEvent {
    Accepted(JobAccepted),
    Rejected(JobRejected),
    Finished(JobFinished),
}

impl Pending {
    pub(crate) fn append(&self) -> Append {
        Append {
            id: self.id,
            vin: self.vin.clone(),
            traceparent: self.traceparent.clone(),
            body: match &self.event {
                PendingEvent::Accepted(body) => EventBody::JobAccepted(body.clone()),
                PendingEvent::Rejected(body) => EventBody::JobRejected(body.clone()),
                PendingEvent::Finished(body) => EventBody::JobFinished(body.clone()),
            },
        }
    }
}

impl Saved {
    /// The bytes to save: one line with the format and a CRC-32C, then JSON.
    pub fn encode(&self) -> Vec<u8> {
        // Our own types always have a JSON form.
        let json = serde_json::to_vec(self).unwrap_or_default();
        let mut bytes = format!("{FORMAT} {:08x}\n", crc32c::crc32c(&json)).into_bytes();
        bytes.extend_from_slice(&json);
        bytes
    }

    /// Reads saved bytes.
    ///
    /// # Errors
    /// When they are not exactly what was written. Nothing is guessed: a bench that forgot what it did could
    /// do it again.
    pub fn decode(bytes: &[u8]) -> Result<Self, RestoreError> {
        let end = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or(RestoreError::Header)?;
        let (header, json) = bytes.split_at(end);
        let json = json.get(1..).unwrap_or_default();
        let expected = std::str::from_utf8(header)
            .ok()
            .and_then(|header| header.strip_prefix(FORMAT)?.strip_prefix(' '))
            .filter(|digits| digits.len() == 8)
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or(RestoreError::Header)?;
        let found = crc32c::crc32c(json);
        if found != expected {
            return Err(RestoreError::Checksum { found, expected });
        }
        Ok(serde_json::from_slice(json)?)
    }

    /// Events that may or may not have reached a spool before the process ended: look for them there.
    pub fn unconfirmed(&self) -> BTreeSet<EventId> {
        self.outbox.iter().map(|pending| pending.id).collect()
    }

    /// Generation and version of the list that was taken last.
    pub fn list(&self) -> Option<(StoreGeneration, u64)> {
        self.generation
            .map(|generation| (generation, self.desired_version))
    }

    /// The jobs that are open, for a display.
    pub fn jobs(&self) -> Vec<JobView> {
        let offered = self
            .unanswered()
            .map(|offer| JobView::new(offer.of, "offered", Some(&offer.document)));
        let open = self.open.iter().map(|job| {
            let state = match job.state {
                BenchJobState::Accepted => "accepted",
                BenchJobState::Running => "running",
                BenchJobState::InDoubt => "in_doubt",
                BenchJobState::Finished | BenchJobState::Unknown => "finished",
            };
            JobView::new(job.of, state, job.document.as_ref())
        });
        open.chain(offered).collect()
    }

    pub(crate) fn offer(&self, key: AttemptKey) -> Option<&Offer> {
        self.unanswered().find(|offer| offer.key() == key)
    }

    /// Offers that are still to be taken or refused.
    pub(crate) fn unanswered(&self) -> impl DoubleEndedIterator<Item = &Offer> {
        self.offers.iter().filter(|offer| !offer.answered)
    }

    pub(crate) fn open(&self, key: AttemptKey) -> Option<&OpenJob> {
        self.open.iter().find(|job| job.key() == key)
    }

    pub(crate) fn open_mut(&mut self, key: AttemptKey) -> Option<&mut OpenJob> {
        self.open.iter_mut().find(|job| job.key() == key)
    }

    pub(crate) fn executed(&self, key: AttemptKey) -> Option<&Executed> {
        self.executed
            .iter()
            .rev()
            .find(|done| done.job_id == key.job_id && done.attempt >= key.attempt)
    }

    /// Whether this attempt, or a later one of the job, was ever accepted here.
    pub(crate) fn knows(&self, key: AttemptKey) -> bool {
        let open = self
            .open
            .iter()
            .any(|job| job.of.job_id == key.job_id && job.of.attempt >= key.attempt);
        open || self.executed(key).is_some()
    }

    pub(crate) fn remember(&mut self, done: Executed) {
        self.executed.push_back(done);
        while self.executed.len() > MAX_EXECUTED {
            self.executed.pop_front();
        }
    }

    /// Whether the acceptance of an attempt still has to become durable in a spool.
    pub(crate) fn acceptance_pending(&self, key: AttemptKey) -> bool {
        self.outbox.iter().any(|pending| {
            matches!(&pending.event, PendingEvent::Accepted(body) if AttemptKey::from(body.of) == key)
        })
    }

    pub(crate) fn confirm(&mut self, ids: &BTreeSet<EventId>) {
        self.outbox.retain(|pending| !ids.contains(&pending.id));
    }
}

/// A job for a display.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// The job.
    pub job_id: JobId,
    /// Which attempt.
    pub attempt: u32,
    /// `offered`, `accepted`, `running`, `in_doubt` or `finished`.
    pub state: String,
    /// The vehicle, where known.
    pub vin: Option<Vin>,
    /// The ECU, where known.
    pub ecu: Option<String>,
    /// Id of the procedure, where known.
    pub procedure: Option<String>,
}

impl JobView {
    fn new(of: AttemptRef, state: &str, document: Option<&JobDocument>) -> Self {
        Self {
            job_id: of.job_id,
            attempt: of.attempt,
            state: state.to_owned(),
            vin: document.map(|document| document.vin.clone()),
            ecu: document.map(|document| document.ecu.clone()),
            procedure: document.map(|document| document.procedure.id.clone()),
        }
    }
}
