//! What people and requesters ask for, as far as no database is needed.

use fleet_domain::{JobEvent, JobId};
use fleet_store::{ConflictKind, NewJob, Retry, StoreError};
use jiff::Timestamp;

/// What a person decides about a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Called back.
    Cancel,
    /// Its bench is declared lost.
    TakeOver,
}

impl Order {
    /// The event for the job. `version`: the first list of the bench without the job, where it was offered.
    pub fn event(self, version: u64, reason: &str) -> JobEvent {
        let reason = reason.to_owned();
        match self {
            Self::Cancel => JobEvent::Cancel { version, reason },
            Self::TakeOver => JobEvent::TakeOver { reason },
        }
    }
}

/// Whether a request asks for the job that is known: a repeated request has a trace of its own, and perhaps
/// another fresh id or another reason. Databases keep times to the microsecond.
fn same_work(known: &NewJob, asked: &NewJob) -> bool {
    let plain = |request: &NewJob| NewJob {
        id: known.id,
        traceparent: None,
        deadline: request
            .deadline
            .and_then(|deadline| Timestamp::from_microsecond(deadline.as_microsecond()).ok()),
        // The reason of the first one stands.
        retry: request.retry.as_ref().map(|retry| Retry {
            of: retry.of,
            reason: String::new(),
        }),
        ..request.clone()
    };
    plain(known) == plain(asked)
}

/// Refuses a request whose id, or request id, belongs to a job with other content.
///
/// # Errors
/// [`StoreError::Conflict`].
pub fn repeated(job: JobId, known: &NewJob, asked: NewJob) -> Result<(), StoreError> {
    if same_work(known, &asked) {
        return Ok(());
    }
    Err(StoreError::Conflict(match asked.request_id {
        Some(request_id) => ConflictKind::RequestId { request_id, job },
        None => ConflictKind::JobId(asked.id),
    }))
}

/// The request of a job that its bench told of before its requester did: the database had been restored. The
/// vehicle is what the bench found; the rest is what was asked for.
pub fn adopted(known: &NewJob, asked: NewJob) -> NewJob {
    NewJob {
        id: known.id,
        vin: known.vin.clone(),
        ..asked
    }
}
