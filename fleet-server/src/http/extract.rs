//! Extractors whose refusals are problem documents, and the parsing of ids.

use std::str::FromStr;

use axum::extract::{FromRequest, FromRequestParts};
use fleet_domain::{DeviceId, IdError, JobId, Vin};

use super::error::ApiError;

/// A JSON body.
#[derive(Debug, FromRequest)]
#[from_request(via(axum::Json), rejection(ApiError))]
pub(crate) struct ApiJson<T>(pub T);

/// A query.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub(crate) struct ApiQuery<T>(pub T);

/// Parameters of the path.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub(crate) struct ApiPath<T>(pub T);

/// Largest page.
pub(crate) const MAX_PAGE: u32 = 1000;
const DEFAULT_PAGE: u32 = 100;

/// An id from path or body.
///
/// # Errors
/// Says what such an id looks like.
pub(crate) fn id<Id: FromStr<Err = IdError>>(text: &str) -> Result<Id, ApiError> {
    text.parse()
        .map_err(|error: IdError| ApiError::bad_id(error.to_string()))
}

/// A device from path or body.
///
/// # Errors
/// Says what a device id looks like.
pub(crate) fn device(text: &str) -> Result<DeviceId, ApiError> {
    id(text)
}

/// A job from path or body.
///
/// # Errors
/// Says what a job id looks like.
pub(crate) fn job(text: &str) -> Result<JobId, ApiError> {
    id(text)
}

/// A VIN from query or body.
///
/// # Errors
/// Says what a VIN looks like.
pub(crate) fn vin(text: &str) -> Result<Vin, ApiError> {
    text.parse()
        .map_err(|error: IdError| ApiError::bad_value(error.to_string()))
}

/// Which vehicles.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum VinFilter {
    /// This one.
    Whole(Vin),
    /// Those whose VIN contains this.
    Part(String),
}

/// A VIN or a part of one.
///
/// # Errors
/// Says what a part looks like.
pub(crate) fn vin_filter(text: &str) -> Result<VinFilter, ApiError> {
    let of_a_vin = text
        .bytes()
        .all(|b| (b.is_ascii_uppercase() && !matches!(b, b'I' | b'O' | b'Q')) || b.is_ascii_digit());
    match text.len() {
        17 => vin(text).map(VinFilter::Whole),
        3..17 if of_a_vin => Ok(VinFilter::Part(text.to_owned())),
        _ => {
            let shown: String = text.chars().take(80).collect();
            Err(ApiError::bad_value(format!(
                "vin {shown:?} must be a VIN or a part of one: 3 to 17 characters of A-Z without I, O and Q, and 0-9"
            )))
        }
    }
}

/// Size of a page.
///
/// # Errors
/// When it is not from 1 to [`MAX_PAGE`].
pub(crate) fn limit(asked: Option<u32>) -> Result<u32, ApiError> {
    let limit = asked.unwrap_or(DEFAULT_PAGE);
    if (1..=MAX_PAGE).contains(&limit) {
        return Ok(limit);
    }
    Err(ApiError::bad_value(format!(
        "limit is {limit}, it must be 1 to {MAX_PAGE}"
    )))
}

/// A name that stands in a path and a file name: procedure, artifact, version.
///
/// # Errors
/// Says what such a name looks like.
pub(crate) fn file_name<'a>(what: &str, text: &'a str) -> Result<&'a str, ApiError> {
    let ok = (1..=64).contains(&text.len())
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if ok {
        return Ok(text);
    }
    let shown: String = text.chars().take(80).collect();
    Err(ApiError::bad_id(format!(
        "{what} {shown:?} must be 1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-', and not begin with '.'"
    )))
}

/// A text for people.
///
/// # Errors
/// When it is empty or longer than `most` characters.
pub(crate) fn text(what: &str, text: &str, most: usize) -> Result<String, ApiError> {
    let trimmed = text.trim();
    let chars = trimmed.chars().count();
    if (1..=most).contains(&chars) && !trimmed.contains('\0') {
        return Ok(trimmed.to_owned());
    }
    Err(ApiError::bad_value(format!(
        "{what} must be 1 to {most} characters"
    )))
}
