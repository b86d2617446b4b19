//! The supervisor's page, embedded in the binary.

use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use rust_embed::RustEmbed;

use super::error::ApiError;

#[derive(RustEmbed)]
#[folder = "../ui/dist"]
#[allow_missing = true]
struct Page;

/// Everything comes from here, nothing is run that stands in the document.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>VDS Fleet</title></head><body><h1>VDS Fleet</h1><p>The server runs, but it was built without its page. Build the page with <code>cargo xtask demo</code>, or in <code>ui/</code> with <code>npm ci</code> and <code>npm run build</code>, and build the server again.</p><p>The API is described at <a href=\"/api/v1/openapi.json\">/api/v1/openapi.json</a>.</p></body></html>";

/// Serves the page; an unknown path without a dot is a place inside the page.
pub(super) async fn serve(uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path == "api" || path.starts_with("api/") {
        return ApiError::not_found(format!("there is no {}", uri.path())).into_response();
    }
    let is_file = path.rsplit('/').next().is_some_and(|name| name.contains('.'));
    let (file, cache) = match Page::get(path) {
        // File names of the build hold a hash of their content.
        Some(file) if path.starts_with("assets/") => (Some(file), "public, max-age=31536000, immutable"),
        Some(file) => (Some(file), "no-cache"),
        None if is_file => return ApiError::not_found(format!("there is no {}", uri.path())).into_response(),
        None => (Page::get("index.html"), "no-cache"),
    };
    let mut response = match file {
        Some(file) => {
            let kind = HeaderValue::from_str(file.metadata.mimetype())
                .unwrap_or(HeaderValue::from_static("application/octet-stream"));
            ([(header::CONTENT_TYPE, kind)], file.data.into_owned()).into_response()
        }
        None => (StatusCode::OK, Html(NOT_BUILT)).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
