//! The servers of the plant.

use axum::Json;
use axum::extract::State;

use super::AppState;
use super::error::ApiError;
use super::principal::Principal;
use super::types::{Problem, Replica, Replicas};

/// Servers that are running, their slots, and which one relays.
#[utoipa::path(get, path = "/api/v1/replicas", operation_id = "list_replicas", tag = "operation", responses(
    (status = 200, description = "The servers", body = Replicas),
    (status = 503, description = "The store can't be read", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(_: Principal, State(state): State<AppState>) -> Result<Json<Replicas>, ApiError> {
    let now = fleet_clock::wall_now();
    let rows = state.store.replicas(now).await?;
    let leases = state.store.slot_leases().await?;
    let living = |owner: Option<&str>| {
        leases
            .iter()
            .filter(|lease| lease.expires_at > now && lease.owner.as_deref() == owner)
            .map(|lease| lease.slot.to_string())
            .collect::<Vec<_>>()
    };
    let items = rows
        .into_iter()
        .map(|row| Replica {
            this: row.owner == state.owner,
            slots: living(Some(&row.owner)),
            owner: row.owner,
            http: row.http,
            broker: row.broker,
            version: row.version,
            started_at: row.started_at,
            seen_at: row.seen_at,
            slots_ready: row.slots_ready,
            relay: row.relay,
        })
        .collect();
    let free_slots = leases
        .iter()
        .filter(|lease| lease.owner.is_none() || lease.expires_at <= now)
        .map(|lease| lease.slot.to_string())
        .collect();
    Ok(Json(Replicas { items, free_slots }))
}
