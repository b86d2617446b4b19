//! Logs and traces of a process, and the W3C trace context that ties processes together.
//!
//! One call of [`init`] at the start of `main`; the [`Guard`] is kept until its end. Trace identifiers exist
//! whether or not an endpoint is configured, so that a job carries its `traceparent` on every installation
//! and a collector that is added later sees whole traces.

mod config;
mod context;

use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry};

pub use config::{LogFormat, TelemetryConfig};
pub use context::{current_traceparent, set_parent, traceparent};

/// How long a finished span waits at most before it is sent.
const EXPORT_DELAY: Duration = Duration::from_secs(1);
/// Limit of one export request.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);
/// Limit of the last flush: a collector that hangs must not hold a process back from ending.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(4);
/// Spans of these crates say nothing about the product, and those of the exporter would feed themselves.
const FOREIGN_SPANS: [&str; 7] = [
    "h2",
    "hyper",
    "hyper_util",
    "opentelemetry",
    "reqwest",
    "sqlx",
    "tower",
];

/// Why logs and traces could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `telemetry.log` is not a filter.
    #[error(
        "telemetry.log = {value:?} is not a log filter (write for example \"info\" or \"info,rumqttc=warn\")"
    )]
    Filter {
        /// The value as configured.
        value: String,
        /// What the parser says.
        #[source]
        source: ParseError,
    },
    /// `telemetry.otlp_endpoint` is not an address that can be used.
    #[error(
        "telemetry.otlp_endpoint = {value:?} must be an http:// address such as \"http://127.0.0.1:4318\""
    )]
    Endpoint {
        /// The value as configured.
        value: String,
    },
    /// The exporter could not be built.
    #[error("cannot set up the export of traces to {endpoint}")]
    Exporter {
        /// Where the spans were to go.
        endpoint: String,
        /// What the exporter says.
        #[source]
        source: ExporterBuildError,
    },
    /// The process has a subscriber already: [`init`] was called twice.
    #[error("logs and traces of this process are set up already")]
    AlreadyInitialised {
        /// What the subscriber says.
        #[source]
        source: TryInitError,
    },
}

/// Keeps the export alive. Dropping it sends what is left (bounded by 4 s) and ends the export.
///
/// Spans that finish after the drop are not exported.
#[must_use = "dropping the guard ends the export of traces"]
#[derive(Debug)]
pub struct Guard {
    provider: SdkTracerProvider,
}

impl Guard {
    /// Sends all finished spans now. Blocks the thread for the time of the requests, at most some seconds.
    pub fn flush(&self) {
        if let Err(error) = self.provider.force_flush() {
            tracing::warn!(%error, "spans could not be sent");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(SHUTDOWN_TIMEOUT) {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// Sets up logs (to standard error) and traces of this process, under the service name given.
///
/// # Errors
/// When a value of the configuration cannot be used, or when the process was set up before.
pub fn init(service: &str, config: &TelemetryConfig) -> Result<Guard, TelemetryError> {
    let filter = log_filter(&config.log)?;
    let provider = tracer_provider(service, config.otlp_endpoint.as_deref())?;
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(service.to_owned()))
        .with_location(false)
        .with_threads(false)
        .with_filter(span_filter());
    Registry::default()
        .with(log_layer(config.log_format).with_filter(filter))
        .with(spans)
        .try_init()
        .map_err(|source| TelemetryError::AlreadyInitialised { source })?;
    Ok(Guard { provider })
}

fn log_filter(value: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .parse(value)
        .map_err(|source| TelemetryError::Filter {
            value: value.to_owned(),
            source,
        })
}

fn log_layer(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_ansi(false).boxed(),
    }
}

/// Which spans become part of a trace. Independent of the log filter: quiet logs do not tear traces.
fn span_filter() -> Targets {
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_targets(FOREIGN_SPANS.map(|crate_name| (crate_name, LevelFilter::OFF)))
}

fn tracer_provider(service: &str, endpoint: Option<&str>) -> Result<SdkTracerProvider, TelemetryError> {
    let resource = Resource::builder().with_service_name(service.to_owned()).build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let Some(endpoint) = endpoint else {
        return Ok(builder.build());
    };
    let url = traces_url(endpoint)?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&url)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|source| TelemetryError::Exporter {
            endpoint: url,
            source,
        })?;
    let batches = BatchConfigBuilder::default()
        .with_scheduled_delay(EXPORT_DELAY)
        .build();
    let processor = BatchSpanProcessor::builder(exporter)
        .with_batch_config(batches)
        .build();
    Ok(builder.with_span_processor(processor).build())
}

/// The address of the traces below an OTLP endpoint (the OTLP specification appends `/v1/traces`).
fn traces_url(endpoint: &str) -> Result<String, TelemetryError> {
    let unusable = || TelemetryError::Endpoint {
        value: endpoint.to_owned(),
    };
    let host = endpoint.strip_prefix("http://").ok_or_else(unusable)?;
    if host.is_empty() || host.starts_with(['/', ':']) || host.contains(char::is_whitespace) {
        return Err(unusable());
    }
    let endpoint = endpoint.trim_end_matches('/');
    Ok(if endpoint.ends_with("/v1/traces") {
        endpoint.to_owned()
    } else {
        format!("{endpoint}/v1/traces")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_traces_path_is_appended_once() {
        for (endpoint, url) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            (
                "http://collector:4318/v1/traces",
                "http://collector:4318/v1/traces",
            ),
            ("http://collector/otlp", "http://collector/otlp/v1/traces"),
        ] {
            assert_eq!(traces_url(endpoint).expect(endpoint), url);
        }
    }

    #[test]
    fn an_endpoint_that_cannot_work_is_refused_with_the_key() {
        for endpoint in [
            "",
            "127.0.0.1:4318",
            "https://collector:4318",
            "http://",
            "http://:4318",
            "http://a b",
        ] {
            let error = traces_url(endpoint).expect_err(endpoint).to_string();
            assert!(error.contains("telemetry.otlp_endpoint"), "{error}");
            assert!(error.contains(&format!("{endpoint:?}")), "{error}");
        }
    }

    #[test]
    fn a_log_filter_that_does_not_parse_is_refused_with_the_key() {
        let error = log_filter("info,fleet_server=loud")
            .expect_err("no such level")
            .to_string();
        assert!(
            error.contains("telemetry.log") && error.contains("fleet_server=loud"),
            "{error}"
        );
        log_filter("info,rumqttc=warn").expect("a usual filter");
    }

    #[test]
    fn foreign_spans_stay_out_of_traces() {
        let filter = span_filter();
        assert!(filter.would_enable("fleet_server::ingest", &tracing::Level::INFO));
        assert!(!filter.would_enable("fleet_server::ingest", &tracing::Level::DEBUG));
        assert!(!filter.would_enable("hyper::client", &tracing::Level::ERROR));
    }
}
