//! Procedures: compiled when they are put, fetched as the same bytes.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleet_store::ProcedureRow;
use sha2::{Digest, Sha256};

use super::error::ApiError;
use super::extract::{self, ApiPath};
use super::principal::Principal;
use super::types::{Diagnostic, Problem, ProcedureInfo, ProcedureList};
use super::{AppState, dto};

/// Every procedure.
#[utoipa::path(get, path = "/api/v1/procedures", operation_id = "list_procedures", tag = "procedures", responses(
    (status = 200, description = "By id and version", body = ProcedureList),
    (status = 503, description = "The store can't work", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    _: Principal,
    State(state): State<AppState>,
) -> Result<Json<ProcedureList>, ApiError> {
    let rows = state.store.procedures().await?;
    Ok(Json(ProcedureList {
        items: rows.into_iter().map(dto::procedure).collect(),
    }))
}

/// A procedure's bytes.
#[utoipa::path(get, path = "/api/v1/procedures/{id}/{version}", operation_id = "get_procedure", tag = "procedures",
    params(("id" = String, Path, description = "Its id"), ("version" = String, Path, description = "Its version")), responses(
    (status = 200, description = "Its bytes", body = String, content_type = "text/yaml"),
    (status = 400, description = "A name is not one", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "It is not known", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store can't work", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn get(
    _: Principal,
    State(state): State<AppState>,
    ApiPath((id, version)): ApiPath<(String, String)>,
) -> Result<Response, ApiError> {
    let (id, version) = (
        extract::file_name("procedure", &id)?,
        extract::file_name("version", &version)?,
    );
    let row = state
        .store
        .procedure(id, version)
        .await?
        .ok_or_else(|| ApiError::not_found(format!("procedure {id} {version} is not known")))?;
    let tag = format!("\"{}\"", row.sha256);
    Ok((
        [
            (header::CONTENT_TYPE, "text/yaml; charset=utf-8".to_owned()),
            (header::ETAG, tag),
        ],
        row.yaml,
    )
        .into_response())
}

/// Puts a procedure. A version never changes: the same bytes again are welcome, others are refused.
#[utoipa::path(put, path = "/api/v1/procedures/{id}/{version}", operation_id = "put_procedure", tag = "procedures",
    request_body(content = String, content_type = "text/yaml"),
    params(("id" = String, Path, description = "Its id"), ("version" = String, Path, description = "Its version")), responses(
    (status = 201, description = "It is there", body = ProcedureInfo),
    (status = 200, description = "It was there already", body = ProcedureInfo),
    (status = 400, description = "A name is not one", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The version has other bytes", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "It does not compile: see `diagnostics`", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store can't work", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn put(
    principal: Principal,
    State(state): State<AppState>,
    ApiPath((id, version)): ApiPath<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<ProcedureInfo>), ApiError> {
    let (id, version) = (
        extract::file_name("procedure", &id)?,
        extract::file_name("version", &version)?,
    );
    let body = body?;
    let yaml = std::str::from_utf8(&body)
        .map_err(|error| ApiError::bad_body(format!("a procedure is UTF-8 text: {error}")))?
        .to_owned();
    let plan = procedure::compile(&yaml).map_err(refused)?;
    if plan.id != id || plan.version != version {
        return Err(ApiError::bad_value(format!(
            "the document says {:?} {:?}, the path says {id:?} {version:?}",
            plan.id, plan.version
        )));
    }
    let known = state.store.procedure(id, version).await?;
    let row = ProcedureRow {
        id: id.to_owned(),
        version: version.to_owned(),
        sha256: hex::encode(Sha256::digest(&body)),
        yaml,
        created_at: known
            .as_ref()
            .map_or_else(fleet_clock::wall_now, |known| known.created_at),
        created_by: principal.to_string(),
    };
    let info = dto::procedure(row.clone());
    state.store.put_procedure(row).await?;
    let status = if known.is_some() {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((status, Json(info)))
}

fn refused(diagnostics: Vec<procedure::Diagnostic>) -> ApiError {
    let first = diagnostics.first().map(ToString::to_string).unwrap_or_default();
    let diagnostics: Vec<Diagnostic> = diagnostics
        .into_iter()
        .map(|diagnostic| Diagnostic {
            line: diagnostic.line,
            column: diagnostic.column,
            path: diagnostic.path,
            message: diagnostic.message,
            help: Some(diagnostic.help).filter(|help| !help.is_empty()),
        })
        .collect();
    ApiError::procedure_invalid(format!("{} fault(s), the first at {first}", diagnostics.len()))
        .with_diagnostics(diagnostics)
}
