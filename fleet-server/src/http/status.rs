//! Health, readiness, metrics and a summary.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fleet_domain::DeviceId;

use super::AppState;
use super::error::ApiError;
use super::principal::Principal;
use super::types::{Check, Problem, Readiness, Status};

/// Longest wait for the benches that offers wait for: readiness must answer also while the database hangs.
const AWAITED_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// The process runs and answers.
#[utoipa::path(get, path = "/healthz", tag = "operation", responses((status = 200, description = "It runs", body = String)))]
pub(super) async fn healthz(_: Principal) -> &'static str {
    "ok"
}

/// Whether every required part works: store, broker, slots, files; Kafka is told and not required.
#[utoipa::path(get, path = "/readyz", tag = "operation", responses(
    (status = 200, description = "Every required part works", body = Readiness),
    (status = 503, description = "A required part does not work", body = Readiness),
))]
pub(super) async fn readyz(_: Principal, State(state): State<AppState>) -> Response {
    let checks = checks(&state).await;
    let ready = is_ready(&checks);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(Readiness { ready, checks })).into_response()
}

/// Every required part works.
pub(super) fn is_ready(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.ok || !check.required)
}

/// Each part as it is now.
pub(super) async fn checks(state: &AppState) -> Vec<Check> {
    let mut checks = state.health.checks();
    if !state.health.store_is_usable() {
        return checks;
    }
    // The server works while it waits: syncs are what it waits for.
    let read = tokio::time::timeout(AWAITED_WITHIN, state.store.awaited_benches()).await;
    if let Ok(Ok(awaited)) = read {
        let detail = match awaited.len() {
            0 => "they are made".to_owned(),
            count => format!(
                "held since the restore until {count} benches have synced or are released: {}",
                names(&awaited)
            ),
        };
        let held = !awaited.is_empty();
        checks.push(Check {
            name: "offers".to_owned(),
            state: if held { "held" } else { "ok" }.to_owned(),
            ok: true,
            required: false,
            detail,
            help: held
                .then(|| "let the benches connect, or release those that can't: docs/runbook.md".to_owned()),
        });
    }
    checks
}

/// The first names of a list.
fn names(benches: &[DeviceId]) -> String {
    const MOST: usize = 20;
    let named: Vec<&str> = benches.iter().take(MOST).map(DeviceId::as_str).collect();
    let more = if benches.len() > MOST { ", …" } else { "" };
    format!("{}{more}", named.join(", "))
}

/// A summary of the server.
#[utoipa::path(get, path = "/api/v1/status", tag = "operation", responses(
    (status = 200, description = "The summary", body = Status),
    (status = 503, description = "The store can't be read", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn status(_: Principal, State(state): State<AppState>) -> Result<Json<Status>, ApiError> {
    let counts = state.store.counts().await?;
    let awaited = state.store.awaited_benches().await?;
    let checks = checks(&state).await;
    Ok(Json(Status {
        plant: state.plant.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        store_generation: state.store.generation().0,
        ready: is_ready(&checks),
        checks,
        benches_online: counts.benches_online,
        benches_offline: counts.benches_offline,
        jobs: counts
            .jobs
            .into_iter()
            .map(|(job_state, count)| (job_state.to_string(), count))
            .collect(),
        waiting_for_benches: awaited.iter().map(ToString::to_string).collect(),
        time: fleet_clock::wall_now(),
        time_zone: state.time_zone.clone(),
    }))
}
