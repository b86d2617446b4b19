//! The relay, as the database knows it.

use axum::Json;
use axum::extract::State;

use super::AppState;
use super::error::ApiError;
use super::principal::Principal;
use super::types::{Problem, Relay};

/// How far the relay is and what waits for it.
#[utoipa::path(get, path = "/api/v1/relay", operation_id = "get_relay", tag = "ledger", responses(
    (status = 200, description = "The relay", body = Relay),
    (status = 503, description = "The store can't be read", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn relay(_: Principal, State(state): State<AppState>) -> Result<Json<Relay>, ApiError> {
    let row = state.store.relay_row().await?;
    Ok(Json(Relay {
        owner: row.owner,
        term: row.term,
        waiting: row.waiting,
        oldest_waiting: row.oldest_waiting,
        relayed_seq: row.relayed.seq,
        newest_seq: row.newest_seq,
    }))
}
