//! Metrics for Prometheus.

use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use fleet_store::{Store, StoreError};

use super::principal::Principal;
use super::{AppState, status};
use crate::metrics::StoreMetrics;

/// How long a scrape waits for the store. A scrape is cut after the interval of scrapes, 5 s by our advice, and
/// then nothing at all would be known.
const STORE_WITHIN: Duration = Duration::from_secs(2);

/// Metrics for Prometheus. They are there also while the store can't be read: without what it knows.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses(
    (status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"),
))]
pub(super) async fn metrics(_: Principal, State(state): State<AppState>) -> Response {
    let metrics = &state.metrics;
    let read = tokio::time::timeout(STORE_WITHIN, read_store(&*state.store, &metrics.store));
    match read.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "a scrape without the store"
            );
            metrics.store.forget();
        }
        Err(_) => {
            tracing::debug!("a scrape without the store: it does not answer");
            metrics.store.forget();
        }
    }
    let checks = status::checks(&state).await;
    metrics
        .components
        .set_all(checks.iter().map(|check| (&*check.name, &*check.state)));
    metrics.components.set_ready(status::is_ready(&checks));
    metrics
        .slots
        .set_owned(|slot| state.health.slots().is_ready(slot));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics.text()).into_response()
}

async fn read_store(store: &dyn Store, metrics: &StoreMetrics) -> Result<(), StoreError> {
    let now = fleet_clock::wall_now();
    metrics.set_counts(&store.counts().await?);
    metrics.set_awaited(store.awaited_benches().await?.len() as u64);
    let replicas = store.replicas(now).await?.len() as u64;
    let slots = store.slot_leases().await?;
    let leased = slots
        .iter()
        .filter(|slot| slot.owner.is_some() && slot.expires_at > now)
        .count();
    metrics.set_replicas(replicas, leased as u64);
    let oldest = store.relay_row().await?.oldest_waiting;
    metrics.set_oldest_waiting(oldest.map_or(0, |oldest| {
        u64::try_from(now.duration_since(oldest).as_secs()).unwrap_or_default()
    }));
    Ok(())
}
