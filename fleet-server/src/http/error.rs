//! Every refusal is a problem document (RFC 9457) with a stable code.

use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleet_domain::error_chain;
use fleet_store::{ConflictKind, StoreError};

use super::types::{Diagnostic, Problem};

/// A refusal.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    diagnostics: Vec<Diagnostic>,
}

macro_rules! problems {
    ($($(#[$meta:meta])* $name:ident = $status:ident, $code:literal, $title:literal;)+) => {
        impl ApiError {
            $($(#[$meta])*
            pub(crate) fn $name(detail: impl Into<String>) -> Self {
                Self {
                    status: StatusCode::$status,
                    code: $code,
                    title: $title,
                    detail: detail.into(),
                    diagnostics: Vec::new(),
                }
            })+
        }
    };
}

problems! {
    /// A value in path, query or body is not what it should be.
    bad_value = BAD_REQUEST, "bad_value", "A value is not what it should be";
    /// An id in the path is not one.
    bad_id = BAD_REQUEST, "bad_id", "An id is not one";
    /// A cursor was not made by this server.
    bad_cursor = BAD_REQUEST, "bad_cursor", "The cursor is not one of this server's";
    /// The query has unknown or malformed parameters.
    bad_query = BAD_REQUEST, "bad_query", "The query can't be read";
    /// The body is not JSON.
    bad_json = BAD_REQUEST, "bad_json", "The body is not JSON";
    /// The body could not be read to its end.
    bad_body = BAD_REQUEST, "bad_body", "The body could not be read";
    /// The body is JSON of another shape.
    bad_shape = UNPROCESSABLE_ENTITY, "bad_shape", "The body does not have the shape that belongs here";
    /// What the request names is not there.
    not_found = NOT_FOUND, "not_found", "There is no such thing";
    /// The path has no such method.
    method_not_allowed = METHOD_NOT_ALLOWED, "method_not_allowed", "This path has no such method";
    /// The request names a procedure that is not there.
    unknown_procedure = UNPROCESSABLE_ENTITY, "unknown_procedure", "There is no such procedure";
    /// The request names a file that is not there.
    unknown_artifact = UNPROCESSABLE_ENTITY, "unknown_artifact", "There is no such file";
    /// The job's files are not those that its procedure wants.
    wrong_inputs = UNPROCESSABLE_ENTITY, "wrong_inputs", "The files are not those that the procedure wants";
    /// The procedure does not compile.
    procedure_invalid = UNPROCESSABLE_ENTITY, "procedure_invalid", "The procedure does not compile";
    /// Other bytes lie there under the same name and version.
    version_taken = CONFLICT, "version_taken", "This version has other content already";
    /// The same request id was used for another request.
    request_id_taken = CONFLICT, "request_id_taken", "This request id belongs to another request";
    /// The job's state does not allow it.
    state_conflict = CONFLICT, "state_conflict", "The job's state does not allow this";
    /// Nothing waits for that bench.
    not_awaited = CONFLICT, "not_awaited", "No offer waits for this bench";
    /// The job does not need a key now.
    job_not_open = CONFLICT, "job_not_open", "The job is not being done for this vehicle and ECU";
    /// No secret for that ECU.
    no_secret = FORBIDDEN, "no_secret", "This server holds no secret for that ECU";
    /// Larger than allowed.
    too_large = PAYLOAD_TOO_LARGE, "too_large", "The body is larger than allowed";
    /// The body's type is not the one that belongs here.
    wrong_content_type = UNSUPPORTED_MEDIA_TYPE, "wrong_content_type", "The body's type is not the one that belongs here";
    /// The range can't be served.
    bad_range = RANGE_NOT_SATISFIABLE, "bad_range", "The range lies outside of the file";
    /// Too many readers of the stream.
    too_many_readers = SERVICE_UNAVAILABLE, "too_many_readers", "Too many readers of the stream";
    /// The file lies at another replica, or is lost.
    artifact_not_here = SERVICE_UNAVAILABLE, "artifact_not_here", "This replica does not have the file";
    /// The store can't work at the moment.
    store_unavailable = SERVICE_UNAVAILABLE, "store_unavailable", "The store can't work at the moment";
    /// It took longer than allowed.
    timeout = SERVICE_UNAVAILABLE, "timeout", "It took longer than http.request_timeout allows";
    /// A fault of the server.
    internal = INTERNAL_SERVER_ERROR, "internal", "A fault of the server";
}

impl ApiError {
    /// The database is in this named state; says what to do.
    pub(crate) fn store_in_state(state: &str) -> Self {
        let help = crate::storage::help(state).unwrap_or("try again; the server's log says more");
        Self::store_unavailable(format!("state of the database: {state}; {help}"))
    }

    /// Adds what is wrong with a procedure, by place.
    pub(crate) fn with_diagnostics(mut self, diagnostics: Vec<Diagnostic>) -> Self {
        self.diagnostics = diagnostics;
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = Problem {
            r#type: format!("urn:vds:problem:{}", self.code),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code.to_owned(),
            diagnostics: self.diagnostics,
        };
        let mut response = (self.status, axum::Json(problem)).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        response
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        let detail = error_chain(&rejection);
        match rejection {
            JsonRejection::JsonDataError(_) => Self::bad_shape(detail),
            JsonRejection::MissingJsonContentType(_) => {
                Self::wrong_content_type("send it with Content-Type: application/json")
            }
            JsonRejection::BytesRejection(rejection) => rejection.into(),
            _ => Self::bad_json(detail),
        }
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Self::too_large("http.max_body_bytes is the limit")
        } else {
            Self::bad_body(error_chain(&rejection))
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_query(error_chain(&rejection))
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::bad_id(error_chain(&rejection))
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::not_found(error.to_string()),
            StoreError::Conflict(ConflictKind::NotAwaited(_)) => Self::not_awaited(error.to_string()),
            StoreError::Conflict { .. } => Self::version_taken(error.to_string()),
            StoreError::Transition(transition) => Self::state_conflict(transition.to_string()),
            error => {
                let text = error_chain(&error);
                tracing::error!(error = text, "the store refused a request");
                // Addresses and paths of the inside stay in the log.
                Self::store_in_state(error.state())
            }
        }
    }
}
