//! The servers of the plant.

use axum::Json;
use axum::extract::State;

use super::AppState;
use super::error::ApiError;
use super::principal::Principal;
use super::types::{Problem, Replicas};

/// Servers that are running, their slots, and which one relays.
#[utoipa::path(get, path = "/api/v1/replicas", tag = "operation", responses(
    (status = 200, description = "The servers", body = Replicas),
    (status = 503, description = "The store can't be read", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(_: Principal, State(_state): State<AppState>) -> Result<Json<Replicas>, ApiError> {
    Ok(Json(Replicas {
        items: Vec::new(),
        free_slots: Vec::new(),
    }))
}
