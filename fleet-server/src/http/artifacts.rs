//! Files of jobs: put once, fetched with ranges.

use std::io::SeekFrom;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleet_domain::error_chain;
use fleet_store::ArtifactRow;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::error::ApiError;
use super::extract::{self, ApiPath};
use super::principal::Principal;
use super::types::{ArtifactInfo, ArtifactList, Problem};
use super::{AppState, dto};
use crate::artifacts::{self, ArtifactError};

/// Every file.
#[utoipa::path(get, path = "/api/v1/artifacts", operation_id = "list_artifacts", tag = "artifacts", responses(
    (status = 200, description = "By name and version", body = ArtifactList),
    (status = 503, description = "The store can't work", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    _: Principal,
    State(state): State<AppState>,
) -> Result<Json<ArtifactList>, ApiError> {
    let rows = state.store.artifacts().await?;
    Ok(Json(ArtifactList {
        items: rows.into_iter().map(dto::artifact).collect(),
    }))
}

/// Puts a file. A version never changes: the same bytes again are welcome, others are refused.
#[utoipa::path(put, path = "/api/v1/artifacts/{name}/{version}", operation_id = "put_artifact", tag = "artifacts",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    params(("name" = String, Path, description = "Its name"), ("version" = String, Path, description = "Its version")), responses(
    (status = 201, description = "It is there", body = ArtifactInfo),
    (status = 200, description = "It was there already", body = ArtifactInfo),
    (status = 400, description = "A name is not one, or the body was cut", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The version has other bytes", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "The file is too large", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "Store or disk can't work", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn put(
    principal: Principal,
    State(state): State<AppState>,
    ApiPath((name, version)): ApiPath<(String, String)>,
    body: Body,
) -> Result<(StatusCode, Json<ArtifactInfo>), ApiError> {
    let (name, version) = (
        extract::file_name("file", &name)?,
        extract::file_name("version", &version)?,
    );
    let most = state.config.max_artifact_bytes;
    let mut upload = state
        .files
        .begin(fleet_clock::new_uuid(), most)
        .await
        .map_err(disk)?;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| ApiError::bad_body(error_chain(&error)))?;
        upload.write(&piece).await.map_err(disk)?;
    }
    // The file first: a row never names a file that is not there.
    let taken = upload.finish().await.map_err(disk)?;
    let known = state.store.artifact(name, version).await?;
    let row = ArtifactRow {
        name: name.to_owned(),
        version: version.to_owned(),
        sha256: taken.sha256,
        size: taken.size,
        created_at: known
            .as_ref()
            .map_or_else(fleet_clock::wall_now, |known| known.created_at),
        created_by: principal.to_string(),
    };
    let info = dto::artifact(row.clone());
    state.store.put_artifact(row).await?;
    let status = if known.is_some() {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((status, Json(info)))
}

fn disk(error: ArtifactError) -> ApiError {
    match error {
        ArtifactError::TooLarge { .. } => ApiError::too_large(error.to_string()),
        error @ ArtifactError::Disk { .. } => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a file could not be stored"
            );
            ApiError::store_unavailable("the file could not be stored; the server's log says more")
        }
    }
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part { first: u64, last: u64 },
    Outside,
}

/// One range of bytes (RFC 9110, 14.2). What can't be understood counts as not asked, as the RFC says.
fn range(header: Option<&str>, size: u64) -> Asked {
    let Some(spec) = header.and_then(|text| text.strip_prefix("bytes=")) else {
        return Asked::Whole;
    };
    let Some((first, last)) = spec.split_once('-') else {
        return Asked::Whole;
    };
    let number = |text: &str| {
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse().ok())
            .flatten()
    };
    let (first, last): (u64, u64) = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => (first, last.min(size.saturating_sub(1))),
        (Some(first), None) if last.is_empty() => (first, size.saturating_sub(1)),
        (None, Some(0)) if first.is_empty() => return Asked::Outside,
        (None, Some(suffix)) if first.is_empty() => (size.saturating_sub(suffix), size.saturating_sub(1)),
        _ => return Asked::Whole,
    };
    if first >= size {
        Asked::Outside
    } else {
        Asked::Part { first, last }
    }
}

/// A file's bytes; `Range` and `If-None-Match` are understood.
#[utoipa::path(get, path = "/api/v1/artifacts/{name}/{version}", operation_id = "get_artifact", tag = "artifacts",
    params(("name" = String, Path, description = "Its name"), ("version" = String, Path, description = "Its version"),
        ("Range" = Option<String>, Header, description = "One range of bytes")), responses(
    (status = 200, description = "Its bytes; the ETag is its SHA-256", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 206, description = "A part of it", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 304, description = "The caller has it"),
    (status = 400, description = "A name is not one", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "It is not known", body = Problem, content_type = "application/problem+json"),
    (status = 416, description = "The range lies outside of it", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "Store or disk can't work, or the file is not at this replica", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn get(
    _: Principal,
    State(state): State<AppState>,
    ApiPath((name, version)): ApiPath<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (name, version) = (
        extract::file_name("file", &name)?,
        extract::file_name("version", &version)?,
    );
    let row = state
        .store
        .artifact(name, version)
        .await?
        .ok_or_else(|| ApiError::not_found(format!("file {name} {version} is not known")))?;
    let tag = format!("\"{}\"", row.sha256);
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &header::HeaderValue| value.to_str().ok())
    };
    if text(header::IF_NONE_MATCH).is_some_and(|asked| asked.split(',').any(|one| one.trim() == tag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let (mut file, size) = state.files.open(&row.sha256).await.map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            return ApiError::artifact_not_here(format!("{name} {version} is known: {}", artifacts::HELP));
        }
        tracing::error!(%error, sha256 = row.sha256, "a file of the store can't be read");
        ApiError::store_unavailable("the file can't be read; the server's log says more")
    })?;
    if size != row.size {
        tracing::error!(
            sha256 = row.sha256,
            size,
            recorded = row.size,
            "a file of the store has another size"
        );
        return Err(ApiError::store_unavailable(
            "the file is damaged; put it there again under another version",
        ));
    }
    // A part of another file than the caller began with must not be given.
    let same = text(header::IF_RANGE).is_none_or(|asked| asked == tag);
    let asked = text(header::RANGE).filter(|_| same);
    let (status, first, len, content_range) = match range(asked, size) {
        Asked::Whole => (StatusCode::OK, 0, size, None),
        Asked::Part { first, last } => {
            let part = format!("bytes {first}-{last}/{size}");
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1, Some(part))
        }
        Asked::Outside => {
            let mut response = ApiError::bad_range(format!("the file has {size} bytes")).into_response();
            if let Ok(value) = format!("bytes */{size}").parse() {
                response.headers_mut().insert(header::CONTENT_RANGE, value);
            }
            return Ok(response);
        }
    };
    file.seek(SeekFrom::Start(first)).await.map_err(|error| {
        tracing::error!(%error, sha256 = row.sha256, "a file of the store can't be read");
        ApiError::store_unavailable("the file can't be read; the server's log says more")
    })?;
    let mut response = (status, Body::from_stream(ReaderStream::new(file.take(len)))).into_response();
    let fixed = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, len.to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, tag),
    ];
    for (name, value) in fixed
        .into_iter()
        .chain(content_range.map(|value| (header::CONTENT_RANGE, value)))
    {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_the_part_that_it_names_or_none() {
        let part = |first, last| Asked::Part { first, last };
        for (header, asked) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=5-", part(5, 9)),
            ("bytes=5-100", part(5, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-30", part(0, 9)),
            ("bytes=10-", Asked::Outside),
            ("bytes=-0", Asked::Outside),
            ("bytes=3-2", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=", Asked::Whole),
            ("lines=1-2", Asked::Whole),
        ] {
            assert_eq!(range(Some(header), 10), asked, "{header}");
        }
        assert_eq!(range(Some("bytes=0-"), 0), Asked::Outside);
    }
}
