//! An attempt of a job with its steps and its signed record.

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use fleet_domain::JobId;
use fleet_store::{AttemptRow, JobRow, StepRow};
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::ApiError;
use super::extract::{self, ApiPath, ApiQuery};
use super::principal::Principal;
use super::types::{Problem, Run, RunRecord};
use super::{AppState, dto};

/// How often job and steps are read until they are of one moment.
const MAX_READS: u32 = 10;

/// Which attempt.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// The attempt, from 1; the last one when not given.
    attempt: Option<u32>,
}

/// An attempt of a job.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/run", operation_id = "get_run", tag = "jobs",
    params(("id" = uuid::Uuid, Path, description = "The job"), Which), responses(
    (status = 200, description = "The attempt", body = Run),
    (status = 400, description = "The id is not one", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "Job or attempt are not known", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store can't work", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn run(
    _: Principal,
    State(state): State<AppState>,
    ApiPath(id): ApiPath<String>,
    ApiQuery(which): ApiQuery<Which>,
) -> Result<Json<Run>, ApiError> {
    let id = extract::job(&id)?;
    let (job, attempt, number, steps) = consistent(&state, id, which.attempt).await?;
    let live = state
        .feed
        .live(id)
        .filter(|live| live.attempt == number && !job.job.state.is_final());
    let record = match attempt {
        Some(attempt) => record(&state, attempt).await?,
        None => None,
    };
    Ok(Json(Run {
        job: dto::job(job),
        attempt: number,
        steps: steps.into_iter().map(dto::step).collect(),
        live,
        record,
    }))
}

/// Job, attempt and steps of one moment: read again while the job moves between the reads.
async fn consistent(
    state: &AppState,
    id: JobId,
    asked: Option<u32>,
) -> Result<(JobRow, Option<AttemptRow>, u32, Vec<StepRow>), ApiError> {
    let unknown = || ApiError::not_found(format!("job {id} is not known"));
    let mut job = state.store.job(id).await?.ok_or_else(unknown)?;
    for _ in 0..MAX_READS {
        let number = asked.unwrap_or(job.job.attempt);
        let attempts = state.store.attempts(id).await?;
        let attempt = attempts.into_iter().find(|attempt| attempt.attempt == number);
        if attempt.is_none() && asked.is_some() {
            return Err(ApiError::not_found(format!("job {id} has no attempt {number}")));
        }
        let steps = state.store.steps(id, number).await?;
        let after = state.store.job(id).await?.ok_or_else(unknown)?;
        if after == job {
            return Ok((job, attempt, number, steps));
        }
        job = after;
    }
    Err(ApiError::store_unavailable(
        "the job moves faster than it can be read; try again",
    ))
}

async fn record(state: &AppState, attempt: AttemptRow) -> Result<Option<RunRecord>, ApiError> {
    let Some(jws) = attempt.record else {
        return Ok(None);
    };
    let public_key = state
        .store
        .bench(&attempt.device)
        .await?
        .and_then(|bench| bench.public_key);
    let verified = public_key.as_deref().is_some_and(|key| is_signed_by(&jws, key));
    Ok(Some(RunRecord {
        jws,
        verified,
        public_key,
    }))
}

/// Whether a JWS in compact form (RFC 7515) is signed with EdDSA (RFC 8037) by `key` (base64url).
pub(crate) fn is_signed_by(jws: &str, key: &str) -> bool {
    check(jws, key).is_some()
}

fn check(jws: &str, key: &str) -> Option<()> {
    let (signed, signature) = jws.rsplit_once('.')?;
    let (header, _) = signed.split_once('.')?;
    let header: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    // The algorithm is ours to choose, not the document's; `crit` would ask for what we don't know.
    if header.get("alg")?.as_str()? != "EdDSA" || header.get("crit").is_some() {
        return None;
    }
    let key: [u8; 32] = URL_SAFE_NO_PAD.decode(key).ok()?.try_into().ok()?;
    let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    VerifyingKey::from_bytes(&key)
        .ok()?
        .verify_strict(signed.as_bytes(), &signature)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 8037, appendix A.4.
    const JWS: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    const KEY: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    #[test]
    fn a_record_is_verified_by_the_benchs_key_only() {
        assert!(is_signed_by(JWS, KEY));
        assert!(
            !is_signed_by(&JWS.replacen("RXhh", "RXhi", 1), KEY),
            "another content"
        );
        assert!(
            !is_signed_by(JWS, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURp"),
            "another key"
        );
        assert!(
            !is_signed_by(
                &JWS.replacen("eyJhbGciOiJFZERTQSJ9", "eyJhbGciOiJub25lIn0", 1),
                KEY
            ),
            "alg none"
        );
        for bad in ["", ".", "..", "a.b.c"] {
            assert!(!is_signed_by(bad, KEY), "{bad:?}");
        }
    }
}
