//! The live stream: server-sent events from the feed.

use std::collections::HashSet;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use fleet_store::StoreError;
use futures::stream;
use serde::Deserialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use utoipa::IntoParams;

use super::AppState;
use super::error::ApiError;
use super::extract::ApiQuery;
use super::principal::Principal;
use super::types::Problem;
use crate::stream::{Cursor, StreamEvent, state_of};

/// Time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Changes that are caught up with; more, and beginning anew is cheaper.
const MAX_CATCH_UP: usize = 5000;
const PAGE: u32 = 1000;

/// From where.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Since {
    /// A cursor: `stream_cursor` of a snapshot, or the id of the last event. From now on when not given.
    since: Option<String>,
}

/// Server-sent events: `hello`, `bench`, `job`, `live`, `alarm`, `reset` (fetch everything anew), `heartbeat` each 5 s.
#[utoipa::path(get, path = "/api/v1/stream", operation_id = "stream", tag = "stream", params(Since), responses(
    (status = 200, description = "The events, each with its cursor as id", body = String, content_type = "text/event-stream"),
    (status = 400, description = "The cursor is not one", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "Too many readers", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn stream(
    _: Principal,
    State(state): State<AppState>,
    ApiQuery(which): ApiQuery<Since>,
) -> Result<Response, ApiError> {
    let since = match which.since.as_deref() {
        None => None,
        Some(text) => Some(Cursor::parse(text).ok_or_else(|| {
            ApiError::bad_cursor(
                "since must be a stream_cursor or the id of an event, as this server gave it",
            )
        })?),
    };
    let seat = Seat::take(&state)?;
    // First the subscription, then the log: nothing falls between the two.
    let events = state.feed.subscribe();
    let position = state.feed.position();
    let mut waiting = VecDeque::from([cursor_event("hello", position)]);
    if let Some(since) = since {
        match catch_up(&state, since, position).await? {
            Some(missed) => waiting.extend(missed),
            None => waiting.push_back(reset(&state, position)),
        }
    }
    let mut heartbeat = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reader = Reader {
        seat,
        events,
        waiting,
        heartbeat,
    };
    let body = stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok::<_, Infallible>(event), reader))
    });
    let mut response = Sse::new(body).into_response();
    // Proxies must hand each event on at once.
    response
        .headers_mut()
        .insert("x-accel-buffering", axum::http::HeaderValue::from_static("no"));
    Ok(response)
}

/// A reader's place among the readers; free again when it is dropped.
struct Seat(AppState);

impl Seat {
    fn take(state: &AppState) -> Result<Self, ApiError> {
        let most = state.config.max_stream_readers;
        if state.readers.fetch_add(1, Ordering::AcqRel) >= most {
            state.readers.fetch_sub(1, Ordering::AcqRel);
            return Err(ApiError::too_many_readers(format!(
                "http.max_stream_readers is {most}"
            )));
        }
        state.metrics.stream.readers.inc();
        Ok(Self(AppState::clone(state)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::AcqRel);
        self.0.metrics.stream.readers.dec();
    }
}

fn cursor_event(name: &'static str, cursor: Cursor) -> StreamEvent {
    StreamEvent {
        name,
        cursor,
        data: serde_json::json!({ "cursor": cursor.to_string() })
            .to_string()
            .into(),
    }
}

fn reset(state: &AppState, cursor: Cursor) -> StreamEvent {
    state.metrics.stream.resets.inc();
    cursor_event("reset", cursor)
}

/// The state of everything that changed since; `None` when the log doesn't say.
async fn catch_up(
    state: &AppState,
    since: Cursor,
    position: Cursor,
) -> Result<Option<Vec<StreamEvent>>, StoreError> {
    if since.epoch != position.epoch || i64::try_from(since.seq).is_err() {
        return Ok(None);
    }
    let (mut after, mut seen, mut missed) = (since.seq, HashSet::new(), Vec::new());
    loop {
        let changes = state.store.changes(after, PAGE).await?;
        if changes.truncated {
            return Ok(None);
        }
        let full = changes.rows.len() >= PAGE as usize;
        for row in changes.rows {
            after = row.seq;
            if seen.insert((row.kind, row.id.clone()))
                && let Some((name, data)) = state_of(&*state.store, &state.feed, row.kind, &row.id).await?
            {
                // Cut here, the reader asks from the same place again.
                missed.push(StreamEvent {
                    name,
                    cursor: since,
                    data: data.into(),
                });
            }
        }
        if seen.len() > MAX_CATCH_UP {
            return Ok(None);
        }
        if !full {
            return Ok(Some(missed));
        }
    }
}

struct Reader {
    seat: Seat,
    events: Receiver<StreamEvent>,
    waiting: VecDeque<StreamEvent>,
    heartbeat: Interval,
}

impl Reader {
    /// The next event; `None` when the server ends.
    async fn next(&mut self) -> Option<Event> {
        let event = match self.waiting.pop_front() {
            Some(event) => event,
            None => self.wait().await?,
        };
        Some(
            Event::default()
                .event(event.name)
                .id(event.cursor.to_string())
                .data(&*event.data),
        )
    }

    async fn wait(&mut self) -> Option<StreamEvent> {
        let state = AppState::clone(&self.seat.0);
        tokio::select! {
            () = state.feed.closed.cancelled() => None,
            event = self.events.recv() => match event {
                Ok(event) => Some(event),
                // Too slow: what was missed is not known, so it begins anew.
                Err(RecvError::Lagged(_)) => Some(reset(&state, state.feed.position())),
                Err(RecvError::Closed) => None,
            },
            _ = self.heartbeat.tick() => Some(cursor_event("heartbeat", state.feed.position())),
        }
    }
}
