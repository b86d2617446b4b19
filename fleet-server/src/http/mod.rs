//! REST API, live stream and page. One file per endpoint group.
//!
//! The OpenAPI document is made from the routes: a handler that is not in it is not reachable.

mod artifacts;
mod benches;
mod decision;
pub(crate) mod dto;
pub(crate) mod error;
mod extract;
mod jobs;
mod ledger;
mod metrics;
mod page;
mod principal;
mod procedures;
mod relay;
mod replicas;
pub(crate) mod runs;
mod security_access;
mod status;
mod stream;
pub mod types;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use fleet_domain::PlantId;
use fleet_store::Store;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::trace::TraceLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::artifacts::ArtifactFiles;
use crate::config::HttpConfig;
use crate::dispatch::DispatchHandle;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::signer::Signer;
use crate::stream::Feed;
use error::ApiError;

/// What the handlers need.
pub(crate) struct Shared {
    pub(crate) plant: PlantId,
    /// This process, as in its leases.
    pub(crate) owner: String,
    /// IANA name of the plant's time zone.
    pub(crate) time_zone: String,
    pub(crate) config: HttpConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) dispatch: DispatchHandle,
    pub(crate) lists: tokio::sync::mpsc::UnboundedSender<fleet_domain::DeviceId>,
    pub(crate) feed: Feed,
    pub(crate) files: ArtifactFiles,
    pub(crate) signer: Signer,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) readers: AtomicUsize,
}

pub(crate) type AppState = Arc<Shared>;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "VDS Fleet",
        description = "Jobs, benches and results of one plant. Every refusal is a problem document (RFC 9457) with a stable `code`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(types::Problem, types::Live))
)]
struct ApiDoc;

/// Routes whose requests are short.
fn short_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(status::healthz))
        .routes(routes!(status::readyz))
        .routes(routes!(metrics::metrics))
        .routes(routes!(status::status))
        .routes(routes!(replicas::list))
        .routes(routes!(relay::relay))
        .routes(routes!(benches::list))
        .routes(routes!(benches::one))
        .routes(routes!(benches::ledger))
        .routes(routes!(benches::release))
        .routes(routes!(jobs::list, jobs::create))
        .routes(routes!(jobs::one))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::take_over))
        .routes(routes!(jobs::retry))
        .routes(routes!(runs::run))
        .routes(routes!(procedures::list))
        .routes(routes!(procedures::get, procedures::put))
        .routes(routes!(artifacts::list))
        .routes(routes!(security_access::key))
        .routes(routes!(ledger::totals))
        .routes(routes!(ledger::dead_letters))
        .routes(routes!(ledger::outbox))
        .routes(routes!(ledger::alarms))
}

/// Routes whose requests may take as long as they need.
fn long_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(artifacts::get, artifacts::put))
        .routes(routes!(stream::stream))
}

/// The OpenAPI 3.1 document of this version.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let (_, mut short) = short_routes().split_for_parts();
    let (_, long) = long_routes().split_for_parts();
    short.merge(long);
    short
}

/// The document as it is committed in `docs/openapi.json`.
///
/// # Panics
/// Never: the document has a JSON form.
pub fn openapi_text() -> String {
    // Sorted by way of a value, so that the order of registration does not show.
    let mut text = serde_json::to_string_pretty(&openapi()).expect("the document has a JSON form");
    text.push('\n');
    text
}

/// The whole service.
pub(crate) fn router(state: AppState) -> Router {
    let (short, _) = short_routes().split_for_parts();
    let (long, _) = long_routes().split_for_parts();
    let short = short
        .route("/api/v1/openapi.json", get(document))
        .method_not_allowed_fallback(wrong_method)
        .fallback(page::serve)
        .layer(CompressionLayer::new())
        .layer(DefaultBodyLimit::max(state.config.max_body_bytes))
        .layer(middleware::from_fn_with_state(Arc::clone(&state), time_limit));
    let long = long
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::disable());
    long.merge(short)
        .layer(middleware::from_fn_with_state(Arc::clone(&state), store_is_there))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(request_span)
                .on_response(())
                .on_request(())
                .on_failure(()),
        )
        .with_state(state)
}

async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(openapi())
}

async fn wrong_method(request: Request) -> ApiError {
    ApiError::method_not_allowed(format!("{} {}", request.method(), request.uri().path()))
}

/// While a database server is away, requests that need it are told so at once instead of waiting for it. One that
/// takes no writes can still be read.
async fn store_is_there(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let needs_store = path.starts_with("/api/v1/") && path != "/api/v1/openapi.json";
    match state.health.store_is_away() {
        Some(word) if needs_store => ApiError::store_in_state(word).into_response(),
        _ => next.run(request).await,
    }
}

/// Ends a request that takes too long with a problem document.
async fn time_limit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(state.config.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::timeout("try again; the server's log may say more").into_response(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
fn panicked(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let what = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = what.unwrap_or("no text"), "a handler panicked");
    ApiError::internal("the server's log says more").into_response()
}

fn request_span<B>(request: &axum::http::Request<B>) -> tracing::Span {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("-", MatchedPath::as_str);
    let span = tracing::info_span!("http.request", http.method = %request.method(), http.route = route);
    if let Some(parent) = request
        .headers()
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
    {
        fleet_telemetry::set_parent(&span, parent);
    }
    span
}
