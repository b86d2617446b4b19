//! Benches and their ledgers.

use axum::Json;
use axum::extract::State;
use fleet_domain::DeviceId;
use fleet_store::{BenchFilter, BenchRow, BenchState, Page, StoreError};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::decision::{Decision, Refusals};
use super::error::ApiError;
use super::extract::{self, ApiPath, ApiQuery};
use super::principal::Principal;
use super::types::{Bench, BenchLedger, BenchPage, Problem, Reason};
use super::{AppState, dto};

/// Connected or not.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Presence {
    /// Connected.
    Online,
    /// Not connected.
    Offline,
}

/// Which benches.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only these.
    #[param(inline)]
    state: Option<Presence>,
    /// Name, station or VIN contains this text.
    q: Option<String>,
    /// Most items, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page's place in a list.
pub(super) fn page(limit: Option<u32>, cursor: Option<String>) -> Result<Page, ApiError> {
    Ok(Page {
        limit: extract::limit(limit)?,
        after: cursor,
    })
}

/// A cursor that the store does not know is the caller's fault.
pub(super) fn paged(error: StoreError) -> ApiError {
    match error {
        StoreError::NotFound(fleet_store::NotFoundKind::Cursor(_)) => ApiError::bad_cursor(error.to_string()),
        error => error.into(),
    }
}

fn shown(state: &AppState, row: BenchRow) -> Bench {
    let seen = state.feed.seen(&row.device);
    dto::bench(row, seen)
}

/// Benches by name.
#[utoipa::path(get, path = "/api/v1/benches", operation_id = "list_benches", tag = "benches", params(Which), responses(
    (status = 200, description = "A page", body = BenchPage),
    (status = 400, description = "The query can't be read", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store can't work", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    _: Principal,
    State(state): State<AppState>,
    ApiQuery(which): ApiQuery<Which>,
) -> Result<Json<BenchPage>, ApiError> {
    // Before the query: what changes meanwhile is sent again by the stream.
    let stream_cursor = state.feed.position().to_string();
    let filter = BenchFilter {
        state: which.state.map(|presence| match presence {
            Presence::Online => BenchState::Online,
            Presence::Offline => BenchState::Offline,
        }),
        text: which.q.filter(|text| !text.is_empty()),
    };
    // The store's cursor is a bench's name and takes any; what is no name was not made here.
    if let Some(cursor) = &which.cursor {
        extract::device(cursor)
            .map_err(|_| ApiError::bad_cursor("cursor must be the next_cursor of a page of benches"))?;
    }
    let found = state
        .store
        .benches(&filter, &page(which.limit, which.cursor)?)
        .await
        .map_err(paged)?;
    Ok(Json(BenchPage {
        items: found.items.into_iter().map(|row| shown(&state, row)).collect(),
        next_cursor: found.next,
        stream_cursor,
    }))
}

/// The bench of a path.
async fn known(state: &AppState, device: &DeviceId) -> Result<BenchRow, ApiError> {
    let row = state.store.bench(device).await?;
    row.ok_or_else(|| ApiError::not_found(format!("bench {device} is not known")))
}

/// A bench.
#[utoipa::path(get, path = "/api/v1/benches/{device}", operation_id = "get_bench", tag = "benches",
    params(("device" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The bench", body = Bench),
    (status = 400, description = "The id is not one", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "It is not known", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store can't work", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn one(
    _: Principal,
    State(state): State<AppState>,
    ApiPath(device): ApiPath<String>,
) -> Result<Json<Bench>, ApiError> {
    let device = extract::device(&device)?;
    Ok(Json(shown(&state, known(&state, &device).await?)))
}

/// The ledger of a bench.
#[utoipa::path(get, path = "/api/v1/benches/{device}/ledger", operation_id = "get_bench_ledger", tag = "benches",
    params(("device" = String, Path, description = "Its id")), responses(
    (status = 200, description = "Its spools", body = BenchLedger),
    (status = 400, description = "The id is not one", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "It is not known", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store can't work", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn ledger(
    _: Principal,
    State(state): State<AppState>,
    ApiPath(device): ApiPath<String>,
) -> Result<Json<BenchLedger>, ApiError> {
    let device = extract::device(&device)?;
    known(&state, &device).await?;
    let rows = state.store.bench_ledger(&device).await?;
    Ok(Json(BenchLedger {
        spools: rows.into_iter().map(dto::spool).collect(),
    }))
}

/// After a restore: lets jobs be offered without waiting for this bench. A bench that is scrapped or away for
/// long would hold up the plant. Released again, it stays released.
#[utoipa::path(post, path = "/api/v1/benches/{device}/release", operation_id = "release_bench", tag = "benches", request_body = Reason,
    params(("device" = String, Path, description = "Its id")), responses(
    (status = 200, description = "Nothing waits for it any more", body = Bench),
    (status = 409, description = "Nothing waits for it", body = Problem, content_type = "application/problem+json"),
    Refusals,
))]
pub(super) async fn release(
    State(state): State<AppState>,
    Decision {
        id: device,
        reason,
        principal,
    }: Decision<DeviceId>,
) -> Result<Json<Bench>, ApiError> {
    let now = fleet_clock::wall_now();
    state
        .store
        .release_bench(&device, &reason, &principal.to_string(), now)
        .await?;
    tracing::warn!(device.id = %device, principal = %principal, reason, "a bench was released after a restore");
    state.dispatch.wake();
    state.feed.changed();
    Ok(Json(shown(&state, known(&state, &device).await?)))
}
