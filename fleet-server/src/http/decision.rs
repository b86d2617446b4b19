//! What a person decided about one thing, with the reason that is recorded: a job is called back, taken over or tried
//! again, a bench is released.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::extract::{FromRequest, FromRequestParts, Request};
use fleet_domain::IdError;
use utoipa::IntoResponses;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use super::error::ApiError;
use super::extract::{self, ApiJson, ApiPath};
use super::principal::Principal;
use super::types::Reason;

/// Longest reason, characters.
const MAX_REASON: usize = 500;

/// Who decided what about the thing of the path, and why.
pub(super) struct Decision<Id> {
    /// The thing of the path.
    pub(super) id: Id,
    /// Why, for people.
    pub(super) reason: String,
    /// Who.
    pub(super) principal: Principal,
}

impl<Id, S> FromRequest<S> for Decision<Id>
where
    Id: FromStr<Err = IdError>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let Ok(principal) = Principal::from_request_parts(&mut parts, state).await;
        let ApiPath(id) = ApiPath::<String>::from_request_parts(&mut parts, state).await?;
        let request = Request::from_parts(parts, body);
        let ApiJson(Reason { reason }) = ApiJson::from_request(request, state).await?;
        Ok(Self {
            id: extract::id(&id)?,
            reason: extract::text("reason", &reason, MAX_REASON)?,
            principal,
        })
    }
}

/// How a decision is refused whatever it is about. That the thing's state does not allow it (409) says each endpoint
/// in its own words.
pub(super) struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let refusals = [
            ("400", "The request can't be read"),
            ("404", "It is not known"),
            ("413", "The body is too large"),
            ("415", "The body is not JSON by its type"),
            ("422", "The body has another shape"),
            ("503", "The store can't work"),
        ];
        let of = |(status, description): (&str, &str)| (status.to_owned(), problem(description).into());
        refusals.into_iter().map(of).collect()
    }
}

fn problem(description: &str) -> Response {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content)
        .build()
}
