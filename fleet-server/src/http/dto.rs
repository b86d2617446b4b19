//! From the store's rows to the shapes of the API.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleet_domain::{JobAction, allowed_actions};
use fleet_store::{
    AlarmRow, ArtifactRow, BenchRow, DeadLetterRow, JobRow, JobSummary as JobSummaryRow,
    LedgerTotals as LedgerTotalsRow, OutboxRow as OutboxRowRow, ProcedureRow, SpoolCounts, StepRow,
};
use jiff::Timestamp;

use super::types::{
    Alarm, AllowedAction, ArtifactInfo, ArtifactRef, Bench, BenchSpool, DeadLetter, Job, JobSummary,
    LedgerSpool, LedgerTotals, Live, Measurement, OutboxRow, ProcedureInfo, ProcedureRef, Step,
};

/// Bytes of a dead letter that are shown.
const SHOWN_BYTES: usize = 4096;

/// A bench. `seen` is when it was last heard by what is not stored.
pub(crate) fn bench(row: BenchRow, seen: Option<Timestamp>) -> Bench {
    Bench {
        device: row.device.to_string(),
        plant: row.plant.to_string(),
        slot: row.slot.to_string(),
        online: row.online,
        presence_since: row.presence_since,
        last_seen: Some(seen.map_or(row.last_seen, |seen| seen.max(row.last_seen))),
        station: row.station,
        vin: row.vin,
        ecus: row.ecus,
        transports: row.transports,
        agent_version: row.agent_version,
        public_key: row.public_key,
        run_id: row.run_id.map(|id| id.0),
        desired_version: row.stated_version,
        refusing_jobs: row.refusing_jobs,
        spool: BenchSpool {
            held_events: row.held_events,
            outstanding: row.outstanding,
        },
        open_jobs: row.open_jobs.into_iter().map(summary).collect(),
    }
}

fn summary(row: JobSummaryRow) -> JobSummary {
    JobSummary {
        id: row.id.0,
        kind: row.kind.into(),
        vin: row.vin.to_string(),
        ecu: row.ecu,
        state: row.state.into(),
        verdict: row.verdict.map(Into::into),
        steps_total: row.steps_total,
        steps_done: row.steps_done,
    }
}

/// What a person may do to a job. One that only a bench told of holds no request to repeat.
pub(crate) fn actions(row: &JobRow) -> Vec<fleet_domain::AllowedAction> {
    let mut actions = allowed_actions(&row.job);
    for action in &mut actions {
        if row.reported && action.allowed && action.action == JobAction::Retry {
            action.allowed = false;
            action.reason = Some("a bench reported the job; what was asked for is not known here");
        }
    }
    actions
}

/// A job.
pub(crate) fn job(row: JobRow) -> Job {
    let allowed_actions = actions(&row)
        .into_iter()
        .map(|allowed| AllowedAction {
            action: allowed.action.into(),
            allowed: allowed.allowed,
            reason: allowed.reason.map(str::to_owned),
        })
        .collect();
    let (retry_of, retry_reason) = row
        .request
        .retry
        .clone()
        .map_or((None, None), |retry| (Some(retry.of.0), Some(retry.reason)));
    let (job, request) = (row.job, row.request);
    Job {
        id: job.id.0,
        request_id: request.request_id,
        kind: request.kind.into(),
        vin: request.vin.to_string(),
        ecu: request.ecu,
        procedure: ProcedureRef {
            id: request.procedure.id,
            version: request.procedure.version,
            sha256: request.procedure.sha256,
        },
        artifacts: request
            .artifacts
            .into_iter()
            .map(|artifact| ArtifactRef {
                input: artifact.input,
                name: artifact.name,
                version: artifact.version,
                sha256: artifact.sha256,
                size: artifact.size,
            })
            .collect(),
        parameters: request.parameters,
        state: job.state.into(),
        parked: job.parked,
        verdict: job.verdict.map(Into::into),
        reason_code: job.reason_code,
        detail: job.detail,
        device: job.device.or(request.device).map(|device| device.to_string()),
        attempt: job.attempt,
        fence: job.fence,
        created_at: row.created_at,
        offered_at: row.offered_at,
        accepted_at: row.accepted_at,
        started_at: row.started_at,
        finished_at: row.finished_at,
        deadline: request.deadline,
        priority: request.priority,
        requested_by: request.requested_by,
        steps_total: job.steps_total,
        steps_done: row.steps_done,
        software: row.software,
        fenced_events: row.fenced_events,
        allowed_actions,
        traceparent: request.traceparent,
        retry_of,
        retry_reason,
    }
}

/// A step. Measurements that can't be read are left out: the event's bytes hold them.
pub(crate) fn step(row: StepRow) -> Step {
    let measurements: Vec<Measurement> =
        serde_json::from_str(&row.measurements_json).unwrap_or_else(|error| {
            tracing::warn!(%error, step = row.step, "stored measurements can't be read");
            Vec::new()
        });
    Step {
        index: row.index,
        step: row.step,
        name: row.name,
        outcome: row.outcome.into(),
        started_at: row.started_at,
        finished_at: row.finished_at,
        duration_ms: row.duration_ms,
        retries: row.retries,
        nrc: row.nrc,
        detail: row.detail,
        measurements,
    }
}

/// Where a job stands.
pub(crate) fn live(device: &fleet_domain::DeviceId, live: fleet_wire::live::Live) -> Live {
    Live {
        device: device.to_string(),
        job_id: live.job_id.0,
        attempt: live.attempt,
        step: live.step,
        step_index: live.step_index,
        steps_total: live.steps_total,
        bytes_done: live.bytes_done,
        bytes_total: live.bytes_total,
        time: live.time,
    }
}

/// A row of a bench's ledger.
pub(crate) fn spool(row: SpoolCounts) -> LedgerSpool {
    LedgerSpool {
        spool_id: row.spool.0,
        announced: row.announced,
        stored: row.stored,
        rejected: row.rejected,
        holes: row.holes,
        outstanding: row.outstanding,
        outstanding_since: row.outstanding_since,
        through: row.through,
        duplicates: row.duplicates,
        gaps: row.gaps,
        conflicts: row.conflicts,
        in_outbox: row.in_outbox,
        in_kafka: row.in_kafka,
        already_in_kafka: row.already_in_kafka,
        unrelayable: row.unrelayable,
        expired: row.expired,
    }
}

/// The plant's ledger.
pub(crate) fn totals(row: LedgerTotalsRow) -> LedgerTotals {
    LedgerTotals {
        announced: row.announced,
        stored: row.stored,
        rejected: row.rejected,
        holes: row.holes,
        outstanding: row.outstanding,
        duplicates: row.duplicates,
        gaps: row.gaps,
        conflicts: row.conflicts,
        in_outbox: row.in_outbox,
        in_kafka: row.in_kafka,
        already_in_kafka: row.already_in_kafka,
        unrelayable: row.unrelayable,
        expired: row.expired,
        unprojected: row.unprojected,
        dead_letters: row.dead_letters,
    }
}

/// A dead letter.
pub(crate) fn dead_letter(row: DeadLetterRow) -> DeadLetter {
    let shown = row.bytes.get(..SHOWN_BYTES).unwrap_or(&row.bytes);
    DeadLetter {
        id: row.id,
        device: row.device,
        channel: row.channel,
        spool_id: row.spool.map(|spool| spool.0),
        seq: row.seq,
        code: row.code,
        reason: row.reason,
        received_at: row.received_at,
        size: row.bytes.len() as u64,
        bytes_base64: STANDARD.encode(shown),
    }
}

/// An alarm.
pub(crate) fn alarm(row: AlarmRow) -> Alarm {
    Alarm {
        id: row.id,
        code: row.kind.as_str().to_owned(),
        device: row.device.map(|device| device.to_string()),
        detail: row.detail,
        count: row.count,
        raised_at: row.raised_at,
        last_at: row.last_at,
    }
}

/// A row of the outbox.
pub(crate) fn outbox(row: OutboxRowRow) -> OutboxRow {
    OutboxRow {
        seq: row.seq,
        topic: row.topic,
        event_id: row.event.id.0,
        device: row.event.device.to_string(),
        spool_id: row.event.spool.0,
        spool_seq: row.event.seq,
        event_base64: STANDARD.encode(&row.event.bytes),
        event: serde_json::from_slice(&row.event.bytes).ok(),
    }
}

/// A procedure.
pub(crate) fn procedure(row: ProcedureRow) -> ProcedureInfo {
    ProcedureInfo {
        id: row.id,
        version: row.version,
        sha256: row.sha256,
        created_at: row.created_at,
    }
}

/// A file.
pub(crate) fn artifact(row: ArtifactRow) -> ArtifactInfo {
    ArtifactInfo {
        name: row.name,
        version: row.version,
        sha256: row.sha256,
        size: row.size,
        created_at: row.created_at,
    }
}
