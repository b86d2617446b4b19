//! A collector of traces: OTLP over HTTP, protobuf. It keeps what it receives, for a test to look at.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A span as it came in. Identifiers are lower-case hexadecimal, as in a `traceparent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedSpan {
    /// `service.name` of the process.
    pub service: String,
    /// Name of the span.
    pub name: String,
    /// 32 digits.
    pub trace_id: String,
    /// 16 digits.
    pub span_id: String,
    /// 16 digits, or empty for a root.
    pub parent_span_id: String,
    /// Attributes as text.
    pub attributes: BTreeMap<String, String>,
}

/// A running collector. Dropping it closes its port.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: watch::Receiver<Vec<ReceivedSpan>>,
    task: JoinHandle<()>,
}

type Sink = watch::Sender<Vec<ReceivedSpan>>;

impl Collector {
    /// Starts a collector on a free port of the loopback interface.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot bind a port")?;
        let address = listener.local_addr().context("a bound port has an address")?;
        let (sink, spans) = watch::channel(Vec::new());
        let app = Router::new().route("/v1/traces", post(receive)).with_state(sink);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                eprintln!("the collector ended: {error}");
            }
        });
        Ok(Self { address, spans, task })
    }

    /// What goes into `telemetry.otlp_endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans received up to now.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        self.spans.borrow().clone()
    }

    /// Waits until `pick` finds what it looks for among the spans received. Cancellation safe.
    ///
    /// # Errors
    /// When the time is over; the message lists the spans that did arrive.
    pub async fn wait_for<T>(
        &self,
        what: &str,
        within: Duration,
        pick: impl Fn(&[ReceivedSpan]) -> Option<T>,
    ) -> anyhow::Result<T> {
        let mut spans = self.spans.clone();
        let found = tokio::time::timeout(within, spans.wait_for(|all| pick(all).is_some())).await;
        if let Ok(Ok(all)) = found
            && let Some(found) = pick(&all)
        {
            return Ok(found);
        }
        let received: Vec<_> = self
            .spans()
            .iter()
            .map(|s| format!("{}/{}", s.service, s.name))
            .collect();
        anyhow::bail!(
            "{what}: not among the {} spans received: {received:?}",
            received.len()
        )
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(State(sink): State<Sink>, body: Bytes) -> impl IntoResponse {
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) => {
            sink.send_modify(|all| all.extend(spans_of(request)));
            let answer = ExportTraceServiceResponse::default().encode_to_vec();
            (
                StatusCode::OK,
                [(header::CONTENT_TYPE, "application/x-protobuf")],
                answer,
            )
        }
        Err(error) => (
            StatusCode::BAD_REQUEST,
            [(header::CONTENT_TYPE, "text/plain")],
            error.to_string().into_bytes(),
        ),
    }
}

fn spans_of(request: ExportTraceServiceRequest) -> Vec<ReceivedSpan> {
    let mut received = Vec::new();
    for of_process in request.resource_spans {
        let resource = of_process
            .resource
            .map(|resource| resource.attributes)
            .unwrap_or_default();
        let service = attributes(resource).remove("service.name").unwrap_or_default();
        for span in of_process
            .scope_spans
            .into_iter()
            .flat_map(|of_scope| of_scope.spans)
        {
            received.push(ReceivedSpan {
                service: service.clone(),
                name: span.name,
                trace_id: hex(&span.trace_id),
                span_id: hex(&span.span_id),
                parent_span_id: hex(&span.parent_span_id),
                attributes: attributes(span.attributes),
            });
        }
    }
    received
}

fn attributes(list: Vec<KeyValue>) -> BTreeMap<String, String> {
    list.into_iter()
        .map(|pair| (pair.key, pair.value.map(plain).unwrap_or_default()))
        .collect()
}

fn plain(value: AnyValue) -> String {
    match value.value {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::BoolValue(value)) => value.to_string(),
        Some(any_value::Value::IntValue(value)) => value.to_string(),
        Some(any_value::Value::DoubleValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
