//! The plant's ledger, what could not be taken, what waits for the relay, and what a person should know.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::benches::{page, paged};
use super::error::ApiError;
use super::extract::{self, ApiQuery};
use super::principal::Principal;
use super::types::{AlarmPage, DeadLetterPage, LedgerTotals, OutboxPage, Problem};
use super::{AppState, dto};

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Part {
    /// Most items, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which part of the outbox.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct After {
    /// Rows after this one; from the beginning when not given.
    after: Option<u64>,
    /// Most items, 1 to 1000; 100 when not given.
    limit: Option<u32>,
}

/// The ledger of the plant.
#[utoipa::path(get, path = "/api/v1/ledger", operation_id = "get_ledger", tag = "ledger", responses(
    (status = 200, description = "announced = stored + rejected + holes + outstanding", body = LedgerTotals),
    (status = 503, description = "The store can't work", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn totals(
    _: Principal,
    State(state): State<AppState>,
) -> Result<Json<LedgerTotals>, ApiError> {
    Ok(Json(dto::totals(state.store.ledger_totals().await?)))
}

/// Messages that could not be taken.
#[utoipa::path(get, path = "/api/v1/dead-letters", operation_id = "list_dead_letters", tag = "ledger", params(Part), responses(
    (status = 200, description = "Newest first", body = DeadLetterPage),
    (status = 400, description = "The query can't be read", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store can't work", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn dead_letters(
    _: Principal,
    State(state): State<AppState>,
    ApiQuery(part): ApiQuery<Part>,
) -> Result<Json<DeadLetterPage>, ApiError> {
    let found = state
        .store
        .dead_letters(&page(part.limit, part.cursor)?)
        .await
        .map_err(paged)?;
    Ok(Json(DeadLetterPage {
        items: found.items.into_iter().map(dto::dead_letter).collect(),
        next_cursor: found.next,
    }))
}

/// Events that wait for the relay.
#[utoipa::path(get, path = "/api/v1/outbox", operation_id = "read_outbox", tag = "ledger", params(After), responses(
    (status = 200, description = "Oldest first", body = OutboxPage),
    (status = 400, description = "The query can't be read", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store can't work", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn outbox(
    _: Principal,
    State(state): State<AppState>,
    ApiQuery(which): ApiQuery<After>,
) -> Result<Json<OutboxPage>, ApiError> {
    let after = which.after.unwrap_or(0);
    if i64::try_from(after).is_err() {
        return Err(ApiError::bad_cursor("after is larger than any row's place"));
    }
    let rows = state
        .store
        .outbox_read(after, extract::limit(which.limit)?)
        .await?;
    let next_after = rows.last().map_or(after, |row| row.seq);
    Ok(Json(OutboxPage {
        items: rows.into_iter().map(dto::outbox).collect(),
        next_after,
    }))
}

/// What a person should know.
#[utoipa::path(get, path = "/api/v1/alarms", operation_id = "list_alarms", tag = "ledger", params(Part), responses(
    (status = 200, description = "Last raised first", body = AlarmPage),
    (status = 400, description = "The query can't be read", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store can't work", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn alarms(
    _: Principal,
    State(state): State<AppState>,
    ApiQuery(part): ApiQuery<Part>,
) -> Result<Json<AlarmPage>, ApiError> {
    let found = state
        .store
        .alarms(&page(part.limit, part.cursor)?)
        .await
        .map_err(paged)?;
    Ok(Json(AlarmPage {
        items: found.items.into_iter().map(dto::alarm).collect(),
        next_cursor: found.next,
    }))
}
