//! Jobs: asked for, looked at, called back, taken over.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use fleet_domain::{JobAction, JobId, JobState};
use fleet_store::{
    ArtifactUse, ConflictKind, Created, JobChange, JobFilter, JobRow, NewJob as NewJobRow, ProcedureUse,
    Retry, StoreError,
};
use procedure::Plan;
use serde::Deserialize;
use tracing::Instrument;
use utoipa::IntoParams;
use uuid::Uuid;

use super::benches::{page, paged};
use super::decision::{Decision, Refusals};
use super::error::ApiError;
use super::extract::{self, ApiJson, ApiPath, ApiQuery, VinFilter};
use super::principal::Principal;
use super::types::{Job, JobPage, NewJob, Problem, Reason};
use super::{AppState, dto};
use crate::dispatch::document_of;

/// Start-within when the request says none, seconds.
const DEFAULT_START_WITHIN_S: u32 = 3600;
/// Longest start-within, seconds: a week.
const MAX_START_WITHIN_S: u32 = 7 * 24 * 3600;
/// Most files and parameters of a job.
const MAX_PARTS: usize = 32;
/// Longest value of a parameter, characters.
const MAX_PARAMETER: usize = 256;
/// Name space of job ids that are derived from requester and request id (RFC 9562, version 5).
const JOB_IDS: Uuid = Uuid::from_u128(0x6f0c_2b44_9d5b_5c0e_8f6a_21d7_55e0_94b3);

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only in these states, separated by commas.
    state: Option<String>,
    /// Only of this vehicle, or of vehicles whose VIN contains this part: 3 characters at least.
    vin: Option<String>,
    /// Only offered to or meant for this bench.
    device: Option<String>,
    /// Most items, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

fn states(text: Option<&str>) -> Result<Vec<JobState>, ApiError> {
    let words = text
        .unwrap_or_default()
        .split(',')
        .filter(|word| !word.is_empty());
    words
        .map(|word| {
            JobState::of(word).ok_or_else(|| {
                let known: Vec<&str> = JobState::ALL.iter().map(|state| state.as_str()).collect();
                let shown: String = word.chars().take(80).collect();
                ApiError::bad_value(format!("state {shown:?} is none of {}", known.join(", ")))
            })
        })
        .collect()
}

/// Jobs, newest first.
#[utoipa::path(get, path = "/api/v1/jobs", operation_id = "list_jobs", tag = "jobs", params(Which), responses(
    (status = 200, description = "A page", body = JobPage),
    (status = 400, description = "The query can't be read", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store can't work", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    _: Principal,
    State(state): State<AppState>,
    ApiQuery(which): ApiQuery<Which>,
) -> Result<Json<JobPage>, ApiError> {
    let stream_cursor = state.feed.position().to_string();
    let (vin, vin_part) = match which.vin.as_deref().map(extract::vin_filter).transpose()? {
        None => (None, None),
        Some(VinFilter::Whole(vin)) => (Some(vin), None),
        Some(VinFilter::Part(part)) => (None, Some(part)),
    };
    let filter = JobFilter {
        states: states(which.state.as_deref())?,
        vin,
        vin_part,
        device: which.device.as_deref().map(extract::device).transpose()?,
    };
    let found = state
        .store
        .jobs(&filter, &page(which.limit, which.cursor)?)
        .await
        .map_err(paged)?;
    Ok(Json(JobPage {
        items: found.items.into_iter().map(dto::job).collect(),
        next_cursor: found.next,
        stream_cursor,
    }))
}

/// Asks for a job. The same request id again is the same job.
#[utoipa::path(post, path = "/api/v1/jobs", operation_id = "create_job", tag = "jobs", request_body = NewJob,
    params(("Idempotency-Key" = Option<String>, Header, description = "Stands for `request_id`")), responses(
    (status = 201, description = "It was recorded", body = Job),
    (status = 200, description = "It was recorded before", body = Job),
    (status = 400, description = "The request can't be read", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The request id belongs to another request", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "The body is not JSON by its type", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The request asks for something that is not there", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store can't work", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn create(
    principal: Principal,
    State(state): State<AppState>,
    headers: HeaderMap,
    ApiJson(request): ApiJson<NewJob>,
) -> Result<(StatusCode, Json<Job>), ApiError> {
    let span = tracing::info_span!("http.post_job", job.id = tracing::field::Empty);
    async {
        let key = headers
            .get("idempotency-key")
            .map(|value| value.to_str().unwrap_or_default());
        let new = checked(&state, request, key, principal).await?;
        tracing::Span::current().record("job.id", tracing::field::display(new.id));
        record(&state, new).await
    }
    .instrument(span)
    .await
}

/// Records a job: 201 for a new one, 200 for a request that was known.
async fn record(state: &AppState, new: NewJobRow) -> Result<(StatusCode, Json<Job>), ApiError> {
    let Created { job, new } = state
        .store
        .create_job(new, fleet_clock::wall_now())
        .await
        .map_err(|error| match error {
            StoreError::Conflict(ConflictKind::RequestId { .. } | ConflictKind::JobId(_)) => {
                ApiError::request_id_taken(error.to_string())
            }
            error => error.into(),
        })?;
    state.dispatch.wake();
    state.feed.changed();
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(dto::job(job))))
}

fn request_id(request: Option<String>, key: Option<&str>) -> Result<Option<String>, ApiError> {
    let id = match (request, key) {
        (Some(id), Some(key)) if id != key => {
            return Err(ApiError::bad_value(
                "request_id and the header Idempotency-Key name different requests",
            ));
        }
        (Some(id), _) => id,
        (None, Some(key)) => key.to_owned(),
        (None, None) => return Ok(None),
    };
    extract::text("request_id", &id, 128).map(Some)
}

async fn checked(
    state: &AppState,
    request: NewJob,
    key: Option<&str>,
    principal: Principal,
) -> Result<NewJobRow, ApiError> {
    let request_id = request_id(request.request_id, key)?;
    let vin = extract::vin(&request.vin)?;
    let device = request.device.as_deref().map(extract::device).transpose()?;
    let start_within_s = request.start_within_s.unwrap_or(DEFAULT_START_WITHIN_S);
    if !(1..=MAX_START_WITHIN_S).contains(&start_within_s) {
        return Err(ApiError::bad_value(format!(
            "start_within_s must be 1 to {MAX_START_WITHIN_S}"
        )));
    }
    if request.artifacts.len() > MAX_PARTS || request.parameters.len() > MAX_PARTS {
        return Err(ApiError::bad_value(format!(
            "a job has at most {MAX_PARTS} files and {MAX_PARTS} parameters"
        )));
    }
    let choice = &request.procedure;
    let procedure = state
        .store
        .procedure(&choice.id, &choice.version)
        .await?
        .ok_or_else(|| {
            let (id, version) = (shown(&choice.id), shown(&choice.version));
            ApiError::unknown_procedure(format!(
                "procedure {id} {version} is not on this server; put it there first"
            ))
        })?;
    let plan = procedure::compile(&procedure.yaml).map_err(|_| {
        ApiError::procedure_invalid(
            "this version of the server can't compile the procedure; put a new version",
        )
    })?;
    let mut artifacts = Vec::new();
    for choice in &request.artifacts {
        let row = state
            .store
            .artifact(&choice.name, &choice.version)
            .await?
            .ok_or_else(|| {
                let (name, version) = (shown(&choice.name), shown(&choice.version));
                ApiError::unknown_artifact(format!(
                    "file {name} {version} is not on this server; put it there first"
                ))
            })?;
        artifacts.push(ArtifactUse {
            input: choice.input.clone(),
            name: row.name,
            version: row.version,
            sha256: row.sha256,
            size: row.size,
        });
    }
    let new = NewJobRow {
        id: job_id(principal, request_id.as_deref()),
        request_id,
        kind: request.kind.into(),
        vin,
        ecu: extract::text("ecu", &request.ecu, 64)?,
        procedure: ProcedureUse {
            id: procedure.id,
            version: procedure.version,
            sha256: procedure.sha256,
        },
        artifacts,
        parameters: request.parameters,
        device,
        start_within_s,
        deadline: request.deadline,
        priority: request.priority.unwrap_or(0),
        requested_by: principal.to_string(),
        traceparent: fleet_telemetry::current_traceparent(),
        retry: None,
    };
    fits(&new, &plan)?;
    document_of(&new)
        .check()
        .map_err(|error| ApiError::bad_value(format!("the job does not fit into a bench's list: {error}")))?;
    Ok(new)
}

/// The id of a request is the id of its job (delivery rule 27); without one each request is its own.
fn job_id(principal: Principal, request_id: Option<&str>) -> JobId {
    JobId(match request_id {
        Some(request_id) => Uuid::new_v5(&JOB_IDS, format!("{principal}\n{request_id}").as_bytes()),
        None => fleet_clock::new_uuid(),
    })
}

fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(80).collect::<String>())
}

/// Files and parameters are those of the procedure: a bench would only refuse the job later.
fn fits(new: &NewJobRow, plan: &Plan) -> Result<(), ApiError> {
    let names = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(", ");
    if new.ecu != plan.target.ecu {
        return Err(ApiError::bad_value(format!(
            "ecu is {}, the procedure is for {:?}",
            shown(&new.ecu),
            plan.target.ecu
        )));
    }
    let wanted: BTreeSet<&str> = plan.artifacts.iter().map(String::as_str).collect();
    let given: BTreeSet<&str> = new
        .artifacts
        .iter()
        .map(|artifact| artifact.input.as_str())
        .collect();
    if wanted != given || given.len() != new.artifacts.len() {
        return Err(ApiError::wrong_inputs(format!(
            "the procedure wants one file for each of [{}], the request names [{}]",
            names(&wanted),
            names(&given)
        )));
    }
    let wanted: BTreeSet<&str> = plan.parameters.keys().map(String::as_str).collect();
    let given: BTreeSet<&str> = new.parameters.keys().map(String::as_str).collect();
    if wanted != given {
        return Err(ApiError::wrong_inputs(format!(
            "the procedure wants the parameters [{}], the request names [{}]",
            names(&wanted),
            names(&given)
        )));
    }
    for (name, value) in &new.parameters {
        if value.chars().count() > MAX_PARAMETER {
            return Err(ApiError::bad_value(format!(
                "parameter {name} is longer than {MAX_PARAMETER} characters"
            )));
        }
    }
    Ok(())
}

/// A job.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", operation_id = "get_job", tag = "jobs",
    params(("id" = Uuid, Path, description = "Its id")), responses(
    (status = 200, description = "The job", body = Job),
    (status = 400, description = "The id is not one", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "It is not known", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store can't work", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn one(
    _: Principal,
    State(state): State<AppState>,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<Job>, ApiError> {
    let id = extract::job(&id)?;
    let row = state.store.job(id).await?;
    row.map(|row| Json(dto::job(row)))
        .ok_or_else(|| ApiError::not_found(format!("job {id} is not known")))
}

/// What a person changed: the benches concerned hear of it.
fn changed(state: &AppState, change: JobChange) -> Json<Job> {
    for device in change.lists {
        let _ = state.lists.send(device);
    }
    state.dispatch.wake();
    state.feed.changed();
    Json(dto::job(change.job))
}

/// Calls a job back: at once while it is queued, as a request to its bench once it was offered.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/cancel", operation_id = "cancel_job", tag = "jobs", request_body = Reason,
    params(("id" = Uuid, Path, description = "Its id")), responses(
    (status = 200, description = "It is canceled, or being withdrawn", body = Job),
    (status = 409, description = "Its state does not allow it", body = Problem, content_type = "application/problem+json"),
    Refusals,
))]
pub(super) async fn cancel(
    State(state): State<AppState>,
    Decision {
        id,
        reason,
        principal,
    }: Decision<JobId>,
) -> Result<Json<Job>, ApiError> {
    let now = fleet_clock::wall_now();
    let change = state
        .store
        .cancel_job(id, &reason, &principal.to_string(), now)
        .await?;
    tracing::info!(job.id = %id, principal = %principal, reason, "a job was called back");
    Ok(changed(&state, change))
}

/// Declares the job's bench lost: releases the vehicle. What the bench still reports is kept and marked.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/take-over", operation_id = "take_over_job", tag = "jobs", request_body = Reason,
    params(("id" = Uuid, Path, description = "Its id")), responses(
    (status = 200, description = "It is taken over", body = Job),
    (status = 409, description = "Its state does not allow it", body = Problem, content_type = "application/problem+json"),
    Refusals,
))]
pub(super) async fn take_over(
    State(state): State<AppState>,
    Decision {
        id,
        reason,
        principal,
    }: Decision<JobId>,
) -> Result<Json<Job>, ApiError> {
    let now = fleet_clock::wall_now();
    let change = state
        .store
        .take_over_job(id, &reason, &principal.to_string(), now)
        .await?;
    tracing::warn!(job.id = %id, principal = %principal, reason, "a job was taken over");
    Ok(changed(&state, change))
}

/// Asks for the work of a job that has ended once more, as a new job. The same retry again is the same new job;
/// to try a third time, retry that one.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/retry", operation_id = "retry_job", tag = "jobs", request_body = Reason,
    params(("id" = Uuid, Path, description = "The job that has ended")), responses(
    (status = 201, description = "The new job", body = Job),
    (status = 200, description = "The new job, recorded before", body = Job),
    (status = 409, description = "Its state does not allow it", body = Problem, content_type = "application/problem+json"),
    Refusals,
))]
pub(super) async fn retry(
    State(state): State<AppState>,
    Decision {
        id,
        reason,
        principal,
    }: Decision<JobId>,
) -> Result<(StatusCode, Json<Job>), ApiError> {
    let old = state
        .store
        .job(id)
        .await?
        .ok_or_else(|| ApiError::not_found(format!("job {id} is not known")))?;
    let refusal = dto::actions(&old)
        .into_iter()
        .find(|action| action.action == JobAction::Retry && !action.allowed);
    if let Some(refusal) = refusal {
        return Err(ApiError::state_conflict(refusal.reason.unwrap_or_default()));
    }
    let new = retry_of(old, reason.clone(), principal);
    // Known already: what has passed since (its deadline, another person's press) changes nothing.
    if let Some(known) = state.store.job(new.id).await?.filter(|row| !row.reported) {
        return Ok((StatusCode::OK, Json(dto::job(known))));
    }
    tracing::info!(job.id = %new.id, retry.of = %id, principal = %principal, reason, "a job is tried again");
    record(&state, new).await
}

/// The same request as a job of its own, whose id follows from the old one's.
fn retry_of(old: JobRow, reason: String, principal: Principal) -> NewJobRow {
    let of = old.job.id;
    let now = fleet_clock::wall_now();
    NewJobRow {
        id: JobId(Uuid::new_v5(&JOB_IDS, format!("retry\n{of}").as_bytes())),
        request_id: Some(format!("retry:{of}")),
        // With a deadline that has passed it would end before its first offer; the person decides anew.
        deadline: old.request.deadline.filter(|deadline| *deadline > now),
        requested_by: principal.to_string(),
        traceparent: fleet_telemetry::current_traceparent(),
        retry: Some(Retry { of, reason }),
        ..old.request
    }
}
