//! Keys for security access, for jobs that are being done.

use axum::Json;
use axum::extract::State;
use fleet_domain::{JobId, JobState};

use super::AppState;
use super::error::ApiError;
use super::extract::{self, ApiJson};
use super::principal::Principal;
use super::types::{Problem, SecurityAccessKey, SecurityAccessRequest};

/// Longest seed, bytes.
const MAX_SEED: usize = 64;

/// The key for a seed. Only for a job that a bench has, for its vehicle and its ECU.
#[utoipa::path(post, path = "/api/v1/security-access", operation_id = "security_access", tag = "benches",
    request_body = SecurityAccessRequest, responses(
    (status = 200, description = "The key", body = SecurityAccessKey),
    (status = 400, description = "The request can't be read", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "There is no secret for that ECU", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "The job is not known", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The job is not being done for that vehicle and ECU", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "The body is not JSON by its type", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The body has another shape", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store can't work", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn key(
    _: Principal,
    State(state): State<AppState>,
    ApiJson(request): ApiJson<SecurityAccessRequest>,
) -> Result<Json<SecurityAccessKey>, ApiError> {
    let vin = extract::vin(&request.vin)?;
    let ecu = extract::text("ecu", &request.ecu, 64)?;
    let seed = hex::decode(&request.seed)
        .ok()
        .filter(|seed| (1..=MAX_SEED).contains(&seed.len()))
        .ok_or_else(|| ApiError::bad_value(format!("seed must be 1 to {MAX_SEED} bytes in hexadecimal")))?;
    if request.level % 2 == 0 {
        return Err(ApiError::bad_value(
            "level must be odd: the sub-function that requested the seed",
        ));
    }
    let id = JobId(request.job_id);
    let job = state
        .store
        .job(id)
        .await?
        .ok_or_else(|| ApiError::not_found(format!("job {id} is not known")))?;
    // Its acceptance may still be on its way from the bench's spool.
    let open = matches!(
        job.job.state,
        JobState::Offered | JobState::Withdrawing | JobState::Accepted | JobState::Running
    );
    if !open || job.request.vin != vin || job.request.ecu != ecu {
        return Err(ApiError::job_not_open(format!("job {id} is {}", job.job.state)));
    }
    let key = state
        .signer
        .key(&ecu, request.level, &seed)
        .ok_or_else(|| ApiError::no_secret(format!("signer.secrets_file has no line for {ecu}")))?;
    tracing::info!(job.id = %id, ecu, level = request.level, "a security access key was given out");
    Ok(Json(SecurityAccessKey {
        key: hex::encode(key),
    }))
}
